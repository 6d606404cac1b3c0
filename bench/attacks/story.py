"""The description of an attack: what the attacker has and does, who stops it, and by which name.

A ``Story`` is one attack of the Uptane Standard's list or of this project's; its ``cases`` are the variants that are tried here. A case
that nobody stops states what the attacker reaches. Tests carry out every case and compare the outcome; docs/security.md is generated from
the same data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from otabench.bench.attacks.parties import Guard, Key, Place
from otabench.bench.attacks.scene import Scene

ACCEPTED_BY_ECU: Final = "the ECU would accept it, and might refuse the next honest update"


@dataclass(frozen=True)
class Outcome:
    """The outcome of an attack.

    Attributes:
        guard: who stopped it; None: nobody.
        refusal: the name of the refusal.
        text: the reason in words.
    """

    guard: Guard | None
    refusal: str = ""
    text: str = ""


class NothingReached(Exception):
    """The attack was carried out and reached nothing. The message states why."""


class ConsentRefused(Exception):
    """The gateway does not act on a consent of the driver. The message is the reason."""


def _nothing(scene: Scene) -> None:
    """Do nothing before the attack."""


@dataclass(frozen=True)
class Case:
    """One variant of an attack.

    Attributes:
        name: what the attacker does, in one line.
        act: carries it out. Raises the refusal that stops it.
        place: what is attacked.
        stolen: what the attacker has.
        guard, refusal: who stops it, by which name. None: nobody does.
        reaches: what the attacker reaches if nobody stops it.
        prepare: honest steps before the attack.
        touches_metadata: whether the gateway accepts metadata on the way.
        blocks_updates: whether honest updates fail afterwards; ``reaches`` states it.
        is_for_tests: why it is not carried out on a running bench; empty if it may be.
    """

    name: str
    act: Callable[[Scene], None]
    place: Place = Place.GATEWAY
    stolen: frozenset[Key] = frozenset()
    guard: Guard | None = None
    refusal: str = ""
    reaches: str = ""
    prepare: Callable[[Scene], None] = _nothing
    touches_metadata: bool = False
    blocks_updates: bool = False
    is_for_tests: str = ""

    def __post_init__(self) -> None:
        if (self.guard is None) != (not self.refusal) or (self.guard is None and not self.reaches):
            raise ValueError(f"{self.name}: give guard and refusal, or what the attacker reaches")


@dataclass(frozen=True)
class Story:
    """One attack.

    Attributes:
        name: for the command line.
        title: its name in the table.
        what_happens: a paragraph for whoever watches.
        cases: the variants that are tried here.
    """

    name: str
    title: str
    what_happens: str
    cases: tuple[Case, ...]


def gateway_case(name: str, act: Callable[[Scene], None], refusal: str, **more: Any) -> Case:
    """Return a case that the gateway stops."""
    return Case(name, act, guard=Guard.GATEWAY, refusal=refusal, **more)


def ecu_case(name: str, act: Callable[[Scene], None], refusal: str, **more: Any) -> Case:
    """Return a case that attacks an ECU over the bus, and that the ECU stops."""
    return Case(name, act, Place.ECU, guard=Guard.ECU, refusal=refusal, **more)
