"""The figures of a run. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from otabench.bench.finding import Finding
from otabench.bench.fleet.measurements import Summary
from otabench.bench.fleet.usage import Usage

LOAD = "load"
"""All load processes together, in the usage of a phase."""


@dataclass(frozen=True)
class PhaseFigures:
    """One phase.

    Attributes:
        name: what it was.
        seconds: how long it took.
        calls: one summary for each call.
        usage: of each process: the processor time of this phase, and the memory at its end.
    """

    name: str
    seconds: float
    calls: Sequence[Summary]
    usage: Mapping[str, Usage]


@dataclass
class FleetFigures:
    """A run.

    Attributes:
        vehicles: how many there were.
        database: SQLite or PostgreSQL.
        replicas: how many control planes.
        load_before: the machine's load before the run.
        phases: in their order.
        events: what was killed, and when.
        findings: what the cloud did wrong. Empty: nothing.
    """

    vehicles: int
    database: str
    replicas: int
    load_before: float
    phases: list[PhaseFigures] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def cpu_per_vehicle_s(self, *, without: Sequence[str]) -> float:
        """Return the processor time of all servers for each vehicle, except of those named."""
        used = sum(
            usage.cpu_s for phase in self.phases for name, usage in phase.usage.items() if name not in (*without, LOAD)
        )
        return used / self.vehicles
