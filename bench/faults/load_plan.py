"""Choose the frames of other nodes' traffic, and their cycles, so that together they take a given share of the line.

    frames = plan(Load(60.0), Line(bitrate=500_000), avoid={0x7E0, 0x7E8}, seed=0)

Rules:

* Each frame has its own identifier, constant data, and a cycle of 20, 50, 100 or 200 ms, as in a vehicle's communication matrix. Frames are
  drawn (by the seed) until they take the share. Then all cycles are multiplied by one factor, so that they take exactly the share. If there
  are too few identifiers, this factor shortens the cycles.
* A share is the time on the line in percent of all time. Stuff bits and intermission count, and the data phase of a CAN FD frame counts at
  its own bit rate (``bus.frame_bits``).
* The kernel's broadcast manager counts each cycle from the real end of the previous one, so small delays add up. The cycles are shortened
  by the delay that is measured on the bus.
* Identifiers of the bench itself (diagnostic, periodic) are never used. The default range (0x400 to 0x5FF) has a lower priority than a
  vehicle's important application frames, and a higher one than diagnostics. ``priority`` and ``ids`` choose other ranges.

This module opens no socket and reads no clock. ``faults.bus_load`` sends the frames.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from otabench.bench.bus import frame_bits
from otabench.bench.errors import UnknownName, WrongUsage
from otabench.proto.can_id import is_29_bit

LOAD_KIND: Final = "load"
_PARAMETERS: Final = ("share", "priority", "ids", "seed")
PRIORITIES: Final[dict[str, tuple[int, int]]] = {
    "high": (0x010, 0x1FF),
    "low": (0x400, 0x5FF),
    "lowest": (0x1FF0_0000, 0x1FFF_FFFF),
}
"""Ranges of identifiers: before nearly all others, the default, and behind every 11-bit identifier up to 0x7FB."""
CYCLES_S: Final = (0.02, 0.05, 0.05, 0.1, 0.1, 0.2)
CLASSIC_LENGTHS: Final = (8, 8, 8, 8, 7, 6, 4, 3, 2)
FD_LENGTHS: Final = (64, 48, 32, 24, 16, 12, 8, 8, 4)
MAX_LATE_S: Final = 0.001
"""A longer delay means that the line is full or the machine too slow. Shorter cycles would make it worse."""
_MAX_ID: Final = 0x1FFF_FFFF


@dataclass(frozen=True)
class Line:
    """The bit rates of a bus, in bit/s. ``data_bitrate`` None: no bit rate switch."""

    bitrate: int
    data_bitrate: int | None = None
    fd: bool = False


@dataclass(frozen=True)
class CyclicFrame:
    """One frame that is sent periodically.

    Attributes:
        can_id: identifier; 29 bits if it is above 0x7FF.
        data: the constant data.
        line_s: how long the frame occupies the line.
        period_s: time from one frame to the next.
    """

    can_id: int
    data: bytes
    line_s: float
    period_s: float

    @property
    def extended(self) -> bool:
        return is_29_bit(self.can_id)


@dataclass(frozen=True)
class Load:
    """A requested load.

    Attributes:
        share_percent: share of the line, 0 to 100.
        first_id, last_id: the range of identifiers that may be used.
    """

    share_percent: float
    first_id: int = PRIORITIES["low"][0]
    last_id: int = PRIORITIES["low"][1]

    @classmethod
    def parse(cls, parameters: Mapping[str, Any]) -> Load:
        """Parse ``share`` (60, "60%"), and ``priority`` (high, low, lowest) or ``ids`` ("0x500-0x53F").

        Raises:
            WrongUsage: a parameter is unknown, or its value is invalid.
        """
        given = dict(parameters)
        share = _share_percent(given.pop("share", None))
        if "ids" in given and "priority" in given:
            raise WrongUsage("load: priority and ids are both given; keep one")
        first, last = _ids(given.pop("ids")) if "ids" in given else _priority(given.pop("priority", "low"))
        for unknown in given:
            raise UnknownName("parameter", unknown, _PARAMETERS, where=f"of {LOAD_KIND}")
        return cls(share, first, last)

    def shown(self) -> dict[str, Any]:
        """Return the members of the load in the control port's answer."""
        return {"kind": LOAD_KIND, "share": self.share_percent, "ids": f"0x{self.first_id:X}-0x{self.last_id:X}"}


