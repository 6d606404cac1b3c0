"""What each file format of a capture can hold, and what a message has. Pure.

Everything here was seen by writing with the format's writer and reading the file back with its reader (``tests/bench/captures``).
A format is chosen by the file's suffix.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import can


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
    ".blf": FileFormat("BLF", _ALL, Channels.NUMBERS, has_directions=True),
    # An ErrorFrame line has no class. python-can reads a CAN FD line without data as a remote frame.
    ".asc": FileFormat("ASC", _ALL - {FrameKind.ERROR, FrameKind.EMPTY_FD}, Channels.NUMBERS, has_directions=True),
    # python-can's writer drops all others with a line in its log.
    ".trc": FileFormat("TRC", frozenset({FrameKind.CLASSIC}), Channels.NUMBERS, has_directions=True),
    # python-can's columns are those of classic frames.
    ".csv": FileFormat("CSV", frozenset({FrameKind.CLASSIC, FrameKind.REMOTE, FrameKind.ERROR})),
}
"""By suffix."""
READABLE: Final = (*WRITABLE, ".pcapng")
_PCAP_SUFFIXES: Final = (".pcap", ".pcapng")


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
