"""``.pcap`` for python-can: a writer and a reader that it finds by its entry points, so that ``can_logger -f bus.pcap`` works.

A ``can.Message`` becomes a SocketCAN frame, and back; ``captures.formats`` has the bytes of a record. Directions and channel names are
lost: link type 227 has no place for them. Importing this module imports python-can.

The reader takes what libpcap writes for a SocketCAN interface: either byte order, time stamps in micro- or nanoseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from os import PathLike
from typing import Any, BinaryIO, Final

import can
from can.io.generic import BinaryIOMessageReader, BinaryIOMessageWriter

from otabench.bench.bus.frame import EFF_FLAG, EFF_MASK, ERR_FLAG, FD_BRS, FD_ESI, FD_FDF, RTR_FLAG, Frame
from otabench.bench.captures.formats import LINKTYPE_CAN_SOCKETCAN, pcap_header, pcap_record

_MAGIC: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 1),
    b"\xa1\xb2\xc3\xd4": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\x3c\x4d": (">", 1000),
}
_CAN_HEADER: Final = struct.Struct(">IBBxx")
_LONGEST_RECORD_BYTES: Final = _CAN_HEADER.size + 64


def frame_of(message: can.Message) -> Frame:
    """Return the frame of a message."""
    if message.is_error_frame:  # an interface may call it extended, which means nothing
        can_id = message.arbitration_id | ERR_FLAG
    else:
        can_id = message.arbitration_id | (EFF_FLAG if message.is_extended_id else 0)
        can_id |= RTR_FLAG if message.is_remote_frame else 0
    flags = 0
    if message.is_fd:
        flags = FD_FDF | (FD_BRS if message.bitrate_switch else 0) | (FD_ESI if message.error_state_indicator else 0)
    return Frame(round(message.timestamp * 1_000_000), can_id, flags, bytes(message.data))


def message_of(frame: Frame, *, channel: str | None = None) -> can.Message:
    """Return the message of a frame."""
    return can.Message(
        timestamp=frame.timestamp_us / 1_000_000,
        arbitration_id=frame.can_id & EFF_MASK,
        is_extended_id=bool(frame.can_id & EFF_FLAG),
        is_remote_frame=bool(frame.can_id & RTR_FLAG),
        is_error_frame=bool(frame.can_id & ERR_FLAG),
        is_fd=bool(frame.flags & FD_FDF),
        bitrate_switch=bool(frame.flags & FD_BRS),
        error_state_indicator=bool(frame.flags & FD_ESI),
        data=frame.data,
        channel=channel,
    )


class PcapWriter(BinaryIOMessageWriter):
    """Writes messages to a pcap file.

    Args:
        file: path, or a file open for writing bytes.
        append: go on after the records of a file that is there.
    """

    def __init__(self, file: str | PathLike[str] | BinaryIO, append: bool = False, **kwargs: Any) -> None:
        super().__init__(file, mode="ab" if append else "wb")
        if self.file.tell() == 0:
            self.file.write(pcap_header())

    def on_message_received(self, msg: can.Message) -> None:
        self.file.write(pcap_record(frame_of(msg)))


class PcapReader(BinaryIOMessageReader):
    """Reads messages from a pcap file of a SocketCAN interface.

    Raises:
        ValueError: (on iteration) not such a file, or a damaged record; the message has its number. A cut-short last
            record, as a killed recorder leaves it, ends the reading.
    """

    def __init__(self, file: str | PathLike[str] | BinaryIO, **kwargs: Any) -> None:
        super().__init__(file, mode="rb")

    def __iter__(self) -> Iterator[can.Message]:
        header = self.file.read(24)
        if len(header) < 24 or header[:4] not in _MAGIC:
            raise ValueError("not a pcap file (a pcapng file can be made one by `editcap -F pcap IN OUT`)")
        order, divisor = _MAGIC[header[:4]]
        (link_type,) = struct.unpack_from(f"{order}I", header, 20)
        if link_type & 0x0FFF_FFFF != LINKTYPE_CAN_SOCKETCAN:
            raise ValueError(
                f"link type {link_type}, not {LINKTYPE_CAN_SOCKETCAN}: no capture of a SocketCAN interface"
            )
        record = struct.Struct(f"{order}IIII")
        number = 0
        while len(head := self.file.read(record.size)) == record.size:
            number += 1
            seconds, fraction, captured, _ = record.unpack(head)
            if not _CAN_HEADER.size <= captured <= _LONGEST_RECORD_BYTES:
                raise ValueError(f"record {number}: {captured} bytes are no CAN frame")
            body = self.file.read(captured)
            if len(body) < captured:
                return
            can_id, length, flags = _CAN_HEADER.unpack_from(body)
            if _CAN_HEADER.size + length > captured:
                raise ValueError(f"record {number}: {length} data bytes do not fit into {captured}")
            data = body[_CAN_HEADER.size : _CAN_HEADER.size + length]
            fd_flags = flags if flags & FD_FDF or length > 8 else 0
            yield message_of(
                Frame(seconds * 1_000_000 + fraction // divisor, can_id, fd_flags | (FD_FDF if length > 8 else 0), data)
            )
