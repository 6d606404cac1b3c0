"""The features of a bench, taken from its bench file. ``@pytest.mark.feature("canfd")`` is compared with them.

Features follow from the bench file; ``features: [...]`` of an ECU adds the user's own. Pure.

| feature | who has it |
|---|---|
| ``canfd`` | a bus with ``fd: true`` |
| ``simulated`` | an ECU of ``kind: simulated`` |
| ``board`` | an ECU of ``kind: board`` |
| ``power`` | an ECU whose supply the bench can switch |
| ``fault`` | an ECU that takes faults on demand |
"""

from __future__ import annotations

from typing import Final

from otabench.bench.topology.model import Topology

_NOT_SWITCHED: Final = frozenset({"none", "manual"})


def of_ecu(topology: Topology, ecu: str) -> frozenset[str]:
    """Return the features of one ECU, those of its bus included."""
    entry = topology.ecus[ecu]
    found = {*entry.features, entry.kind}
    driver = entry.power.driver or ("simulated" if entry.kind == "simulated" else "none")
    if driver not in _NOT_SWITCHED:
        found.add("power")
    if ecu in topology.with_control_port():
        found.add("fault")
    if topology.buses[entry.bus].fd:
        found.add("canfd")
    return frozenset(found)


def of_bench(topology: Topology) -> frozenset[str]:
    """Return the features of the bench: those of all its ECUs."""
    return frozenset().union(*(of_ecu(topology, name) for name in topology.ecus))


def choose_ecu(topology: Topology, *, wanted: frozenset[str], needs_board: bool) -> str:
    """Return the ECU for a test that does not name one: the first with all wanted features, else the first of the bench."""
    wanted = wanted | ({"board"} if needs_board else set())
    for name in topology.ecus:
        if wanted <= of_ecu(topology, name):
            return name
    return next(iter(topology.ecus))
