"""The fleet bench as a whole, small: real control plane, real vehicles' messages, a kill in between."""

from __future__ import annotations

from pathlib import Path

from otabench.bench.fleet.plan import Behaviour, make_plan, parse_faults, parse_waves
from otabench.bench.fleet.run import FleetOptions, run


def test_a_small_fleet_updates_while_its_control_plane_is_killed(tmp_path: Path) -> None:
    faults = parse_faults("fail=1,duplicate=1,giant=1")
    plan = make_plan(20, waves=parse_waves("100%"), faults=faults, seed=3)
    # The silence has to be longer than a restart on a busy machine. A vehicle that vanishes would be waited for as long.
    options = FleetOptions(plan=plan, silence_s=120.0, work_s=0.2, sessions=2, limit_s=150.0)
    said: list[str] = []

    figures = run(options, folder=tmp_path, say=said.append)

    assert figures.findings == []
    names = [phase.name for phase in figures.phases]
    assert names == [
        "register",
        "first check-in",
        "poll storm",
        "poll storm, bare server",
        "wave 1, 20 vehicles",
    ]
    storms = [phase.calls[0].calls for phase in figures.phases[1:4]]
    assert storms == [20, 20, 20]
    assert any(event.startswith("control plane 1 killed") for event in figures.events)
    refused = [one.errors.get("INVALID_ARGUMENT") for phase in figures.phases for one in phase.calls]
    assert refused.count(1) == plan.count(Behaviour.GIANT)
