"""Faults of single CAN frames: every n-th frame is dropped, sent twice, corrupted in one bit, or delayed.

    faults = FrameFaults(seed=7)
    faults.set(FrameFault(FrameFaultKind.DROP, every=50))
    verdict = faults.judge(Direction.RX, 0x7E0, data)

Rules:

* A fault counts frames from the moment when it is set. It hits frame ``first``, then every ``every``-th frame after it, at most ``count``
  times. With ``probability`` it hits each frame by chance instead.
* All random choices come from one seed, so that a run can be repeated.
* A corrupted frame stands for data that changed where no CRC covers them: in a controller, a driver, or a gateway's memory. On the line the
  CAN controller would detect the error and repeat the frame.

This module opens no socket and reads no clock. ``frame_gate`` applies the verdicts.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from otabench.bench.errors import UnknownName, WrongUsage


class FrameFaultKind(StrEnum):
    """The kinds of docs/contracts.md."""

    DROP = "drop"
    DUPLICATE = "duplicate"
    CORRUPT = "corrupt"
    DELAY = "delay"


FRAME_FAULT_KINDS: Final = frozenset(str(kind) for kind in FrameFaultKind)
_PARAMETERS: Final = ("every", "first", "count", "direction", "ids", "ms", "probability", "seed")
DEFAULT_DELAY_MS: Final = 50.0
_MAX_DELAY_MS: Final = 60_000.0


class Direction(StrEnum):
    """The direction of a frame from the ECU's point of view: ``rx`` towards the ECU, ``tx`` from it."""

    RX = "rx"
    TX = "tx"


@dataclass(frozen=True)
class FrameFault:
    """One fault.

    Attributes:
        kind: what happens to a frame that is hit.
        every: number of frames from one hit to the next. 0: only ``first`` is hit.
        first: number of the first frame that is hit, from 1.
        count: maximum number of hits. None: until the fault is cleared.
        direction: direction of the counted frames. None: both.
        ids: identifiers of the counted frames; empty: all.
        ms: length of a delay.
        probability: probability of a hit, instead of counting.
    """

    kind: FrameFaultKind
    every: int = 1
    first: int = 1
    count: int | None = None
    direction: Direction | None = None
    ids: tuple[int, ...] = ()
    ms: float = DEFAULT_DELAY_MS
    probability: float | None = None

    @classmethod
    def parse(cls, message: Mapping[str, Any]) -> FrameFault:
        """Parse the members of a control message.

        Raises:
            WrongUsage: an unknown kind or member, or a value out of range.
        """
        given = dict(message)
        name = given.pop("kind", None)
        if name is None:
            raise WrongUsage(f"a frame fault needs a kind: {', '.join(FrameFaultKind)}")
        # Not every value of JSON can be looked up.
        if not isinstance(name, str) or name not in FRAME_FAULT_KINDS:
            raise UnknownName("frame fault", str(name), FrameFaultKind)
        every = _whole(given.pop("every", 1 if "first" not in given else 0), "every", minimum=0)
        probability = given.pop("probability", None)
        fault = cls(
            kind=FrameFaultKind(name),
            every=every,
            first=_whole(given.pop("first", max(every, 1)), "first", minimum=1),
            count=_whole(given.pop("count"), "count", minimum=1) if "count" in given else None,
            direction=_direction(given.pop("direction", None)),
            ids=tuple(_whole(one, "ids", minimum=0) for one in _listed(given.pop("ids", ()))),
            ms=_real(given.pop("ms", DEFAULT_DELAY_MS), "ms", maximum=_MAX_DELAY_MS),
            probability=None if probability is None else _real(probability, "probability", maximum=1.0),
        )
        for unknown in given:
            raise UnknownName("parameter", unknown, _PARAMETERS, where=f"of {name}")
        return fault

    def shown(self) -> dict[str, Any]:
        """Return the members of the fault in the control port's answer."""
        shown: dict[str, Any] = {"kind": str(self.kind)}
        if self.probability is None:
            shown |= {"every": self.every, "first": self.first}
        else:
            shown["probability"] = self.probability
        if self.count is not None:
            shown["count"] = self.count
        if self.direction is not None:
            shown["direction"] = str(self.direction)
        if self.ids:
            shown["ids"] = list(self.ids)
        if self.kind is FrameFaultKind.DELAY:
            shown["ms"] = self.ms
        return shown


