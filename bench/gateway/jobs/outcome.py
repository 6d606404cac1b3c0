"""The outcome of a job's action: an event, its reason, and facts to store with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from otabench.bench.gateway.jobs.states import Event
from otabench.bench.gateway.store import Facts
from otabench.bench.uds.identity import EcuIdentity


@dataclass(frozen=True)
class Outcome:
    """The outcome of an action."""

    event: Event
    reason: str = ""
    facts: Facts = field(default_factory=lambda: Facts())
    identities: Mapping[str, EcuIdentity] | None = None
    """What the ECUs run after the action. None: the action did not read it."""
