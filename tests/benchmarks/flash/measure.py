"""What the flash path carries, beside what the line, the kernel and a peer carry, all in one run.

The lines are classic and FD, paced at 500 kbit/s and unpaced. This client's rate is taken from the trace's ``flash.transfer``, from the
first block sent to the last one acknowledged; ``ceiling`` takes the kernel's, ``peer`` the peer's, ``frame_bits`` the line's.
"""

from __future__ import annotations

import os
import resource
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from otabench.bench.bus import environment, frame_bits, pacing
from otabench.bench.errors import BenchError
from otabench.bench.gateway.vehicle import EcuImage
from otabench.bench.perf.rig import OneEcuRig, RigOptions
from otabench.bench.topology.entries import BusEntry
from otabench.proto import trace
from otabench.proto.process_config import IsoTpConfig
from tests.benchmarks.flash import ceiling, peer

BITRATE: Final = 500_000
DATA_BITRATE: Final = 2_000_000
BLOCK_BYTES: Final = 4095
TARGET_PACED: Final = 0.97
TARGET_UNPACED: Final = 0.60
_MIB_IMAGE_BYTES: Final = 1_040_000
"""With header, signature and MCUboot's trailer a slot of 1 MiB takes no more."""
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PEER_BYTES: Final = 32 * 1024
PEER_BLOCK_SIZE: Final = 8


@dataclass(frozen=True)
class Line:
    """One kind of bus, and how much is sent over it."""

    fd: bool
    paced: bool
    image_bytes: int
    messages: int

    @property
    def name(self) -> str:
        kind = "CAN FD 500k/2M" if self.fd else "classic CAN"
        return f"{kind}, {'paced at 500 kbit/s' if self.paced else 'unpaced'}"

    @property
    def target(self) -> float:
        """Least share of the kernel's rate."""
        return TARGET_PACED if self.paced else TARGET_UNPACED


LINES: Final = (
    Line(fd=False, paced=True, image_bytes=131_072, messages=9),
    Line(fd=False, paced=False, image_bytes=524_288, messages=21),
    Line(fd=True, paced=True, image_bytes=262_144, messages=15),
    Line(fd=True, paced=False, image_bytes=524_288, messages=21),
)


@dataclass(frozen=True)
class Rates:
    """Payload rates of one line in bytes a second, and where this client's time went.

    Attributes:
        limit: what the line carries if it is never idle; None where it has no bit rate.
        isotpsend, kernel: one message, and message after message, by the kernel's ISO-TP.
        ours, peer: see the module; ``peer`` is None where it did not succeed, ``peer_problem`` says why.
        client_cpu_s, ecu_cpu_s: CPU time of both ends during our transfer.
        duration_s: of our transfer.
    """

    line: str
    target: float
    limit: float | None
    isotpsend: float
    kernel: float
    ours: float
    peer: float | None
    peer_problem: str
    image_bytes: int
    duration_s: float
    client_cpu_s: float
    ecu_cpu_s: float

    @property
    def share(self) -> float:
        """Of the kernel's ISO-TP: paced, back to back; unpaced, the better of both ways to measure it."""
        return self.ours / (self.kernel if self.limit is not None else max(self.isotpsend, self.kernel))

    @property
    def is_met(self) -> bool:
        return self.share >= self.target


@dataclass(frozen=True)
class Memory:
    """The ECU's resident memory in KiB over one large image."""

    image_bytes: int
    before_kib: int
    after_kib: int
    most_before_kib: int
    most_kib: int

    @property
    def growth_kib(self) -> int:
        """By how much the highest value rose over the transfer."""
        return self.most_kib - self.most_before_kib


def measure(lines: tuple[Line, ...] = LINES, *, channel: str = "vcan0", say: Callable[[str], None]) -> list[Rates]:
    """Return all lines, one after the other.

    Raises:
        BenchError: the bus cannot be paced, or something does not run.
    """
    problem = environment.interface_problem(channel)
    if problem:
        raise BenchError(problem.sentence())
    return [_measure(line, channel, say) for line in lines]


def measure_memory(*, channel: str = "vcan0", body_bytes: int = _MIB_IMAGE_BYTES) -> Memory:
    """Return the ECU's memory over one image of about 1 MiB.

    Raises:
        BenchError: something does not run.
    """
    with (
        tempfile.TemporaryDirectory(prefix="otabench-flash-") as folder,
        OneEcuRig(Path(folder), RigOptions(bus=_bus(channel, fd=False), body_bytes=body_bytes)) as rig,
    ):
        image = rig.next_image()
        before = _memory(rig.ecu_pid)
        _stage(rig, image)
        after = _memory(rig.ecu_pid)
    return Memory(image.image_length, before["VmRSS"], after["VmRSS"], before["VmHWM"], after["VmHWM"])


