"""Makes a virtual CAN bus as slow as the real one: a token bucket on the interface, at a rate computed from frame lengths.

Decides the bucket's rate and burst, and whether pacing is possible at all; `tc` sets it. The arithmetic of frame lengths
is ``bench.frame_bits``'.

Rules:

* The bucket counts 128 bits for every classic frame, whatever its length on the line. The mean length taken is that of
  the frames which carry the firmware (full consecutive frames): they are nearly all of the traffic, and flow control and
  requests are padded to the same 8 data bytes.
* On a CAN FD bus it counts 576 bits a frame; short frames are then paced as if they were full.
* The burst covers a few frames, so that a late timer does not cost line rate; below one FD frame it would drop FD frames.
* Without ``vcan.echo=1`` frames reach local receivers before the bucket sees them, and nothing is paced.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import frame_bits
from bench.topology import BusEntry

CLASSIC_BURST_BYTES: Final = 200
FD_BURST_BYTES: Final = 8 * 72
_FD_SAMPLE: Final = 7
"""Every so manieth frame is taken for the mean."""
QUEUE_BYTES: Final = 100_000
_ECHO: Final = Path("/sys/module/vcan/parameters/echo")


@dataclass(frozen=True)
class Pacing:
    """What was done to one bus.

    Attributes:
        applied: whether the bus is paced.
        bitrate: the line's rate that is imitated.
        mean_frame_bits: on the real line, of a frame that carries firmware.
        tbf_rate_bit_s: the bucket's rate.
        reason: why it is not applied.
    """

    applied: bool
    bitrate: int
    mean_frame_bits: float
    tbf_rate_bit_s: int
    reason: str = ""


def mean_frame_bits(bus: BusEntry, request_id: int, payloads: Iterable[bytes]) -> float:
    """Mean length of the frames that carry these payloads, in bits of the nominal rate."""
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
    """Paces a vcan to its bus's bit rate; says why not where it cannot."""
    counted = frame_bits.TBF_FD_FRAME_BITS if bus.fd else frame_bits.TBF_CLASSIC_FRAME_BITS
    rate = frame_bits.tbf_rate_bit_s(bus.bitrate, mean_bits, counted_bits=counted)
    reason = _obstacle(bus)
    if not reason:
        burst = FD_BURST_BYTES if bus.fd else CLASSIC_BURST_BYTES
        reason = _tc(
            "qdisc", "replace", "dev", str(bus.channel), "root", "handle", "1:", "tbf",
            "rate", f"{rate}bit", "burst", str(burst), "limit", str(QUEUE_BYTES),
        )  # fmt: skip
    return Pacing(not reason, bus.bitrate, mean_bits, rate, reason)


def remove(bus: BusEntry) -> None:
    """Takes the bucket off again; says nothing where there is none."""
    if bus.is_vcan:
        _tc("qdisc", "del", "dev", str(bus.channel), "root")


def _obstacle(bus: BusEntry) -> str:
    if not bus.is_vcan:
        return f"{bus.channel} is no vcan: its own bit rate holds"
    try:
        echo = _ECHO.read_text(encoding="ascii").strip()
    except OSError:
        echo = "N"
    if echo != "Y":
        return "vcan is loaded without echo=1: `sudo modprobe -r vcan; setup/vcan.sh` reloads it"
    return ""


def _tc(*arguments: str) -> str:
    """Runs `tc`, as root where that needs no password; what went wrong, or nothing."""
    tc = shutil.which("tc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if tc is None:
        return "tc is not installed: setup/packages.sh run"
    command = [tc, *arguments]
    if os.geteuid() != 0 and shutil.which("sudo") is not None:
        command = ["sudo", "-n", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    return f"tc says: {' '.join(done.stderr.split()) or done.returncode} (pacing needs root)"