@dataclass(frozen=True)
class Verdict:
    """What happens to a frame: it is sent ``copies`` times with ``data``, after ``delay_s``."""

    data: bytes
    copies: int = 1
    delay_s: float = 0.0


@dataclass
class _Standing:
    fault: FrameFault
    seen: int = 0
    acted: int = 0


@dataclass
class FrameFaults:
    """The faults of one bus. A new fault replaces one of the same kind, direction and identifiers. ``seed``: of all random choices."""

    seed: int = 0
    frames: dict[Direction, int] = field(default_factory=lambda: dict.fromkeys(Direction, 0))
    acted: int = 0
    """How many frames were hit since the start."""
    _standing: list[_Standing] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def set(self, fault: FrameFault) -> None:
        def place(one: FrameFault) -> tuple[object, ...]:
            return one.kind, one.direction, one.ids

        self._standing = [one for one in self._standing if place(one.fault) != place(fault)]
        self._standing.append(_Standing(fault))

    def clear(self) -> None:
        self._standing = []

    def reseed(self, seed: int) -> None:
        """Restart the random choices with a new seed."""
        self.seed = seed
        self._random = random.Random(seed)

    def shown(self) -> list[dict[str, Any]]:
        """Return all active faults, each with its number of hits."""
        return [{**one.fault.shown(), "acted": one.acted} for one in self._standing]

    def judge(self, direction: Direction, can_id: int, data: bytes) -> Verdict:
        """Return the verdict on the next frame."""
        self.frames[direction] += 1
        verdict = Verdict(data)
        # A copy, because a fault that has reached its ``count`` removes itself.
        for one in list(self._standing):
            if not self._counts(one.fault, direction, can_id) or not self._hits(one):
                continue
            self.acted += 1
            verdict = self._done(one.fault, verdict)
        return verdict

    @staticmethod
    def _counts(fault: FrameFault, direction: Direction, can_id: int) -> bool:
        return (fault.direction is None or fault.direction is direction) and (not fault.ids or can_id in fault.ids)

    def _hits(self, one: _Standing) -> bool:
        one.seen += 1
        fault = one.fault
        if fault.probability is not None:
            hit = self._random.random() < fault.probability
        else:
            behind = one.seen - fault.first
            hit = behind == 0 or (behind > 0 and fault.every > 0 and behind % fault.every == 0)
        if hit:
            one.acted += 1
            if fault.count is not None and one.acted >= fault.count:
                self._standing.remove(one)
        return hit

    def _done(self, fault: FrameFault, verdict: Verdict) -> Verdict:
        data, copies, delay_s = verdict.data, verdict.copies, verdict.delay_s
        if fault.kind is FrameFaultKind.DROP:
            copies = 0
        elif fault.kind is FrameFaultKind.DUPLICATE:
            # Several faults may hit one frame: a doubled frame of a doubled frame goes out four times.
            copies *= 2
        elif fault.kind is FrameFaultKind.DELAY:
            delay_s += fault.ms / 1000
        elif data:
            bit = self._random.randrange(8 * len(data))
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            data = bytes(changed)
        return Verdict(data, copies, delay_s)


def _whole(value: object, name: str, *, minimum: int) -> int:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = int(value, 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise WrongUsage(f"{name} {value!r}: expected a whole number from {minimum} on")
    return value


def _real(value: object, name: str, *, maximum: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= maximum:
        raise WrongUsage(f"{name} {value!r}: expected a number from 0 to {maximum:g}")
    return float(value)


def _direction(value: object) -> Direction | None:
    if value is None:
        return None
    if value not in list(Direction):
        raise WrongUsage(f"direction {value!r}: expected rx (towards the ECU) or tx (from it)")
    return Direction(str(value))


def _listed(value: object) -> list[object]:
    if isinstance(value, str):
        return [part for part in value.split("+") if part]
    return list(value) if isinstance(value, list | tuple) else [value]
