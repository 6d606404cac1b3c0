"""Fixtures that several test files of the flashing client share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otabench.bench.uds.bus_link import ChannelOpener
from otabench.bench.uds.transport import open_channel
from tests.bench.gateway.scripted_ecu import ScriptedEcu
from tests.bench.gateway.scripted_rig import ScriptedEcuRig, channel


@pytest.fixture
def make_rig(tmp_path: Path) -> Iterator[Callable[..., ScriptedEcuRig]]:
    """Makes a rig with the named ECUs; by default with one, the engine."""
    with_ecus: list[ScriptedEcu] = []
    rigs: list[ScriptedEcuRig] = []

    def make(soak_s: float = 0.1, opener: ChannelOpener = open_channel, **ecus: ScriptedEcu) -> ScriptedEcuRig:
        made = ecus or {"engine": ScriptedEcu(channel())}
        for ecu in made.values():
            with_ecus.append(ecu.__enter__())
        rigs.append(ScriptedEcuRig(tmp_path, made, soak_s=soak_s, opener=opener))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.vehicle.close()
    for ecu in with_ecus:
        ecu.__exit__()
