"""What was on a line, counted: frames, bytes and bits of a bus and of each identifier.

statistics = BusStatistics(bitrate=500_000, data_bitrate=500_000)
for frame in frames:
    statistics.count(frame)
statistics.bits_between(start_s, end_s) / (500_000 * (end_s - start_s))    # the load in that time
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from otabench.bench.bus import frame_bits
from otabench.bench.bus.frame import EFF_FLAG, EFF_MASK, ERR_FLAG, FD_BRS, FD_ESI, FD_FDF, RTR_FLAG, SFF_MASK, Frame

BIN_S: Final = 0.1


@dataclass
class IdStatistics:
    """Sums over the frames with one identifier. Consecutive frames are full ISO-TP ones (8 or 64 bytes)."""

    frames: int = 0
    data_bytes: int = 0
    bits: int = 0
    consecutive_frames: int = 0
    consecutive_bits: int = 0
    bins: dict[int, int] = field(default_factory=dict)
    """Bits by interval, as those of the bus."""

    def count(self, size: int, bits: int, *, bin_key: int, is_consecutive: bool) -> None:
        """Add one frame."""
        self.frames += 1
        self.data_bytes += size
        self.bits += bits
        self.bins[bin_key] = self.bins.get(bin_key, 0) + bits
        if is_consecutive:
            self.consecutive_frames += 1
            self.consecutive_bits += bits


@dataclass
class BusStatistics:
    """Sums over the frames of one bus. ``bits`` weighs an FD frame's data phase by the ratio of the two bit rates."""

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
        """Add one frame."""
        if frame.can_id & ERR_FLAG:
            # An error frame of SocketCAN is a message from the driver, not bits on the line. What the controller
            # destroyed is not known.
            self.error_frames += 1
            return
        bits = self._bits(frame)
        size = 0 if frame.can_id & RTR_FLAG else len(frame.data)
        self.frames += 1
        self.data_bytes += size
        self.bits += bits
        # BIN_S, in integers: this runs for every frame.
        key = frame.timestamp_us // 100_000
        self.bins[key] = self.bins.get(key, 0) + bits
        can_id = frame.can_id & EFF_MASK
        is_extended = can_id in self.extended_ids and size > 0
        # Full consecutive frames only. The last one of a message is shorter, or padded, and would lower the mean that
        # pacing is compared with.
        is_consecutive = size in (8, 64) and frame.data[1 if is_extended else 0] >> 4 == 2
        entry = self.by_id.get(can_id)
        if entry is None:
            entry = self.by_id[can_id] = IdStatistics()
        entry.count(size, bits, bin_key=key, is_consecutive=is_consecutive)
        if is_extended:
            own = self.by_extension.setdefault((can_id, frame.data[0]), IdStatistics())
            own.count(size, bits, bin_key=key, is_consecutive=is_consecutive)

    def of(self, can_id: int, extension: int | None) -> IdStatistics | None:
        """Return what one sender's frames amount to; ``extension``: the address in front, if there is one. None: there was none."""
        return self.by_id.get(can_id) if extension is None else self.by_extension.get((can_id, extension))

    def _bits(self, frame: Frame) -> int:
        extended = bool(frame.can_id & EFF_FLAG)
        can_id = frame.can_id & (EFF_MASK if extended else SFF_MASK)
        if not frame.flags & FD_FDF:
            if frame.can_id & RTR_FLAG:
                return frame_bits.classic_frame_bits(can_id, b"", extended=extended, remote=True, dlc=len(frame.data))
            return frame_bits.classic_frame_bits(can_id, frame.data, extended=extended)
        parts = frame_bits.fd_frame_bits(
            can_id, frame.data, extended=extended, brs=bool(frame.flags & FD_BRS), esi=bool(frame.flags & FD_ESI)
        )
        # In bit times at the nominal bit rate: so bits of both phases can be added, and the share of the line is bits
        # / bit rate.
        return parts.nominal + round(parts.data * self.bitrate / self.data_bitrate)

    def bits_between(self, start_s: float, end_s: float) -> float:
        """Return the bits on the line in an interval of the wall clock (s since 1970); bins at its ends count by their share."""
        first, last = start_s / BIN_S, end_s / BIN_S
        return sum(
            bits * (min(key + 1, last) - max(key, first))
            for key, bits in self.bins.items()
            if key + 1 > first and key < last
        )

    def to_json(self) -> str:
        """Return the statistics as JSON; ``from_json`` reads them."""
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
        """Read what ``to_json`` wrote."""
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
