"""Records one bus: ``python -m otabench.bench.captures.recorder --bus JSON --out FOLDER/NAME``, until SIGTERM or SIGINT.

Writes ``NAME.log`` (candump's format), ``NAME.pcap`` (link type 227) and, at the end, ``NAME.stats.json``. The pcap file
appears once the socket is bound: that is the sign that no later frame is missed. On a signal the frames that wait are
still written. A bus that goes away is opened again (``bus.reopening``). A SocketCAN interface is read in batches; any
other one through python-can.

When to read and when to write; the formats are in ``captures.formats``.
"""

from __future__ import annotations

import json
import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, Final, Protocol, TextIO

from otabench.bench.bus.batch_socket import BatchCanSocket
from otabench.bench.bus.frame import Frame
from otabench.bench.bus.reopening import ReopeningSource
from otabench.bench.captures.formats import candump_line, pcap_header, pcap_record
from otabench.bench.captures.statistics import BusStatistics

BATCH_INTERVAL_S: Final = 0.02
SMALL_BUFFER_INTERVAL_S: Final = 0.004
"""Where the receive buffer could not be made large: a few hundred frames must not pile up."""
_IDLE_WAIT_S: Final = 0.2
_FLUSH_INTERVAL_S: Final = 0.2
_LAST_READ_S: Final = 0.05


class FrameSource(Protocol):
    """Where frames come from."""

    lost_frames: int

    def wait(self, timeout_s: float) -> None:
        """Return once frames may be there or the time is over."""
        ...

    def receive(self) -> list[Frame]:
        """Return the frames that wait; empty if there are none."""
        ...

    def close(self) -> None: ...


class SocketCanSource:
    """A SocketCAN interface, read in batches."""

    def __init__(self, channel: str) -> None:
        self._socket = BatchCanSocket(channel)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._interval_s = BATCH_INTERVAL_S if self._socket.large_buffer else SMALL_BUFFER_INTERVAL_S
        self.lost_frames = 0

    def wait(self, timeout_s: float) -> None:
        if self._poll.poll(timeout_s * 1000):
            time.sleep(min(self._interval_s, timeout_s))  # let a batch gather

    def receive(self) -> list[Frame]:
        frames = self._socket.receive()
        self.lost_frames = self._socket.lost_frames
        return frames

    def close(self) -> None:
        self._socket.close()


class PythonCanSource:
    """Any other interface of python-can."""

    lost_frames = 0

    def __init__(self, arguments: dict[str, Any]) -> None:
        # Late: a recorder of a SocketCAN interface starts without python-can, which takes long to import.
        import can

        from otabench.bench.captures.pcap import frame_of

        self._bus = can.Bus(**arguments)
        self._frame_of = frame_of
        self._first: list[Frame] = []

    def wait(self, timeout_s: float) -> None:
        # python-can has no wait without a read. What was read while waiting is the beginning of the next batch.
        self._first += self._take(timeout_s)

    def receive(self) -> list[Frame]:
        frames, self._first = self._first, []
        while more := self._take(0.0):
            frames += more
            # A bus that never falls silent must not keep the recorder from writing, or from noticing a signal.
            if len(frames) >= 512:
                break
        return frames

    def _take(self, timeout_s: float) -> list[Frame]:
        message = self._bus.recv(timeout_s)
        if message is None:
            return []
        return [self._frame_of(message)]

    def close(self) -> None:
        self._bus.shutdown()


class Recorder:
    """A writer of one bus's frames to its files."""

    def __init__(
        self, out: Path, *, channel: str, bitrate: int, data_bitrate: int, extended_ids: Sequence[int] = ()
    ) -> None:
        out.parent.mkdir(parents=True, exist_ok=True)
        self._stats_path = out.with_name(out.name + ".stats.json")
        self._channel = channel
        self._log: TextIO = out.with_name(out.name + ".log").open("w", encoding="ascii")
        self._pcap: BinaryIO = out.with_name(out.name + ".pcap").open("wb")
        self._pcap.write(pcap_header())
        self._pcap.flush()
        # The header is on disk now: the file's presence is the sign that the recorder is ready.
        self.statistics = BusStatistics(bitrate=bitrate, data_bitrate=data_bitrate, extended_ids=tuple(extended_ids))

    def write(self, frames: list[Frame]) -> None:
        """Append frames."""
        for frame in frames:
            self.statistics.count(frame)
        self._log.write("".join([candump_line(frame, self._channel) for frame in frames]))
        self._pcap.write(b"".join([pcap_record(frame) for frame in frames]))

    def flush(self) -> None:
        """Make what was written so far readable for others."""
        self._log.flush()
        self._pcap.flush()

    def close(self) -> None:
        """End the files and write the statistics."""
        self._log.close()
        self._pcap.close()
        self._stats_path.write_text(self.statistics.to_json(), encoding="utf-8")


class _Stop:
    requested = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        self.requested = True


def record(source: FrameSource, recorder: Recorder, stop: _Stop) -> None:
    """Record until ``stop`` is requested, and then what still waits."""
    flushed_at = time.monotonic()
    while not stop.requested:
        source.wait(_IDLE_WAIT_S)
        while frames := source.receive():
            recorder.write(frames)
        if time.monotonic() - flushed_at > _FLUSH_INTERVAL_S:
            recorder.flush()
            flushed_at = time.monotonic()
    # Frames that were sent just before the signal may still be in the kernel's queue.
    source.wait(_LAST_READ_S)
    while frames := source.receive():
        recorder.write(frames)
    recorder.statistics.lost_frames = source.lost_frames


def main(arguments: list[str]) -> int:
    """Entry point of the process. Arguments: ``--bus JSON --out PATH``; JSON has ``can``, ``bitrate``, ``data_bitrate``, and
    may have ``extended_ids`` (``BusStatistics``)."""
    if len(arguments) != 4 or arguments[0] != "--bus" or arguments[2] != "--out":
        print("captures: usage: python -m otabench.bench.captures.recorder --bus JSON --out PATH", file=sys.stderr)
        return 2
    stop = _Stop()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    bus = json.loads(arguments[1])
    can_arguments = bus["can"]
    channel = str(can_arguments["channel"])
    is_socketcan = can_arguments["interface"] == "socketcan"

    def opened() -> FrameSource:
        return SocketCanSource(channel) if is_socketcan else PythonCanSource(can_arguments)

    try:
        source = ReopeningSource(opened, name=channel)
    except Exception as error:  # noqa: BLE001  # python-can's interfaces raise what they like
        print(f"captures: {channel} cannot be opened: {error}; is the interface up?", file=sys.stderr)
        return 1
    name = channel if is_socketcan else Path(arguments[3]).name
    recorder = Recorder(
        Path(arguments[3]),
        channel=name,
        bitrate=bus["bitrate"],
        data_bitrate=bus["data_bitrate"],
        extended_ids=bus.get("extended_ids", ()),
    )
    try:
        record(source, recorder, stop)
    finally:
        source.close()
        recorder.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
