"""The files of a CAN capture: candump's log format, pcap with link type 227 (SocketCAN).

The bytes of each record. Pure: frames in, bytes out.

    channel, frame = parse_candump_line("(1700000000.000001) can0 7E0#023E00")
    candump_line(frame, channel)                          # the same line, with its line end

Rules:

* A log line is what ``candump -L`` writes: ``(seconds.micros) channel ID#data``, ``ID##fdata`` for CAN FD (f: BRS 1, ESI
  2), ``ID#R`` for a remote frame, with its DLC behind it unless that is 0. No direction suffix, which Wireshark cannot read; the
  reader ignores one.
* The ``data`` of a remote frame are zeros, as many as its DLC, as in the kernel's structure. They are not on the line.
* An error frame's identifier is its classes (linux/can/error.h) and ``ERR_FLAG``. It is not a frame on the line: it is
  counted as an error frame only, and takes no time of the bus.
* A pcap record is a SocketCAN frame with the identifier (flags EFF, RTR, ERR in its top bits) in big-endian order, and
  0x04 in the flags of a CAN FD frame.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from otabench.bench.bus.frame import EFF_FLAG, EFF_MASK, ERR_FLAG, FD_BRS, FD_ESI, FD_FDF, RTR_FLAG, SFF_MASK, Frame

LINKTYPE_CAN_SOCKETCAN: Final = 227

_PCAP_MAGIC_MICROSECONDS: Final = 0xA1B2C3D4
# libpcap's own default. A frame has at most 72 bytes.
_SNAP_LENGTH_BYTES: Final = 262_144
_RECORD: Final = struct.Struct("<IIII")
_CAN_HEADER: Final = struct.Struct(">IBBxx")
_HEX: Final = "0123456789ABCDEF"
_LOG_LINE: Final = re.compile(
    # candump has nanoseconds with -N, and a raw DLC above 8 with -8.
    r"\((\d{1,12})\.(\d{6})(?:\d{3})?\)\s+(\S+)\s+([0-9A-F]{3}|[0-9A-F]{8})#(?:#([0-9A-F]))?((?:[0-9A-F]{2}\.?)*|R[0-8]?)(?:_[9A-F])?(?:\s+[RT])?\s*$",
    re.IGNORECASE,
)


def pcap_header() -> bytes:
    """Return the 24 bytes a pcap file begins with."""
    return struct.pack("<IHHiIII", _PCAP_MAGIC_MICROSECONDS, 2, 4, 0, 0, _SNAP_LENGTH_BYTES, LINKTYPE_CAN_SOCKETCAN)


def pcap_record(frame: Frame) -> bytes:
    """Return one record of a pcap file."""
    packet = socketcan_packet(frame)
    seconds, micros = divmod(frame.timestamp_us, 1_000_000)
    return _RECORD.pack(seconds, micros, len(packet), len(packet)) + packet


def socketcan_packet(frame: Frame) -> bytes:
    """Return a frame as a packet of link type 227."""
    return _CAN_HEADER.pack(frame.can_id, len(frame.data), frame.flags) + frame.data


def candump_line(frame: Frame, channel: str) -> str:
    """Return one line of a candump log, with its line end."""
    seconds, micros = divmod(frame.timestamp_us, 1_000_000)
    if frame.can_id & EFF_FLAG:
        name = f"{frame.can_id & EFF_MASK:08X}"
    # Eight digits with the error flag in them (20000004), as candump writes it: three digits would be a data frame.
    elif frame.can_id & ERR_FLAG:
        name = f"{frame.can_id & (EFF_MASK | ERR_FLAG):08X}"
    else:
        name = f"{frame.can_id & SFF_MASK:03X}"
    if frame.flags & FD_FDF:
        payload = f"##{_HEX[frame.flags & (FD_BRS | FD_ESI)]}{frame.data.hex().upper()}"
    elif frame.can_id & RTR_FLAG:
        payload = f"#R{len(frame.data) or ''}"
    else:
        payload = "#" + frame.data.hex().upper()
    return f"({seconds:010d}.{micros:06d}) {channel} {name}{payload}\n"


def parse_candump_line(line: str) -> tuple[str, Frame]:
    """Read one line of a candump log: channel and frame.

    Raises:
        ValueError: ``line`` is not a line of a candump log.
    """
    found = _LOG_LINE.match(line)
    if found is None:
        raise ValueError(f"not a line of a candump log: {line[:120]!r}")
    seconds, micros, channel, name, fd_flags, payload = found.groups()
    can_id, flags = int(name, 16), 0
    # The number of digits shows the format of an identifier, not its value: 00000123 and 123 are different
    # identifiers.
    if len(name) > 3 and not can_id & ERR_FLAG:
        can_id |= EFF_FLAG
    if fd_flags is not None:
        flags = int(fd_flags, 16) | FD_FDF
    elif payload[:1] in ("R", "r"):
        can_id, payload = can_id | RTR_FLAG, "00" * int(payload[1:] or 0)
    data = bytes.fromhex(payload.replace(".", ""))
    if len(data) > (64 if flags else 8) or (len(name) == 3 and can_id & SFF_MASK != can_id & EFF_MASK):
        raise ValueError(f"not a CAN frame: {line[:120]!r}")
    return channel, Frame(int(seconds) * 1_000_000 + int(micros), can_id, flags, data)


def parse_candump(lines: Iterable[str]) -> Iterator[tuple[str, Frame]]:
    """Read a candump log: channel and frame of each line. A torn last line, left by a recorder that was killed, is left out.

    Raises:
        ValueError: a line is not candump's; the message has its number.
    """
    for number, line in enumerate(lines, start=1):
        try:
            yield parse_candump_line(line)
        except ValueError as error:
            if not line.endswith("\n"):
                return
            raise ValueError(f"line {number} is none of candump's log format") from error
