"""Captures from one format into another, by suffix: ``.log`` (candump), ``.pcap``, ``.pcapng``, ``.blf``, ``.asc``, ``.trc``, ``.csv``.

    convert(Path("bus.log"), Path("bus.blf"))             # the number of frames in bus.blf
    convert(Path("bus.pcapng"), Path("bus.trc"), lossy=True, say=print)

Rules:

* What the new format cannot hold is refused, or with ``lossy`` left out and counted by its name. Names of channels and directions
  that it cannot hold are named as well.
* The new file is read back and compared with what was to be written, frame by frame, before it takes its name. So the count that is
  returned is that of the file, and a conversion that fails leaves neither a new file nor a damaged old one.
* ``.log`` is written as ``candump -L`` does: python-can's writer adds a direction suffix that Wireshark cannot read, and its reader drops
  the contents of error frames. ``.asc`` has a writer of its own too (``captures.asc``). The other formats are python-can's.
* Blank lines and comments (``#``) of a candump log are skipped, as canplayer and log2asc do.
"""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

import can
from can.io.blf import BLFParseError

from otabench.bench.bus.frame import EFF_MASK, SFF_MASK, Frame
from otabench.bench.captures import file_formats
from otabench.bench.captures.asc import AscWriter
from otabench.bench.captures.file_formats import WRITABLE, Channels, FileFormat, FrameKind, kind_of
from otabench.bench.captures.formats import candump_line, parse_candump_line
from otabench.bench.captures.pcap import PcapngWriter, PcapReader, channel_name, frame_of, message_of
from otabench.bench.errors import BenchError, WrongUsage
from otabench.bench.topology.python_can import quiet

_YEAR_10000_S: Final = 253_402_300_800
_TIME_TOLERANCE_US: Final = 2
"""Formats with floating-point seconds round."""
DAMAGED: Final = (
    *(ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, EOFError, struct.error, zlib.error),
    *(can.CanError, BLFParseError),
)
"""What readers raise at damaged files."""


class _Writer(Protocol):
    def on_message_received(self, msg: can.Message) -> None: ...
    def stop(self) -> None: ...


class CandumpWriter:
    """A writer of ``candump -L`` lines."""

    def __init__(self, file: Path) -> None:
        self._file: TextIO = file.open("w", encoding="utf-8", newline="\n")

    def on_message_received(self, msg: can.Message) -> None:
        """Append one line."""
        self._file.write(candump_line(frame_of(msg), channel_name(msg)))

    def stop(self) -> None:
        """End the file."""
        self._file.close()


class _Losses:
    """What the new format cannot hold of the messages that pass through."""

    def __init__(self, form: FileFormat) -> None:
        self.left_out: Counter[FrameKind] = Counter()
        self.seen: set[FrameKind] = set()
        self._form = form
        self._numbers: dict[str, int] = {}  # of channels, by name
        self._sent = 0

    def held(self, messages: Iterable[can.Message]) -> Iterator[can.Message]:
        """Yield those messages that the format can hold, with their channel as it states it."""
        for message in messages:
            kind = kind_of(message)
            self.seen.add(kind)
            if kind not in self._form.holds:
                self.left_out[kind] += 1
                continue
            self._sent += not message.is_rx
            number = self._number(channel_name(message))
            if self._form.channels is Channels.NUMBERS:
                message.channel = number
            yield message

    def _number(self, name: str) -> int:
        """Return the number of a channel: that at the end of its name, unless another channel has it."""
        if name not in self._numbers:
            digits = name[len(name.rstrip("0123456789")) :]
            number = int(digits) if 0 < len(digits) < 3 and name.isascii() else 0
            taken = set(self._numbers.values())
            self._numbers[name] = number if number not in taken else max(taken) + 1
        return self._numbers[name]

    def sentences(self) -> Iterator[str]:
        """Yield what is not in the new file, in words."""
        if self.left_out:
            yield f"left out, because {self._form.name} cannot hold it: {self.counted()}"
        others = sorted(name for name, number in self._numbers.items() if name != f"can{number}")
        if self._form.channels is Channels.NONE and len(self._numbers) > 1:
            yield f"{self._form.name} has no channels: those of {', '.join(sorted(self._numbers))} are not told apart any more"
        elif self._form.channels is Channels.NUMBERS and others:
            numbers = ", ".join(f"{name} is {self._numbers[name] + 1}" for name in others)
            yield f"{self._form.name} has numbers for channels: {numbers}"
        if self._sent and not self._form.has_directions:
            yield f"{self._form.name} has no directions: {self._sent} of the frames {'was' if self._sent == 1 else 'were'} marked as sent"

    def counted(self) -> str:
        """Return the kinds that were left out, with their numbers."""
        return ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(self.left_out.items()))


