"""``.pcap`` and ``.pcapng`` for python-can: writers and a reader, found by entry points, so that ``can_logger -f bus.pcap`` works.

A ``can.Message`` becomes a SocketCAN frame, and back; ``captures.formats`` has the bytes of a record. A pcap file loses directions and
channel names: link type 227 has no place for them. A pcapng file has both. Importing this module imports python-can.

The reader takes what libpcap and Wireshark write for a SocketCAN interface: pcap in either byte order, with time stamps in micro- or
nanoseconds, and pcapng (``captures.pcapng``), whose interfaces have names.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from os import PathLike
from typing import Any, BinaryIO, Final

import can
from can.io.generic import BinaryIOMessageReader, BinaryIOMessageWriter

from otabench.bench.bus.frame import EFF_FLAG, EFF_MASK, ERR_FLAG, FD_BRS, FD_ESI, FD_FDF, RTR_FLAG, SFF_MASK, Frame
from otabench.bench.captures import pcapng
from otabench.bench.captures.formats import LINKTYPE_CAN_SOCKETCAN, pcap_header, pcap_record, socketcan_packet

_MAGIC: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 1),
    b"\xa1\xb2\xc3\xd4": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\x3c\x4d": (">", 1000),
}
_CAN_HEADER: Final = struct.Struct(">IBBxx")
_YEAR_10000_US: Final = 253_402_300_800_000_000
_TAG: Final = struct.Struct(">HH")
_LINKTYPE_UPPER_PDU: Final = 252
_DISSECTOR_NAME: Final = 12
_MAX_TAGS_BYTES: Final = 256
_LONGEST_RECORD_BYTES: Final = _CAN_HEADER.size + 64


def frame_of(message: can.Message) -> Frame:
    """Return the frame of a message."""
    if message.is_error_frame:  # an interface may call it extended, which means nothing
        can_id = message.arbitration_id | ERR_FLAG
    else:
        can_id = message.arbitration_id | (EFF_FLAG if message.is_extended_id else 0)
        can_id |= RTR_FLAG if message.is_remote_frame else 0
    flags = 0
    data = bytes(message.dlc) if message.is_remote_frame and not message.is_error_frame else bytes(message.data)
    if message.is_fd:
        flags = FD_FDF | (FD_BRS if message.bitrate_switch else 0) | (FD_ESI if message.error_state_indicator else 0)
    return Frame(round(message.timestamp * 1_000_000), can_id, flags, data)


def message_of(frame: Frame, *, channel: str | None = None) -> can.Message:
    """Return the message of a frame."""
    is_remote = bool(frame.can_id & RTR_FLAG) and not frame.can_id & ERR_FLAG
    return can.Message(
        timestamp=frame.timestamp_us / 1_000_000,
        arbitration_id=frame.can_id & EFF_MASK,
        is_extended_id=bool(frame.can_id & EFF_FLAG),
        is_remote_frame=is_remote,
        is_error_frame=bool(frame.can_id & ERR_FLAG),
        is_fd=bool(frame.flags & FD_FDF),
        bitrate_switch=bool(frame.flags & FD_BRS),
        error_state_indicator=bool(frame.flags & FD_ESI),
        data=None if is_remote else frame.data,
        dlc=len(frame.data),
        channel=channel,
    )


def channel_name(message: can.Message) -> str:
    """Return the name of a message's channel, as one word: a line of a candump log is split at blanks."""
    if isinstance(message.channel, int):
        return f"can{message.channel}"
    return "_".join(str(message.channel or "can0").split()) or "can0"


