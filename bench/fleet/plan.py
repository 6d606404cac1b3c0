"""What a run of the fleet bench does: the vehicles, their waves, and which of them misbehave. Pure.

    plan = make_plan(1000, waves=parse_waves("1%,10%,100%"), faults=parse_faults("fail=2%,giant=1"), seed=0)

* A share is rounded up, so that a fault or a wave that was named has a vehicle in a small fleet, too.
* A vehicle has one behaviour at most. The seed decides which vehicles misbehave.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Final

from otabench.bench.errors import UnknownName, WrongUsage

MAX_VEHICLES: Final = 100_000
_WHOLE: Final = Fraction(1)


class Behaviour(StrEnum):
    """How a vehicle behaves."""

    PLAIN = "plain"
    """It updates and reports."""
    FAIL = "fail"
    """It cannot install, and reports FAILED."""
    VANISH = "vanish"
    """It is never heard of again after the begin of its download."""
    DUPLICATE = "duplicate"
    """It sends every message twice at the same moment."""
    GIANT = "giant"
    """It first sends a message that is longer than a vehicle's may be, then behaves as a plain one."""


FAULTS: Final = tuple(str(each) for each in Behaviour if each is not Behaviour.PLAIN)


@dataclass(frozen=True)
class Portion:
    """A share of the vehicles, or a number of them."""

    value: Fraction
    is_share: bool

    def of(self, vehicles: int) -> int:
        """Return how many of so many vehicles."""
        wanted = math.ceil(self.value * vehicles) if self.is_share else int(self.value)
        return min(wanted, vehicles)


@dataclass(frozen=True)
class Plan:
    """The vehicles of a run.

    Attributes:
        vins: all vehicles, in the order of their waves.
        waves: the vehicles of each wave. Each vehicle is in one of them.
        behaviours: of each vehicle.
    """

    vins: Sequence[str]
    waves: Sequence[Sequence[str]]
    behaviours: Mapping[str, Behaviour]

    def count(self, behaviour: Behaviour) -> int:
        """Return how many vehicles behave so."""
        return sum(each is behaviour for each in self.behaviours.values())


def parse_portion(text: str, *, option: str) -> Portion:
    """Return a portion such as ``2%`` or ``3``.

    Raises:
        WrongUsage: the text is neither a share between 0 and 100 % nor a whole number.
    """
    number, sign, rest = text.strip().partition("%")
    try:
        # Fraction also reads "1/3", "1e400" and "1_0", which are not meant here.
        if rest or not number or not set(number) <= set("0123456789."):
            raise ValueError(text)
        value = Fraction(number)
    except ValueError:
        raise WrongUsage(f"{option}: {text!r} is neither a share nor a number of vehicles, such as 2% or 3") from None
    if sign:
        value /= 100
        if value > 1:
            raise WrongUsage(f"{option}: {text!r} is more than 100%")
    elif value.denominator != 1:
        raise WrongUsage(f"{option}: {text!r} is not a whole number of vehicles")
    return Portion(value, is_share=bool(sign))


def parse_faults(text: str) -> dict[Behaviour, Portion]:
    """Return the faults of a text such as ``fail=2%,vanish=1%,duplicate=1%,giant=1``. An empty text has none.

    Raises:
        WrongUsage: a fault is unknown, is named twice, or has no portion.
    """
    faults: dict[Behaviour, Portion] = {}
    for part in text.split(",") if text.strip() else ():
        name, equals, portion = part.strip().partition("=")
        if name not in FAULTS:
            raise UnknownName("fault", name, FAULTS, where="of a fleet")
        behaviour = Behaviour(name)
        if not equals:
            raise WrongUsage(f"--faults: {name} has no share of the vehicles: write {name}=1%")
        if behaviour in faults:
            raise WrongUsage(f"--faults: {name} is named twice")
        faults[behaviour] = parse_portion(portion, option=f"--faults: {name}")
    return faults


def parse_waves(text: str) -> list[Portion]:
    """Return the waves of a text such as ``1%,10%,100%``: how many vehicles have been asked in all when the wave has begun.

    Raises:
        WrongUsage: the shares do not rise, or the last one is not 100%.
    """
    waves = [parse_portion(part, option="--waves") for part in text.split(",")]
    if not all(each.is_share for each in waves):
        raise WrongUsage(f"--waves {text}: every wave is a share, such as 1%,10%,100%")
    shares = [each.value for each in waves]
    if shares[0] <= 0 or any(later <= earlier for earlier, later in itertools.pairwise(shares)):
        raise WrongUsage(f"--waves {text}: the shares have to rise, such as 1%,10%,100%")
    if shares[-1] != _WHOLE:
        raise WrongUsage(f"--waves {text}: the last wave has to be 100%")
    return waves


def make_plan(vehicles: int, *, waves: Sequence[Portion], faults: Mapping[Behaviour, Portion], seed: int) -> Plan:
    """Return the plan of a run.

    Raises:
        WrongUsage: more vehicles would misbehave than there are.
    """
    vins = [f"FLEET{number:012d}" for number in range(vehicles)]
    counts = {behaviour: portion.of(vehicles) for behaviour, portion in faults.items()}
    if sum(counts.values()) > vehicles:
        raise WrongUsage(f"--faults: {sum(counts.values())} vehicles would misbehave, and there are {vehicles}")
    shuffled = random.Random(seed).sample(vins, vehicles)
    behaviours = dict.fromkeys(vins, Behaviour.PLAIN)
    for behaviour, number in counts.items():
        for _ in range(number):
            behaviours[shuffled.pop()] = behaviour
    ends = [wave.of(vehicles) for wave in waves]
    parts = [vins[begin:end] for begin, end in itertools.pairwise([0, *ends])]
    # In a small fleet two shares may end at the same vehicle.
    return Plan(vins, [part for part in parts if part], behaviours)
