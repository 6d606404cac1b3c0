"""Fixtures that several test files of the flashing client share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.gateway.scripted_ecu import ScriptedEcu
from tests.gateway.scripted_rig import Rig, channel


@pytest.fixture
def make_rig(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Called with ECUs by name (one, engine, where none is given)."""
    with_ecus: list[ScriptedEcu] = []
    rigs: list[Rig] = []

    def make(soak_s: float = 0.1, **ecus: ScriptedEcu) -> Rig:
        made = ecus or {"engine": ScriptedEcu(channel())}
        for ecu in made.values():
            with_ecus.append(ecu.__enter__())
        rigs.append(Rig(tmp_path, made, soak_s=soak_s))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.vehicle.close()
    for ecu in with_ecus:
        ecu.__exit__()