class PcapWriter(BinaryIOMessageWriter):
    """A writer of messages to a pcap file.

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


class PcapngWriter(BinaryIOMessageWriter):
    """A writer of messages to a pcapng file, with an interface for each channel.

    Args:
        file: path, or a file open for writing bytes.
    """

    def __init__(self, file: str | PathLike[str] | BinaryIO, **kwargs: Any) -> None:
        super().__init__(file, mode="wb")
        self._interfaces: dict[str, int] = {}
        self.file.write(pcapng.section_block())

    def on_message_received(self, msg: can.Message) -> None:
        name = channel_name(msg)
        if name not in self._interfaces:
            self._interfaces[name] = len(self._interfaces)
            self.file.write(pcapng.interface_block(name, link_type=LINKTYPE_CAN_SOCKETCAN))
        frame = frame_of(msg)
        self.file.write(
            pcapng.packet_block(
                self._interfaces[name],
                socketcan_packet(frame),
                timestamp_us=frame.timestamp_us,
                is_sent=not msg.is_rx,
            )
        )


class PcapReader(BinaryIOMessageReader):
    """A reader of messages from a pcap or pcapng file of a SocketCAN interface.

    Raises:
        ValueError: (on iteration) not such a file, or a damaged record; the message has its number. A cut-short last
            record, as a killed recorder leaves it, ends the reading.
    """

    def __init__(self, file: str | PathLike[str] | BinaryIO, **kwargs: Any) -> None:
        super().__init__(file, mode="rb")

    def __iter__(self) -> Iterator[can.Message]:
        magic = self.file.read(4)
        if magic == pcapng.MAGIC:
            self.file.seek(0)
            for number, packet in enumerate(pcapng.packets(self.file), start=1):
                where = f"packet {number}"
                body = _socketcan_bytes(packet.interface.link_type, packet.data, where=where)
                frame = _frame(body, packet.timestamp_us, where=where)
                message = message_of(frame, channel=packet.interface.name or None)
                message.is_rx = not packet.is_sent
                yield message
            return
        header = magic + self.file.read(20)
        if len(header) < 24 or magic not in _MAGIC:
            raise ValueError("not a pcap file, nor pcapng")
        order, divisor = _MAGIC[magic]
        (link_type,) = struct.unpack_from(f"{order}I", header, 20)
        # The upper four bits are the length of the frame check sequence, not the link type (pcap file format).
        _require_can(link_type := link_type & 0x0FFF_FFFF)
        record = struct.Struct(f"{order}IIII")
        number = 0
        while len(head := self.file.read(record.size)) == record.size:
            number += 1
            seconds, fraction, captured, _ = record.unpack(head)
            where = f"record {number}"
            if not _CAN_HEADER.size <= captured <= _LONGEST_RECORD_BYTES + _MAX_TAGS_BYTES:
                raise ValueError(f"{where}: {captured} bytes are no CAN frame")
            body = self.file.read(captured)
            if len(body) < captured:
                return
            body = _socketcan_bytes(link_type, body, where=where)
            yield message_of(_frame(body, seconds * 1_000_000 + fraction // divisor, where=where))


def _require_can(link_type: int) -> None:
    if link_type not in (LINKTYPE_CAN_SOCKETCAN, _LINKTYPE_UPPER_PDU):
        raise ValueError(f"link type {link_type}, not {LINKTYPE_CAN_SOCKETCAN}: no capture of a SocketCAN interface")


def _socketcan_bytes(link_type: int, data: bytes, *, where: str) -> bytes:
    """Return a packet as link type 227 has it.

    Wireshark saves a candump log or a TRC file with link type 252: tags with the name of a dissector, then the frame.
    """
    _require_can(link_type)
    if link_type == LINKTYPE_CAN_SOCKETCAN:
        return data
    place, name = 0, b""
    while place + _TAG.size <= len(data):
        tag, length = _TAG.unpack_from(data, place)
        place += _TAG.size
        if tag == 0:
            break
        if tag == _DISSECTOR_NAME:
            name = data[place : place + length].rstrip(b"\0")
        place += length
    body = data[place:]
    if name not in (b"can-hostendian", b"canfd", b"can-bigendian"):
        shown = name.decode("ascii", "replace") or "nothing"
        raise ValueError(f"{where}: {shown} that Wireshark exported, and no CAN frame")
    # "canfd" has the host's byte order too; hosts of Wireshark are little-endian.
    return body if name == b"can-bigendian" else body[3::-1] + body[4:]


def _frame(body: bytes, timestamp_us: int, *, where: str) -> Frame:
    """Return the frame of a record's bytes.

    Raises:
        ValueError: they are not a frame of CAN or CAN FD.
    """
    if not _CAN_HEADER.size <= len(body) <= _LONGEST_RECORD_BYTES:
        raise ValueError(f"{where}: {len(body)} bytes are no CAN frame")
    can_id, length, flags = _CAN_HEADER.unpack_from(body)
    if not can_id & (EFF_FLAG | ERR_FLAG) and can_id & EFF_MASK > SFF_MASK:
        raise ValueError(f"{where}: 0x{can_id & EFF_MASK:X} is not an identifier of 11 bits")
    if not 0 <= timestamp_us < _YEAR_10000_US:
        raise ValueError(f"{where}: its time stamp is not a date")
    is_remote = bool(can_id & RTR_FLAG) and not can_id & ERR_FLAG
    if is_remote and length > 8:
        raise ValueError(f"{where}: a remote frame with a length of {length}")
    if is_remote:  # it has a length and no data; some recorders leave the zeros out
        return Frame(timestamp_us, can_id, 0, bytes(length))
    if _CAN_HEADER.size + length > len(body):
        raise ValueError(f"{where}: {length} data bytes do not fit into {len(body)}")
    # Older recorders do not set the flag; only CAN FD has more than 8 bytes, or a structure of 72.
    is_fd = bool(flags & FD_FDF) or length > 8 or len(body) == _LONGEST_RECORD_BYTES
    data = body[_CAN_HEADER.size : _CAN_HEADER.size + length]
    return Frame(timestamp_us, can_id, flags & (FD_BRS | FD_ESI) | FD_FDF if is_fd else 0, data)
