"""The files of a CAN capture: candump's log format, pcap with link type 227 (SocketCAN), and the count of what was on the line.

Decides the bytes of each record. Pure: frames in, bytes out.

Rules:

* A log line is what ``candump -L`` writes: ``(seconds.micros) channel ID#data``, ``ID##fdata`` for CAN FD (f: BRS 1, ESI
  2), ``ID#R`` for a remote frame. No direction suffix, which Wireshark cannot read; one that is there is read over.
* An error frame's identifier is its classes (linux/can/error.h) and ``ERR_FLAG``. It is no frame on the line: it counts as error
  frame alone, and takes no bits.
* A pcap record is a SocketCAN frame with the identifier (flags EFF, RTR, ERR in its top bits) in big-endian order, and
  0x04 in the flags of a CAN FD frame.
* Bits are those of ``bench.frame_bits``, counted into intervals of ``BIN_S`` of the wall clock, so that they can be laid
  beside the trace.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass, field
from typing import Any, Final

from bench import frame_bits

EFF_FLAG: Final = 0x8000_0000
RTR_FLAG: Final = 0x4000_0000
ERR_FLAG: Final = 0x2000_0000
EFF_MASK: Final = 0x1FFF_FFFF
SFF_MASK: Final = 0x7FF
FD_BRS: Final = 0x01
FD_ESI: Final = 0x02
FD_FDF: Final = 0x04
LINKTYPE_CAN_SOCKETCAN: Final = 227
BIN_S: Final = 0.1

_PCAP_MAGIC_MICROSECONDS: Final = 0xA1B2C3D4
_SNAP_LENGTH_BYTES: Final = 262_144
_RECORD: Final = struct.Struct("<IIII")
_CAN_HEADER: Final = struct.Struct(">IBBxx")
_HEX: Final = "0123456789ABCDEF"
_LOG_LINE: Final = re.compile(
    r"\((\d+)\.(\d{6})\) (\S+) ([0-9A-F]{3}|[0-9A-F]{8})#(?:#([0-9A-F]))?((?:[0-9A-F]{2})*|R\d*)(?: [RT])?\s*$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as SocketCAN gives it: ``can_id`` with its flags; ``flags`` are the FD flags, 0x04 set on FD frames."""

    timestamp_us: int
    can_id: int
    flags: int
    data: bytes


def pcap_header() -> bytes:
    """The 24 bytes a pcap file begins with."""
    return struct.pack("<IHHiIII", _PCAP_MAGIC_MICROSECONDS, 2, 4, 0, 0, _SNAP_LENGTH_BYTES, LINKTYPE_CAN_SOCKETCAN)


def pcap_record(frame: Frame) -> bytes:
    """One record of a pcap file."""
    length = 8 + len(frame.data)
    seconds, micros = divmod(frame.timestamp_us, 1_000_000)
    return (
        _RECORD.pack(seconds, micros, length, length)
        + _CAN_HEADER.pack(frame.can_id, len(frame.data), frame.flags)
        + frame.data
    )


def candump_line(frame: Frame, channel: str) -> str:
    """One line of a candump log, with its line end."""
    seconds, micros = divmod(frame.timestamp_us, 1_000_000)
    if frame.can_id & EFF_FLAG:
        name = f"{frame.can_id & EFF_MASK:08X}"
    elif frame.can_id & ERR_FLAG:
        name = f"{frame.can_id & (EFF_MASK | ERR_FLAG):08X}"
    else:
        name = f"{frame.can_id & SFF_MASK:03X}"
    if frame.flags & FD_FDF:
        payload = f"##{_HEX[frame.flags & (FD_BRS | FD_ESI)]}{frame.data.hex().upper()}"
    elif frame.can_id & RTR_FLAG:
        payload = "#R"
    else:
        payload = "#" + frame.data.hex().upper()
    return f"({seconds:010d}.{micros:06d}) {channel} {name}{payload}\n"


def parse_candump_line(line: str) -> tuple[str, Frame]:
    """Reads one line of a candump log: channel and frame.

    Raises:
        ValueError: it is none.
    """
    found = _LOG_LINE.match(line)
    if found is None:
        raise ValueError(f"no line of a candump log: {line!r}")
    seconds, micros, channel, name, fd_flags, payload = found.groups()
    can_id, flags = int(name, 16), 0
    if len(name) > 3 and not can_id & ERR_FLAG:
        can_id |= EFF_FLAG
    if fd_flags is not None:
        flags = int(fd_flags, 16) | FD_FDF
    elif payload.startswith("R"):
        can_id, payload = can_id | RTR_FLAG, ""
    return channel, Frame(int(seconds) * 1_000_000 + int(micros), can_id, flags, bytes.fromhex(payload))


@dataclass
class IdStatistics:
    """What frames with one identifier amount to. Consecutive frames are full ISO-TP ones (8 or 64 bytes)."""

    frames: int = 0
    data_bytes: int = 0
    bits: int = 0
    consecutive_frames: int = 0
    consecutive_bits: int = 0
    bins: dict[int, int] = field(default_factory=dict)
    """Bits by interval, as those of the bus."""

    def count(self, size: int, bits: int, *, bin_key: int, is_consecutive: bool) -> None:
        """Adds one frame."""
        self.frames += 1
        self.data_bytes += size
        self.bits += bits
        self.bins[bin_key] = self.bins.get(bin_key, 0) + bits
        if is_consecutive:
            self.consecutive_frames += 1
            self.consecutive_bits += bits


