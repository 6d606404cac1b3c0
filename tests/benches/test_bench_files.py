"""The bench files beside this one: each is valid, and its simulated ECUs have bootloaders and flash profiles that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabench.bench.launcher.specs.personality import personality_of
from otabench.bench.topology import bench_file
from otabench.bench.uds.flash_profiles import facts_of
from otabench.ecu_firmware_sim.personalities.shipped import PERSONALITIES

FILES = sorted(Path(__file__).parent.glob("*.bench.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_its_bootloaders_and_profiles_exist(path: Path) -> None:
    topology = bench_file.load(path)
    for name, ecu in topology.ecus.items():
        personality = personality_of(topology, name)
        assert (facts_of(ecu.profile).payload == "raw") == (personality is not None)
        assert personality is None or personality in PERSONALITIES


def test_every_bootloader_has_a_bench() -> None:
    assert {path.name.removesuffix(".bench.yaml") for path in FILES} >= set(PERSONALITIES)
