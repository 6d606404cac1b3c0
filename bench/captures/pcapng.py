"""The blocks of a pcapng file (draft-ietf-opsawg-pcapng): reads what Wireshark and dumpcap write, and writes blocks.

Packets of several interfaces come in the file's order, each with its interface's name. Blocks that have no packets are skipped. A file
may change its byte order with each section. What is written is one section in little-endian order, with time stamps in microseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from typing import BinaryIO, Final

MAGIC: Final = b"\x0a\x0d\x0d\x0a"
_SECTION: Final = 0x0A0D0D0A
_INTERFACE: Final = 1
_SIMPLE_PACKET: Final = 3
_ENHANCED_PACKET: Final = 6
_BYTE_ORDER: Final = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D
_END: Final = 0
_NAME: Final = 2
_FLAGS: Final = 2
"""A packet's option. Each kind of block has option codes of its own."""
_DIRECTION: Final = 0b11
_INBOUND: Final = 1
_OUTBOUND: Final = 2
_RESOLUTION: Final = 9
_OFFSET: Final = 14
# A damaged length must not make the reader allocate gigabytes.
_MAX_BLOCK_BYTES: Final = 16 << 20


@dataclass(frozen=True)
class Interface:
    """One interface of a section.

    Attributes:
        link_type: of its packets.
        name: as the recorder named it; may be empty.
        units_per_s: of its time stamps.
        offset_s: added to its time stamps.
    """

    link_type: int
    name: str
    units_per_s: int
    offset_s: int


@dataclass(frozen=True)
class Packet:
    """One packet: its interface, its time, its bytes as they were captured, and whether it was sent by the recording machine."""

    interface: Interface
    timestamp_us: int
    data: bytes
    is_sent: bool = False


def section_block() -> bytes:
    """Return the block that a file begins with. The section's length is left open, as the file is written in one go."""
    return _block(_SECTION, struct.pack("<IHHq", _BYTE_ORDER_MAGIC, 1, 0, -1))


def interface_block(name: str, *, link_type: int) -> bytes:
    """Return the block of one interface; packets name it by its position among these blocks, from 0."""
    return _block(_INTERFACE, struct.pack("<HHI", link_type, 0, 0) + _option(_NAME, name.encode()) + _option(_END))


def packet_block(interface: int, data: bytes, *, timestamp_us: int, is_sent: bool) -> bytes:
    """Return the block of one packet."""
    head = struct.pack("<IIIII", interface, timestamp_us >> 32, timestamp_us & 0xFFFF_FFFF, len(data), len(data))
    flags = struct.pack("<I", _OUTBOUND if is_sent else _INBOUND)
    return _block(_ENHANCED_PACKET, head + _padded(data) + _option(_FLAGS, flags) + _option(_END))


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def _option(code: int, value: bytes = b"") -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def packets(file: BinaryIO | BufferedIOBase) -> Iterator[Packet]:
    """Yield the packets of a file. A last block that is cut short, as a killed recorder leaves it, ends the reading.

    Raises:
        ValueError: a block is damaged; the message has its number.
    """
    order, number = "<", 0
    interfaces: list[Interface] = []
    while len(head := file.read(8)) == 8:
        number += 1
        # The magic of a section is a palindrome, so it is recognized before the byte order is known. The byte order follows it, and also
        # applies to the length before it.
        if head[:4] == MAGIC:
            marker = file.read(4)
            if marker not in _BYTE_ORDER:
                raise ValueError(f"pcapng block {number}: a section without byte order")
            order, interfaces = _BYTE_ORDER[marker], []
        kind, length = struct.unpack(f"{order}II", head)
        done = 12 if kind == _SECTION else 8
        if not 12 <= length <= _MAX_BLOCK_BYTES or length % 4 or length < done + 4:
            raise ValueError(f"pcapng block {number}: a length of {length} bytes")
        body = file.read(length - done)
        if len(body) < length - done:
            return
        try:
            if kind == _INTERFACE:
                interfaces.append(_interface(body[:-4], order))
            elif kind == _ENHANCED_PACKET:
                yield _enhanced(body[:-4], order, interfaces)
            elif kind == _SIMPLE_PACKET:
                raise ValueError("a packet without a time stamp (Simple Packet Block)")
        except (struct.error, IndexError) as error:
            raise ValueError(
                f"pcapng block {number}: it is cut short, or names an interface that does not exist"
            ) from error
        except ValueError as error:
            raise ValueError(f"pcapng block {number}: {error}") from error


def _interface(body: bytes, order: str) -> Interface:
    (link_type,) = struct.unpack_from(f"{order}H", body)
    options = dict(_options(body[8:], order))
    # if_tsresol: the highest bit chooses between powers of 2 and of 10. Without the option, microseconds.
    resolution = options.get(_RESOLUTION, b"\x06")[0]
    units = 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution
    offset_s = struct.unpack(f"{order}q", options[_OFFSET])[0] if _OFFSET in options else 0
    return Interface(link_type, options.get(_NAME, b"").decode("utf-8", "replace"), units, offset_s)


def _options(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + 4 <= len(data):
        code, length = struct.unpack_from(f"{order}HH", data, place)
        if code == 0:
            return
        yield code, data[place + 4 : place + 4 + length]
        place += 4 + (length + 3) // 4 * 4


def _enhanced(body: bytes, order: str, interfaces: list[Interface]) -> Packet:
    index, high, low, captured, _ = struct.unpack_from(f"{order}IIIII", body)
    data = body[20 : 20 + captured]
    if len(data) < captured:
        raise ValueError(f"{captured} bytes do not fit into it")
    interface = interfaces[index]
    ticks = high << 32 | low
    flags = dict(_options(body[20 + (captured + 3) // 4 * 4 :], order)).get(_FLAGS, b"")
    is_sent = len(flags) == 4 and struct.unpack(f"{order}I", flags)[0] & _DIRECTION == _OUTBOUND
    timestamp_us = interface.offset_s * 1_000_000 + ticks * 1_000_000 // interface.units_per_s
    return Packet(interface, timestamp_us, data, is_sent)
