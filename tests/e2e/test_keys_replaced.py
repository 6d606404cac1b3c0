"""All online keys are replaced while the vehicle is away: the running cloud, the gateway and the ECUs follow, and an update works."""

from __future__ import annotations

import pytest

from otabench.bench.keys import ceremony
from otabench.bench.keys.folders import Folders, read_roots
from otabench.bench.launcher.specs import names
from otabench.ecu_firmware_sim.flash.layout import FlashLayout
from otabench.ecu_firmware_sim.flash.nor import NorFlash
from otabench.ecu_firmware_sim.flash.nvm import NvmStore
from tests.e2e.living_bench import LivingBench

pytestmark = [pytest.mark.mosquitto]


def director_root_of(living: LivingBench, ecu: str) -> int:
    """Return the version of the Root that an ECU keeps in its flash."""
    file = living.bench.folder.state / f"{names.ecu_process(ecu)}.bin"
    layout = FlashLayout(slot_bytes=living.bench.topology.ecus[ecu].slot_size_bytes)
    stored = NvmStore(NorFlash(bytearray(file.read_bytes())), layout).load()
    return 1 if stored is None or stored.root is None else stored.root.version


def test_a_vehicle_that_was_away_for_three_roots_is_updated(living: LivingBench) -> None:
    bench = living.bench
    folder = bench.setup.keys_dir
    bench.processes.stop("gateway")
    for _ in range(3):
        ceremony.rotate(Folders(folder, folder), ceremony.parse_roles([ceremony.ALL_ONLINE]))
    newest = read_roots(folder / "director")[-1].signed.version
    bench.processes.start("gateway")

    living.start_campaign()
    living.approve()
    living.expect_updated()

    assert {ecu: director_root_of(living, ecu) for ecu in bench.topology.ecus} == dict.fromkeys(
        bench.topology.ecus, newest
    )
