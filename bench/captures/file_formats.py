"""What each file format of a capture can hold, and what a message has. Pure.

Everything here was seen by writing with the format's writer and reading the file back with its reader (``tests/bench/captures``).
A format is chosen by the file's suffix.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import can

from otabench.bench.errors import WrongUsage


class FrameKind(StrEnum):
    """The kinds of frames that a format may not hold. The value is the name in messages."""

    CLASSIC = "classic frame"
    REMOTE = "remote frame"
    FD = "CAN FD frame"
    EMPTY_FD = "CAN FD frame without data"
    ERROR = "error frame"


class Channels(StrEnum):
    """How a format states on which channel a frame was."""

    NAMES = "names"
    NUMBERS = "numbers"
    NONE = "none"


@dataclass(frozen=True)
class FileFormat:
    """One format.

    Attributes:
        name: in messages.
        holds: the kinds of frames that come back from it as they were.
        channels: how it states channels.
        has_directions: whether it states that a frame was sent, not received.
    """

    name: str
    holds: frozenset[FrameKind]
    channels: Channels = Channels.NONE
    has_directions: bool = False


_ALL: Final = frozenset(FrameKind)
_PCAP: Final = FileFormat("pcap", _ALL)
WRITABLE: Final = {
    # No directions in .log, though candump -x writes them: Wireshark does not read lines with them.
    ".log": FileFormat("candump's log", _ALL, Channels.NAMES),
    ".pcap": _PCAP,
    ".pcapng": FileFormat("pcapng", _ALL, Channels.NAMES, has_directions=True),
    ".blf": FileFormat("BLF", _ALL, Channels.NUMBERS, has_directions=True),
    # An ErrorFrame line has no class. python-can reads a CAN FD line without data as a remote frame.
    ".asc": FileFormat("ASC", _ALL - {FrameKind.ERROR, FrameKind.EMPTY_FD}, Channels.NUMBERS, has_directions=True),
    # python-can's writer drops all others with a line in its log.
    ".trc": FileFormat("TRC", frozenset({FrameKind.CLASSIC}), Channels.NUMBERS, has_directions=True),
    # python-can's columns are those of classic frames.
    ".csv": FileFormat("CSV", frozenset({FrameKind.CLASSIC, FrameKind.REMOTE, FrameKind.ERROR})),
}
"""By suffix."""
_PCAP_SUFFIXES: Final = (".pcap", ".pcapng")
_MDF: Final = "ASAM MDF; export it as .blf or .asc by the program that recorded it, or by asammdf"
_NOT_HANDLED: Final = {".mf4": _MDF, ".mdf": _MDF}
"""Other formats of CAN captures, with what to do instead."""


def require_known(path: Path, *, verb: str) -> None:
    """Refuse a file whose suffix means no format. All formats are both read and written.

    Args:
        path: the file.
        verb: what is to be done with it, as in "cannot be read".

    Raises:
        WrongUsage: its suffix is unknown; the message has the known ones.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        instead = f" ({_NOT_HANDLED[suffix]})" if suffix in _NOT_HANDLED else ""
        raise WrongUsage(
            f"{path}: files ending in {path.suffix!r} cannot be {verb}{instead}; known: {', '.join(WRITABLE)}"
        )


def is_pcap(suffix: str) -> bool:
    """Return whether files with that suffix are read as pcap or pcapng."""
    return suffix in _PCAP_SUFFIXES


def kind_of(message: can.Message) -> FrameKind:
    """Return the kind of a message."""
    if message.is_error_frame:
        return FrameKind.ERROR
    if message.is_remote_frame:
        return FrameKind.REMOTE
    if message.is_fd:
        return FrameKind.FD if message.data else FrameKind.EMPTY_FD
    return FrameKind.CLASSIC


def formats_for(kinds: frozenset[FrameKind]) -> list[str]:
    """Return the suffixes of the formats that hold all of these kinds."""
    return [suffix for suffix, form in WRITABLE.items() if kinds <= form.holds]