def convert(source: Path, target: Path, *, lossy: bool = False, say: Callable[[str], None] | None = None) -> int:
    """Write the frames of ``source`` to ``target``.

    Args:
        source: a capture.
        target: the new file; an existing one is replaced.
        lossy: leave out the frames that the new format cannot hold.
        say: receives a sentence for each thing of ``source`` that is not in ``target``.

    Returns:
        The number of frames in ``target``.

    Raises:
        WrongUsage: a suffix that means no format, or both are the same file.
        BenchError: a file cannot be read or written, is damaged, or has frames that the new format cannot hold.
    """
    for path, verb in ((source, "read"), (target, "written")):
        file_formats.require_known(path, verb=verb)
    try:
        if target.exists() and source.exists() and target.samefile(source):
            raise WrongUsage(f"{target}: is the file to be converted itself; name another one")
        with quiet(), _new_file(target) as new:
            losses = _Losses(WRITABLE[target.suffix.lower()])
            count = _write(source, new, losses)
            if losses.left_out and not lossy:
                raise BenchError(_refusal(source, losses, target.suffix.lower()))
            shift_us = _compare(source, new, target)
            new.replace(target)
    except OSError as error:
        raise BenchError(
            f"{error.filename or source}: {error.strerror or error}; name a file that can be used"
        ) from error
    sentences = [*losses.sentences()]
    if abs(shift_us) > _TIME_TOLERANCE_US:  # BLF has no dates before 1990, which a capture with times from zero has
        seconds = f"{abs(shift_us) / 1e6:.3f} s {'earlier' if shift_us < 0 else 'later'}"
        sentences.append(f"it cannot hold these dates: all times are {seconds}, the intervals are kept")
    if say is not None:
        for sentence in sentences:
            say(sentence)
    return count


def _refusal(source: Path, losses: _Losses, suffix: str) -> str:
    better = ", ".join(file_formats.formats_for(frozenset(losses.seen)))
    return f"{source}: {losses.counted()} cannot be held by {suffix} files; use {better}, or --lossy to leave them out"


@contextmanager
def _new_file(target: Path) -> Iterator[Path]:
    """Yield a file beside ``target``, and remove it unless it was renamed."""
    target.parent.stat()  # the error of mkstemp would name a file that the user did not give
    with tempfile.TemporaryDirectory(prefix=".otabench-convert-", dir=target.parent) as work:
        yield Path(work) / f"new{target.suffix.lower()}"


def _write(source: Path, new: Path, losses: _Losses) -> int:
    count = 0
    try:
        with reading(source) as messages:
            writer = _open(new)
            try:
                for message in losses.held(messages):
                    writer.on_message_received(message)
                    count += 1
            finally:
                writer.stop()
    except DAMAGED as error:
        read = count + losses.left_out.total()
        raise BenchError(
            f"{source}: not a {source.suffix} capture, or damaged after {read} frames: {_words(error)}"
        ) from error
    return count


def _compare(source: Path, new: Path, target: Path) -> int:
    """Require that the new file has the frames that were to be written. Return by how many microseconds all of them are later."""
    losses = _Losses(WRITABLE[target.suffix.lower()])
    shift_us: int | None = None
    try:
        with reading(source) as messages, reading(new) as written:
            for number, both in enumerate(zip_longest(losses.held(messages), written), start=1):
                left, right = (None if each is None else frame_of(each) for each in both)
                if shift_us is None and left is not None and right is not None:
                    shift_us = right.timestamp_us - left.timestamp_us
                if not _are_alike(left, right, shift_us or 0):
                    raise BenchError(
                        f"{target}: frame {number} would not be read back as it is in {source}; "
                        "the writer of this format is at fault: please report it, and use another format"
                    )
    except DAMAGED as error:
        raise BenchError(
            f"{target}: what was written cannot be read back: {_words(error)}; please report it"
        ) from error
    return shift_us or 0