def _measure(line: Line, channel: str, say: Callable[[str], None]) -> Rates:
    entry = BusEntry(channel=channel, bitrate=BITRATE, fd=line.fd, data_bitrate=DATA_BITRATE if line.fd else None)
    with tempfile.TemporaryDirectory(prefix="otabench-flash-") as folder:
        options = RigOptions(bus=_bus(channel, fd=line.fd), isotp=IsoTpConfig(fd=line.fd), body_bytes=line.image_bytes)
        with OneEcuRig(Path(folder) / "ours", options) as rig:
            image = rig.next_image()
            data = image.image.read_bytes()
            mean_bits = pacing.mean_frame_bits(entry, 0x7E0, [data])
            with _pace(entry, line, mean_bits):
                say(f"{line.name}: isotpsend")
                isotpsend = ceiling.isotpsend_bytes_per_s(channel, fd=line.fd, paced=line.paced, messages=line.messages)
                say(f"{line.name}: one kernel socket, back to back")
                kernel = ceiling.back_to_back_bytes_per_s(channel, fd=line.fd, messages=2 * line.messages)
                say(f"{line.name}: this client and ECU")
                ours = _ours(rig, image)
        blocks = replace(options, isotp=IsoTpConfig(fd=line.fd, block_size=PEER_BLOCK_SIZE))
        with OneEcuRig(Path(folder) / "peer", blocks) as rig, _pace(entry, line, mean_bits):
            say(f"{line.name}: udsoncan and can-isotp in user space")
            other, problem = _peer(rig, channel, line, data)
    limit = frame_bits.payload_limit_bytes_per_s(
        BITRATE, mean_bits, payload_bytes=frame_bits.consecutive_payload(fd=line.fd)
    )
    return Rates(
        line=line.name,
        target=line.target,
        limit=limit if line.paced else None,
        isotpsend=isotpsend,
        kernel=kernel,
        ours=ours.bytes_per_s,
        peer=other,
        peer_problem=problem,
        image_bytes=len(data),
        duration_s=ours.duration_s,
        client_cpu_s=ours.client_cpu_s,
        ecu_cpu_s=ours.ecu_cpu_s,
    )


@contextmanager
def _pace(entry: BusEntry, line: Line, mean_bits: float) -> Iterator[None]:
    pacing.remove(entry)
    if line.paced:
        done = pacing.apply(entry, mean_bits=mean_bits)
        if not done.applied:
            raise BenchError(f"{entry.channel} cannot be paced: {done.reason}")
    try:
        yield
    finally:
        pacing.remove(entry)


@dataclass(frozen=True)
class _Ours:
    bytes_per_s: float
    duration_s: float
    client_cpu_s: float
    ecu_cpu_s: float


def _ours(rig: OneEcuRig, image: EcuImage) -> _Ours:
    ecu, client = _cpu_s(rig.ecu_pid), resource.getrusage(resource.RUSAGE_SELF)
    _stage(rig, image)
    now = resource.getrusage(resource.RUSAGE_SELF)
    transfers = [event for event in trace.read(rig.trace_file) if event.event == "flash.transfer"]
    full = next(event for event in reversed(transfers) if event.data["kind"] == "full")
    return _Ours(
        float(full.data["bytes_per_s"]),
        float(full.data["duration_s"]),
        now.ru_utime + now.ru_stime - client.ru_utime - client.ru_stime,
        _cpu_s(rig.ecu_pid) - ecu,
    )


def _stage(rig: OneEcuRig, image: EcuImage) -> None:
    vehicle = rig.vehicle(trace=True)
    try:
        vehicle.stage(
            [image],
            job_id="perf",
            progress=lambda _: None,
            cancel=threading.Event(),
            fetch_image=lambda _: None,
        )
        vehicle.finish(job_id="perf")
    finally:
        vehicle.close()


def _peer(rig: OneEcuRig, channel: str, line: Line, data: bytes) -> tuple[float | None, str]:
    try:
        rate = peer.rate_bytes_per_s(
            channel, fd=line.fd, secret=rig.material.secret, data=data[:_PEER_BYTES], block_bytes=BLOCK_BYTES
        )
    except BenchError as error:
        return None, str(error)
    return rate, ""


def _bus(channel: str, *, fd: bool) -> dict[str, object]:
    return {"interface": "socketcan", "channel": channel, "fd": fd}


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _memory(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    found = dict(line.split(":", 1) for line in lines if ":" in line)
    return {name: int(found[name].split()[0]) for name in ("VmRSS", "VmHWM")}
