"""All online keys are replaced while the vehicle is away: the running cloud, the gateway and the ECUs follow, and an update works."""

from __future__ import annotations

import time

import pytest

from otabench.bench.keys import ceremony
from otabench.bench.keys.folders import Folders, read_roots
from otabench.bench.launcher.specs import names
from otabench.ecu_firmware_sim.flash.layout import FlashLayout
from otabench.ecu_firmware_sim.flash.nor import NorFlash
from otabench.ecu_firmware_sim.flash.nvm import NvmData, NvmStore
from tests.e2e.living_bench import LivingBench

pytestmark = [pytest.mark.mosquitto]


def stored_by(living: LivingBench, ecu: str) -> NvmData:
    """Return what an ECU keeps in its flash."""
    file = living.bench.folder.state / f"{names.ecu_process(ecu)}.bin"
    layout = FlashLayout(slot_bytes=living.bench.topology.ecus[ecu].slot_size_bytes)
    stored = NvmStore(NorFlash(bytearray(file.read_bytes())), layout).load()
    assert stored is not None
    return stored


def test_a_vehicle_that_was_away_for_three_roots_is_updated(living: LivingBench) -> None:
    bench = living.bench
    folder = bench.setup.keys_dir
    bench.processes.stop("gateway")
    for _ in range(3):
        ceremony.rotate(Folders(folder, folder), ceremony.parse_roles([ceremony.ALL_ONLINE]))
    newest = read_roots(folder / "director")[-1].signed.version
    bench.processes.start("gateway")

    started_s = int(time.time())
    job_id = living.start_campaign()
    living.approve()
    living.expect_updated()

    for ecu in bench.topology.simulated():  # a board's flash cannot be read here
        stored = stored_by(living, ecu)
        assert stored.root is not None
        assert stored.root.version == newest
        # the time is attested by a key that came with the newest Root
        assert stored.attested_time_s >= started_s
    assert living.events(job_id, ["time.not_attested"]) == []
