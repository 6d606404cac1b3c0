"""Make a virtual CAN bus as slow as a real one: exactly if the kernel has ``canline``, otherwise on average (token bucket).

``bus.canline`` sets exact pacing; `tc` sets a token bucket based on the mean frame length. The arithmetic of frame lengths is in
``bus.frame_bits``, and again in setup/canline/sch_canline.c, because a kernel module cannot call Python.

Rules:

* Exact: each frame is on the line for as long as its own bits take, stuff bits and CAN FD's data bit rate included.
* Where the kernel has no canline (setup/canline.sh builds it), a token bucket counts a fixed 128 bits for every classic frame and
  576 for every CAN FD frame.
* The bucket's rate comes from the mean length of full consecutive frames, which are nearly all of the traffic.
* The bucket's burst is a few frames, so that a late timer does not lower the throughput. It must hold at least one FD frame, or FD
  frames are dropped.
* Without ``vcan.echo=1``, frames reach local receivers before the queueing discipline, so nothing is paced.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from otabench.bench.bus import canline, frame_bits, rights, system_commands
from otabench.bench.bus.canline import LineCounters
from otabench.bench.errors import AdapterError
from otabench.bench.setup_programs import command_of
from otabench.bench.topology.entries import BusEntry

EXACT: Final = "exact"
MEAN: Final = "mean frame length"
NO_CANLINE: Final = f"this kernel has no canline ({command_of('canline.sh')} builds it)"

CLASSIC_BURST_BYTES: Final = 200
FD_BURST_BYTES: Final = 8 * 72
_FD_SAMPLE: Final = 7
"""Sample every 7th frame for the mean."""
QUEUE_BYTES: Final = 100_000
_ECHO: Final = Path("/sys/module/vcan/parameters/echo")
_CANLINE: Final = Path("/sys/module/sch_canline")


@dataclass(frozen=True)
class Pacing:
    """How one bus is paced.

    Attributes:
        applied: whether the bus is paced.
        bitrate: the bit rate of the line that is imitated.
        mean_frame_bits: mean length of a frame that carries firmware on a real bus, in bit times at ``bitrate``.
        pace: ``EXACT`` or ``MEAN``; empty where it is not paced.
        tbf_rate_bit_s: the bucket's rate, where there is one.
        reason: why it is not applied, or not exact.
    """

    applied: bool
    bitrate: int
    mean_frame_bits: float
    pace: str = ""
    tbf_rate_bit_s: int = 0
    reason: str = ""

    def describe(self) -> str:
        """Return the pacing in words."""
        if not self.applied:
            return f"not paced: {self.reason}"
        why = f": {self.reason}" if self.reason else ""
        return f"paced to {self.bitrate // 1000} kbit/s, {self.pace}{why}"


def mean_frame_bits(bus: BusEntry, request_id: int, payloads: Iterable[bytes]) -> float:
    """Return the mean length of the frames that carry these payloads, in bit times at the nominal bit rate."""
    if not bus.fd:
        frames = [frame for payload in payloads for frame in frame_bits.consecutive_frames(payload)]
        return frame_bits.mean_classic_bits(request_id, frames)
    size = frame_bits.FD_CONSECUTIVE_FRAME_PAYLOAD_BYTES
    lengths = [
        frame_bits.fd_frame_bits(
            request_id, bytes((0x20 | index % 16,)) + payload[start : start + size], brs=bus.data_bitrate is not None
        ).duration_s(bus.bitrate, bus.data_bitrate)
        * bus.bitrate
        for payload in payloads
        for index, start in enumerate(range(0, len(payload) - size, size * _FD_SAMPLE))
    ]
    return sum(lengths) / len(lengths)


def apply(bus: BusEntry, *, mean_bits: float) -> Pacing:
    """Pace a vcan to its bus's bit rates. If the bus cannot be paced, or not exactly, ``reason`` of the result contains the reason."""
    obstacle = _obstacle(bus)
    if obstacle:
        return Pacing(False, bus.bitrate, mean_bits, reason=obstacle)
    why_not_exact = _set_line(bus)
    if not why_not_exact:
        return Pacing(True, bus.bitrate, mean_bits, EXACT)
    # A killed run may have left a discipline of another kind, which `tc` does not replace.
    remove(bus)
    counted = frame_bits.TBF_FD_FRAME_BITS if bus.fd else frame_bits.TBF_CLASSIC_FRAME_BITS
    rate = frame_bits.tbf_rate_bit_s(bus.bitrate, mean_bits, counted_bits=counted)
    burst = FD_BURST_BYTES if bus.fd else CLASSIC_BURST_BYTES
    reason = _tc(
        "qdisc", "replace", "dev", str(bus.channel), "root", "handle", "1:", "tbf",
        "rate", f"{rate}bit", "burst", str(burst), "limit", str(QUEUE_BYTES),
    )  # fmt: skip
    if reason:
        return Pacing(False, bus.bitrate, mean_bits, reason=reason)
    return Pacing(True, bus.bitrate, mean_bits, MEAN, rate, why_not_exact)


