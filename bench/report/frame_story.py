"""CAN frames of a capture in words, on the trace's clock, so that they can stand between its events.

A frame is described as an ISO 15765-2 frame if its address belongs to an ECU (identifier, and with extended addressing the byte in
front), an error frame by its classes, any other by its bytes. A run of consecutive frames of one sender is one line. Pure: log lines
and events in, lines out.

Clocks: a capture has the wall clock, a story the monotonic one. Every trace event has both; the median of their differences
leads from one to the other, which holds unless the wall clock is set by more than the run's duration.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Final

from otabench.bench.bus import error_classes
from otabench.bench.bus.frame import EFF_MASK, ERR_FLAG
from otabench.bench.captures.formats import parse_candump
from otabench.bench.uds.names import describe
from otabench.proto.isotp_address import FrameAddress, address_of_frame
from otabench.proto.trace import TraceEvent

_FLOW: Final = {0: "continue to send", 1: "wait", 2: "overflow"}


@dataclass(frozen=True)
class LoggedFrame:
    """One line of a candump log."""

    wall_ns: int
    channel: str
    can_id: int
    data: bytes


@dataclass(frozen=True)
class ToldFrame:
    """One line of the story: when it began on the monotonic clock, and the words."""

    mono_ns: int
    words: str


def parse_log(lines: Iterable[str]) -> Iterator[LoggedFrame]:
    """Return the frames of a candump log, without a torn last line.

    Raises:
        ValueError: a line is not candump's; the message has its number.
    """
    for channel, frame in parse_candump(lines):
        # The story tells frames apart by identifier and error flag only.
        yield LoggedFrame(frame.timestamp_us * 1000, channel, frame.can_id & (EFF_MASK | ERR_FLAG), frame.data)


def wall_to_mono_ns(events: Sequence[TraceEvent]) -> int:
    """Return what is added to the wall clock, in ns since 1970, to come to the monotonic one. Raises ValueError without events."""
    if not events:
        raise ValueError("no events to set the clock by")
    return round(median(event.mono_ns - round(datetime.fromisoformat(event.ts).timestamp() * 1e9) for event in events))


def tell(
    frames: Iterable[LoggedFrame], *, names: Mapping[FrameAddress, str], offset_ns: int, first_ns: int, last_ns: int
) -> list[ToldFrame]:
    """Return the frames of an interval.

    Args:
        frames: in the order of the capture.
        names: of each diagnostic address: whose it is and in which direction.
        offset_ns: as ``wall_to_mono_ns`` gives it.
        first_ns, last_ns: the interval, on the monotonic clock.
    """
    lines: list[ToldFrame] = []
    extended_ids = {address.can_id for address in names if address.extension is not None}
    runs: dict[FrameAddress, tuple[int, int]] = {}
    """Consecutive frames not described yet, by address: when they began, how many."""

    def end_run(address: FrameAddress) -> None:
        begun_ns, count = runs.pop(address)
        frames_ = "frame" if count == 1 else "frames"
        lines.append(ToldFrame(begun_ns, f"{address.can_id:03X} {names[address]}  {count} consecutive {frames_}"))

    for frame in frames:
        mono_ns = frame.wall_ns + offset_ns
        if not first_ns <= mono_ns <= last_ns:
            continue
        if frame.can_id & ERR_FLAG:
            words = f"error frame: {error_classes.words(frame.can_id)}  {frame.data.hex(' ').upper()}"
            lines.append(ToldFrame(mono_ns, words))
            continue
        # Only after error frames: the data of those are the kernel's own, and would be read as an address.
        address = address_of_frame(frame.can_id, frame.data, extended_ids=extended_ids)
        content = frame.data[len(address.prefix) :]
        name = names.get(address)
        if name is not None and content and content[0] >> 4 == 2:
            begun_ns, count = runs.get(address, (mono_ns, 0))
            runs[address] = (begun_ns, count + 1)
            continue
        # Any other frame of this sender ends its run. Frames of others in between, such as flow control, do not.
        if address in runs:
            end_run(address)
        words = f"{name}  {_protocol_words(content)}" if name is not None else frame.data.hex(" ").upper()
        lines.append(ToldFrame(mono_ns, f"{frame.can_id:03X} {words}"))
    for address in list(runs):
        end_run(address)
    # A run is added when it ends, but stands at the time at which it began.
    return sorted(lines, key=lambda line: line.mono_ns)


def _protocol_words(data: bytes) -> str:
    """Single, first and flow control frames of ISO 15765-2, without the address in front; other bytes as they are."""
    kind = data[0] >> 4 if data else None
    if kind == 0:
        # ISO 15765-2: a length of 0 is CAN FD's escape, with the length in the second byte.
        length, start = (data[0] & 0xF, 1) if data[0] & 0xF else (data[1] if len(data) > 1 else 0, 2)
        return _with_service("single frame", data[start : start + length])
    if kind == 1 and len(data) >= 7:
        length, start = int.from_bytes(data[:2], "big") & 0xFFF, 2
        if length == 0:
            length, start = int.from_bytes(data[2:6], "big"), 6
        return _with_service(f"first frame of {length} bytes", data[start:])
    if kind == 3 and len(data) >= 3:
        status = _FLOW.get(data[0] & 0xF, "reserved status")
        return f"flow control: {status}, block size {data[1]}, STmin {data[2]:02X}"
    return data.hex(" ").upper()


def _with_service(what: str, payload: bytes) -> str:
    words = describe(payload)
    return f"{what}: {payload.hex(' ').upper()}" + (f"  {words}" if words else "")