def _are_alike(left: Frame | None, right: Frame | None, shift_us: int) -> bool:
    if left is None or right is None:
        return False
    is_apart = abs(right.timestamp_us - left.timestamp_us - shift_us) > _TIME_TOLERANCE_US
    return not is_apart and (left.can_id, left.flags, left.data) == (right.can_id, right.flags, right.data)


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def reading(source: Path) -> AbstractContextManager[Iterator[can.Message]]:
    """Open a capture; ``with`` gives its frames."""
    return _candump_messages(source) if source.suffix.lower() == ".log" else _python_can_messages(source)


@contextmanager
def _candump_messages(source: Path) -> Iterator[Iterator[can.Message]]:
    with source.open(encoding="utf-8", errors="replace") as lines:  # a comment may be in any encoding
        yield _parsed(lines)


def _parsed(lines: TextIO) -> Iterator[can.Message]:
    for number, line in enumerate(lines, start=1):
        text = line.strip(" \t\r\n\0\ufeff")
        if not text or text.startswith("#"):
            continue
        try:
            channel, frame = parse_candump_line(text)
        except ValueError as error:
            if not line.endswith("\n"):
                return  # cut short by a recorder that was killed
            raise ValueError(f"line {number} is none of candump's log format{_hint(text)}") from error
        message = message_of(frame, channel=channel)
        message.is_rx = not text.endswith((" T", " t"))
        yield message


def _hint(text: str) -> str:
    """Return what to do about a line that is known."""
    if "[" in text and "]" in text:
        return ", but of what it shows on a screen, which has no CAN FD flags; record with `candump -L` or `candump -l`"
    if "#" in text and ":" in text:
        return ", but of CAN XL, which is not read here"
    return ""


@contextmanager
def _python_can_messages(source: Path) -> Iterator[Iterator[can.Message]]:
    if file_formats.is_pcap(source.suffix.lower()):
        with PcapReader(source) as reader:
            yield iter(reader)
        return
    options: dict[str, Any] = {"relative_timestamp": False} if source.suffix.lower() == ".asc" else {}
    with can.LogReader(source, **options) as other:
        yield _possible(_from_0(other) if source.suffix.lower() == ".trc" else other)


def _possible(messages: Iterable[can.Message]) -> Iterator[can.Message]:
    """Yield messages, and refuse those that no bus can carry: python-can's readers take any number for an identifier or a length."""
    for number, message in enumerate(messages, start=1):
        limit = 64 if message.is_fd else 8
        if len(message.data) > limit or message.dlc > limit:
            raise ValueError(f"frame {number}: more than the {limit} bytes that a frame of its kind has")
        has_11_bits = not message.is_extended_id and not message.is_error_frame
        if not 0 <= message.arbitration_id <= (SFF_MASK if has_11_bits else EFF_MASK):
            raise ValueError(f"frame {number}: 0x{message.arbitration_id:X} is not an identifier of its kind")
        if not 0 <= message.timestamp < _YEAR_10000_S:
            raise ValueError(f"frame {number}: its time stamp is not a date")
        yield message


def _from_0(messages: Iterable[can.Message]) -> Iterator[can.Message]:
    """Yield messages with channels from 0: python-can's reader of TRC leaves them as the file counts, from 1."""
    for message in messages:
        if isinstance(message.channel, int) and message.channel > 0:
            message.channel -= 1
        yield message


def _open(target: Path) -> _Writer:
    if target.suffix == ".log":
        return CandumpWriter(target)
    if target.suffix == ".pcapng":
        return PcapngWriter(target)
    return AscWriter(target) if target.suffix == ".asc" else can.Logger(target)