@dataclass
class BusStatistics:
    """What was on one bus. ``bits`` weighs an FD frame's data phase by the ratio of the two bit rates."""

    bitrate: int
    data_bitrate: int
    frames: int = 0
    data_bytes: int = 0
    bits: int = 0
    error_frames: int = 0
    lost_frames: int = 0
    """Frames that the kernel dropped because the recorder was too slow."""
    extended_ids: tuple[int, ...] = ()
    """Identifiers whose frames have an address in front (ISO 15765-2, extended addressing)."""
    by_id: dict[int, IdStatistics] = field(default_factory=dict)
    by_extension: dict[tuple[int, int], IdStatistics] = field(default_factory=dict)
    """Of the extended ones, by identifier and that address."""
    bins: dict[int, int] = field(default_factory=dict)
    """Bits by interval; the key is the wall clock over ``BIN_S``."""

    def count(self, frame: Frame) -> None:
        """Adds one frame."""
        if frame.can_id & ERR_FLAG:
            self.error_frames += 1
            return
        bits = self._bits(frame)
        size = len(frame.data)
        self.frames += 1
        self.data_bytes += size
        self.bits += bits
        key = frame.timestamp_us // 100_000
        self.bins[key] = self.bins.get(key, 0) + bits
        can_id = frame.can_id & EFF_MASK
        is_extended = can_id in self.extended_ids and size > 0
        is_consecutive = size in (8, 64) and frame.data[1 if is_extended else 0] >> 4 == 2
        entry = self.by_id.get(can_id)
        if entry is None:
            entry = self.by_id[can_id] = IdStatistics()
        entry.count(size, bits, bin_key=key, is_consecutive=is_consecutive)
        if is_extended:
            own = self.by_extension.setdefault((can_id, frame.data[0]), IdStatistics())
            own.count(size, bits, bin_key=key, is_consecutive=is_consecutive)

    def of(self, can_id: int, extension: int | None) -> IdStatistics | None:
        """What one sender's frames amount to; ``extension``: the address in front, if there is one. None: there was none."""
        return self.by_id.get(can_id) if extension is None else self.by_extension.get((can_id, extension))

    def _bits(self, frame: Frame) -> int:
        extended = bool(frame.can_id & EFF_FLAG)
        can_id = frame.can_id & (EFF_MASK if extended else SFF_MASK)
        if not frame.flags & FD_FDF:
            return frame_bits.classic_frame_bits(
                can_id, frame.data, extended=extended, remote=bool(frame.can_id & RTR_FLAG)
            )
        parts = frame_bits.fd_frame_bits(
            can_id, frame.data, extended=extended, brs=bool(frame.flags & FD_BRS), esi=bool(frame.flags & FD_ESI)
        )
        return parts.nominal + round(parts.data * self.bitrate / self.data_bitrate)

    def bits_between(self, start_s: float, end_s: float) -> float:
        """Bits on the line in an interval of the wall clock (s since 1970); bins at its ends count by their share."""
        first, last = start_s / BIN_S, end_s / BIN_S
        return sum(
            bits * (min(key + 1, last) - max(key, first))
            for key, bits in self.bins.items()
            if key + 1 > first and key < last
        )

    def to_json(self) -> str:
        """The statistics as JSON; ``from_json`` reads them."""
        composed = ("by_id", "by_extension", "bins")
        plain: dict[str, Any] = {key: value for key, value in vars(self).items() if key not in composed}
        plain["by_id"] = {f"{can_id:X}": _entry_to_json(entry) for can_id, entry in sorted(self.by_id.items())}
        plain["by_extension"] = {
            f"{can_id:X}.{extension:02X}": _entry_to_json(entry)
            for (can_id, extension), entry in sorted(self.by_extension.items())
        }
        plain["bin_s"] = BIN_S
        plain["bins"] = _bins_to_json(self.bins)
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str) -> BusStatistics:
        """Reads what ``to_json`` wrote."""
        plain = json.loads(text)
        plain.pop("bin_s")
        plain["by_id"] = {int(can_id, 16): _entry_from_json(entry) for can_id, entry in plain["by_id"].items()}
        plain["by_extension"] = {
            (int(name.partition(".")[0], 16), int(name.partition(".")[2], 16)): _entry_from_json(entry)
            for name, entry in plain.get("by_extension", {}).items()
        }
        plain["extended_ids"] = tuple(plain.get("extended_ids", ()))
        plain["bins"] = _bins_from_json(plain["bins"])
        return cls(**plain)


def _entry_to_json(entry: IdStatistics) -> dict[str, Any]:
    return {**vars(entry), "bins": _bins_to_json(entry.bins)}


def _entry_from_json(plain: dict[str, Any]) -> IdStatistics:
    return IdStatistics(**{**plain, "bins": _bins_from_json(plain.get("bins", {}))})


def _bins_to_json(bins: dict[int, int]) -> dict[str, int]:
    return {str(key): bits for key, bits in sorted(bins.items())}


def _bins_from_json(bins: dict[str, int]) -> dict[int, int]:
    return {int(key): bits for key, bits in bins.items()}
