"""Captures from one format into another, by suffix: ``.log`` (candump), ``.pcap``, ``.blf``, ``.asc``, and python-can's others.

Suffixes choose reader and writer. ``.log`` is written as ``candump -L`` does: python-can's writer adds a direction suffix that Wireshark
cannot read. It is not read by python-can's reader either, which drops the contents of error frames. All other formats are python-can's
and ``captures.formats``'.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

import can

from otabench.bench.captures.formats import candump_line, parse_candump
from otabench.bench.captures.pcap import frame_of, message_of
from otabench.bench.errors import BenchError, WrongUsage

READABLE: Final = (".log", ".pcap", ".blf", ".asc", ".trc", ".csv")
WRITABLE: Final = (".log", ".pcap", ".blf", ".asc", ".trc", ".csv")


class _Writer(Protocol):
    def on_message_received(self, msg: can.Message) -> None: ...
    def stop(self) -> None: ...


class CandumpWriter:
    """Writes ``candump -L`` lines."""

    def __init__(self, file: Path) -> None:
        self._file: TextIO = file.open("w", encoding="ascii")

    def on_message_received(self, msg: can.Message) -> None:
        """Append one line."""
        channel = f"can{msg.channel}" if isinstance(msg.channel, int) else str(msg.channel or "can0")
        self._file.write(candump_line(frame_of(msg), channel))

    def stop(self) -> None:
        """End the file."""
        self._file.close()


def convert(source: Path, target: Path) -> int:
    """Write the frames of ``source`` to ``target``; the number of frames.

    Raises:
        WrongUsage: a suffix that means no format, or both are the same file.
        BenchError: a file cannot be read or written, or is damaged; ``target`` is then removed.
    """
    for path, known, verb in ((source, READABLE, "read"), (target, WRITABLE, "written")):
        if path.suffix.lower() not in known:
            raise WrongUsage(f"{path}: files ending in {path.suffix!r} cannot be {verb}; known: {', '.join(known)}")
    if target.exists() and source.exists() and target.samefile(source):
        raise WrongUsage(f"{target}: is the file to be converted itself; name another one")
    count = 0
    try:
        with reading(source) as messages:
            first = next(messages, None)  # before `target` is made: a wrong file is reported without leaving one
            writer = _open(target)
            try:
                while first is not None:
                    writer.on_message_received(first)
                    count += 1
                    first = next(messages, None)
            finally:
                writer.stop()
    except OSError as error:
        raise BenchError(
            f"{error.filename or source}: {error.strerror or error}; name a file that can be used"
        ) from error
    except (ValueError, IndexError, KeyError, struct.error, can.CanError) as error:
        if count:
            target.unlink(missing_ok=True)
        raise BenchError(
            f"{source}: not a {source.suffix} capture, or damaged after {count} frames: {error}"
        ) from error
    return count


def reading(source: Path) -> AbstractContextManager[Iterator[can.Message]]:
    """Open a capture; ``with`` gives its frames."""
    return _candump_messages(source) if source.suffix.lower() == ".log" else _python_can_messages(source)


@contextmanager
def _candump_messages(source: Path) -> Iterator[Iterator[can.Message]]:
    with source.open(encoding="ascii") as lines:
        yield (message_of(frame, channel=channel) for channel, frame in parse_candump(lines))


@contextmanager
def _python_can_messages(source: Path) -> Iterator[Iterator[can.Message]]:
    options: dict[str, Any] = {"relative_timestamp": False} if source.suffix.lower() == ".asc" else {}
    with can.LogReader(source, **options) as reader:
        yield iter(reader)


def _open(target: Path) -> _Writer:
    return CandumpWriter(target) if target.suffix.lower() == ".log" else can.Logger(target)