def remove(bus: BusEntry) -> None:
    """Remove the pacing. Do nothing if there is none."""
    if bus.is_vcan:
        _tc("qdisc", "del", "dev", str(bus.channel), "root")


def counters(bus: BusEntry) -> LineCounters | None:
    """Return what an exactly paced bus has carried since ``apply``; None for any other one."""
    try:
        return canline.read_line(str(bus.channel)) if bus.is_vcan else None
    except OSError:  # the interface went away
        return None


def kernel_has_canline() -> bool:
    """Return whether the discipline is built in or loaded. A module that the kernel would load on demand is not found."""
    return _CANLINE.exists()


def _obstacle(bus: BusEntry) -> str:
    if not bus.is_vcan:
        own = "its own bit rate applies" if bus.has_wires else f"{bus.interface} has no bit rate"
        return f"{bus.channel} is not a vcan: {own}"
    try:
        echo = _ECHO.read_text(encoding="ascii").strip()
    except OSError:
        echo = "N"
    if echo != "Y":
        return f"vcan is loaded without echo=1: `sudo modprobe -r vcan; {command_of('vcan.sh')}` reloads it"
    return ""


def _set_line(bus: BusEntry) -> str:
    """Set the exact pacing, with root rights. Return why the kernel refused; empty if it did not."""
    with rights.elevated():
        return _set_line_as_root(bus)


def _set_line_as_root(bus: BusEntry) -> str:
    data_bitrate = bus.data_bitrate or bus.bitrate
    # Root needs no further process. Others run the same module by sudo.
    if os.geteuid() == 0:
        try:
            canline.set_line(str(bus.channel), bitrate=bus.bitrate, data_bitrate=data_bitrate)
        except OSError as error:
            return _why_no_line(error.errno, str(error.strerror))
        return ""
    command = [sys.executable, "-m", canline.__name__, str(bus.channel), str(bus.bitrate), str(data_bitrate)]
    done = subprocess.run(system_commands.as_root(command), capture_output=True, text=True, check=False)
    return _why_no_line(done.returncode, " ".join(done.stderr.split())) if done.returncode else ""


def _why_no_line(number: int | None, words: str) -> str:
    if number == errno.ENOENT:
        return NO_CANLINE
    return f"canline was refused: {words}{' (it needs root)' if number == errno.EPERM else ''}"


def _tc(*arguments: str) -> str:
    """Run `tc` as root. Return what went wrong; empty if nothing did."""
    try:
        done = system_commands.change(["tc", *arguments])
    except AdapterError as error:
        return str(error)
    if done.returncode == 0:
        return ""
    return f"tc failed: {' '.join(done.stderr.split()) or done.returncode} (pacing needs root)"