def plan(load: Load, line: Line, *, avoid: Collection[int], seed: int) -> tuple[CyclicFrame, ...]:
    """Return the frames of a load. A share of 0 has no frames.

    Args:
        load: the requested load.
        line: the bit rates of the bus.
        avoid: identifiers that other nodes use.
        seed: the seed for identifiers, lengths, data and cycles. The same seed gives the same frames.

    Raises:
        WrongUsage: no identifier is left.
    """
    wanted = load.share_percent / 100
    if wanted == 0:
        return ()
    # The range is part of the seed, so that another range gives other frames, too.
    chance = random.Random(f"{seed}/{load.first_id}/{load.last_id}")
    frames: list[CyclicFrame] = []
    for can_id in _identifiers(load, avoid, chance):
        data = chance.randbytes(chance.choice(FD_LENGTHS if line.fd else CLASSIC_LENGTHS))
        frames.append(CyclicFrame(can_id, data, line_s(can_id, data, line), chance.choice(CYCLES_S)))
        if share_of(frames) >= wanted:
            break
    if not frames:
        raise WrongUsage(f"load: ids 0x{load.first_id:X}-0x{load.last_id:X}: the bench uses all of these itself")
    # Whole frames rarely take exactly the share. The last one exceeds it a little, and longer cycles make up for that.
    stretch = share_of(frames) / wanted
    return tuple(
        CyclicFrame(frame.can_id, frame.data, frame.line_s, frame.period_s * stretch)
        for frame in sorted(frames, key=lambda frame: frame.can_id)
    )


def share_of(frames: Iterable[CyclicFrame]) -> float:
    """Return the share of the line that the frames take together: 0 to 1, or more if they do not fit."""
    return sum(frame.line_s / frame.period_s for frame in frames)


def lateness_s(samples: Collection[float]) -> float:
    """Return the typical delay: the mean of the samples without the lowest and the highest tenth.

    The outliers are moments in which the machine stood still. Return 0 if the mean is more than a timer's delay (``MAX_LATE_S``).
    """
    ordered = sorted(samples)
    cut = len(ordered) // 10
    kept = ordered[cut : len(ordered) - cut]
    usual = sum(kept) / len(kept) if kept else 0.0
    return usual if 0.0 < usual <= MAX_LATE_S else 0.0


def hurried_period_s(frame: CyclicFrame, late_s: float) -> float:
    """Return the cycle to request, so that a frame with this delay is sent on time. It is at least half of the frame's own cycle."""
    return max(frame.period_s - late_s, frame.period_s / 2)


def line_s(can_id: int, data: bytes, line: Line) -> float:
    """Return how long a frame with that identifier and data occupies the line."""
    extended = is_29_bit(can_id)
    if not line.fd:
        return frame_bits.classic_frame_bits(can_id, data, extended=extended) / line.bitrate
    bits = frame_bits.fd_frame_bits(can_id, data, extended=extended, brs=line.data_bitrate is not None)
    return bits.duration_s(line.bitrate, line.data_bitrate)


def _identifiers(load: Load, avoid: Collection[int], chance: random.Random) -> Iterable[int]:
    span = range(load.first_id, load.last_id + 1)
    return (can_id for can_id in chance.sample(span, min(len(span), 4096)) if can_id not in avoid)


def _share_percent(value: object) -> float:
    share = value
    if isinstance(share, str):
        try:
            share = float(share.removesuffix("%"))
        except ValueError:
            share = None
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 100:
        said = "load needs a share" if value is None else f"load: share {value!r}"
        raise WrongUsage(f"{said}: expected 0 to 100 per cent of the line, such as 60%")
    return float(share)


def _priority(value: object) -> tuple[int, int]:
    if not isinstance(value, str) or value not in PRIORITIES:
        raise WrongUsage(f"load: priority {value!r}: expected {', '.join(PRIORITIES)}")
    return PRIORITIES[value]


def _ids(value: object) -> tuple[int, int]:
    first, _, last = str(value).partition("-")
    try:
        numbers = int(first, 0), int(last or first, 0)
    except ValueError:
        numbers = (1, 0)
    if not 0 <= numbers[0] <= numbers[1] <= _MAX_ID:
        raise WrongUsage(f"load: ids {value!r}: expected FIRST-LAST, such as 0x500-0x53F")
    return numbers
