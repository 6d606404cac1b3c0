"""What was on the buses during one test: cut out of the run's captures by time, written beside the test's other evidence.

One capture runs through all tests. A test's part begins at the file's length at its start, and is then selected by time stamps. The
recorder writes with a delay (``captures.recorder``), so reading waits until the file has reached that moment or the delay is over.
Error frames are kept apart from frames. The formats are in ``captures.formats``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from otabench.bench.bus.frame import EFF_MASK, ERR_FLAG, Frame
from otabench.bench.captures.formats import candump_line, parse_candump_line, pcap_header, pcap_record
from otabench.bench.deadline import Deadline
from otabench.bench.errors import BenchError, WaitTimeout

_RECORDER_DELAY_S: Final = 0.6
_POLL_INTERVAL_S: Final = 0.03
_CLOCK_SLACK_US: Final = 2_000
"""Frames are stamped by the kernel, tests by this process."""


@dataclass
class CanLog:
    """The frames of one test.

    Args:
        captures: bus name to the capture's candump log.
        channels: bus name to the channel written into the test's own log.
        folder: the test's folder for evidence.
    """

    captures: Mapping[str, Path]
    channels: Mapping[str, str]
    folder: Path
    started_us: int = field(default_factory=lambda: time.time_ns() // 1000)
    _offsets: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._offsets = {bus: path.stat().st_size if path.exists() else 0 for bus, path in self.captures.items()}

    def frames(self, bus: str | None = None, *, can_id: int | None = None) -> list[Frame]:
        """Return the frames since the test began, up to now, oldest first; no error frames.

        Args:
            bus: its name in the bench file; None: the first.
            can_id: only frames with that identifier.

        Raises:
            BenchError: the bench has no such bus.
        """
        name = self._bus(bus)
        found = [frame for frame in self._read(name, until_us=time.time_ns() // 1000) if not frame.can_id & ERR_FLAG]
        return [frame for frame in found if can_id is None or frame.can_id & EFF_MASK == can_id]

    def error_frames(self, bus: str | None = None) -> list[Frame]:
        """Return the controller's error frames (linux/can/error.h) since the test began, up to now, oldest first.

        Raises:
            BenchError: the bench has no such bus.
        """
        found = self._read(self._bus(bus), until_us=time.time_ns() // 1000)
        return [frame for frame in found if frame.can_id & ERR_FLAG]

    def wait_for(
        self, wanted: int | Callable[[Frame], bool], *, timeout_s: float = 5.0, bus: str | None = None
    ) -> Frame:
        """Wait for a frame since the test began: one with that identifier, or one for which the function returns True.

        Raises:
            WaitTimeout: there was none; the message contains the number of other frames.
        """
        name = self._bus(bus)
        matches = (lambda frame: frame.can_id & EFF_MASK == wanted) if isinstance(wanted, int) else wanted
        deadline = Deadline(timeout_s + _RECORDER_DELAY_S)
        while True:
            seen = [frame for frame in self._so_far(name) if not frame.can_id & ERR_FLAG]
            for frame in seen:
                if matches(frame):
                    return frame
            if deadline.has_passed():
                what = f"with identifier 0x{wanted:X}" if isinstance(wanted, int) else "of that kind"
                raise WaitTimeout(f"bus {name}: no frame {what} within {timeout_s:g} s ({len(seen)} others)")
            deadline.pause(_POLL_INTERVAL_S)

    def write(self) -> list[Path]:
        """Write ``BUS.log`` (candump's format) and ``BUS.pcap`` of every bus into the test's folder."""
        until_us = time.time_ns() // 1000
        written = []
        self.folder.mkdir(parents=True, exist_ok=True)
        for bus in self.captures:
            frames = self._read(bus, until_us=until_us)
            log, pcap = self.folder / f"{bus}.log", self.folder / f"{bus}.pcap"
            log.write_text("".join(candump_line(frame, self.channels[bus]) for frame in frames), encoding="ascii")
            pcap.write_bytes(pcap_header() + b"".join(pcap_record(frame) for frame in frames))
            written += [log, pcap]
        return written

    def _bus(self, bus: str | None) -> str:
        if bus is None:
            return next(iter(self.captures))
        if bus not in self.captures:
            raise BenchError(f"the bench has no bus {bus!r}; known: {', '.join(self.captures)}")
        return bus

    def _read(self, bus: str, *, until_us: int) -> list[Frame]:
        """Return the frames up to a moment, once the recorder has written them."""
        deadline = Deadline(_RECORDER_DELAY_S)
        while True:
            frames = list(self._so_far(bus))
            if deadline.has_passed() or (frames and frames[-1].timestamp_us > until_us):
                return [frame for frame in frames if frame.timestamp_us <= until_us + _CLOCK_SLACK_US]
            deadline.pause(_POLL_INTERVAL_S)

    def _so_far(self, bus: str) -> Iterator[Frame]:
        """Whole lines that are in the capture now."""
        try:
            with self.captures[bus].open("rb") as capture:
                capture.seek(self._offsets[bus])
                data = capture.read()
        except FileNotFoundError:
            return
        for line in data[: data.rfind(b"\n") + 1].splitlines():
            _, frame = parse_candump_line(line.decode("ascii"))
            if frame.timestamp_us >= self.started_us - _CLOCK_SLACK_US:
                yield frame
