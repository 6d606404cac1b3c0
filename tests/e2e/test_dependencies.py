"""An engine image that needs a new adas: both in one campaign succeed, the engine alone is refused, a lie is seen through by the ECU."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path

import pytest

from otabench.bench.errors import EndpointError
from otabench.bench.firmware import images
from otabench.bench.gateway.config import GatewayConfig, GatewayTiming
from otabench.bench.gateway.flashing import UdsVehicle
from otabench.bench.gateway.vehicle import EcuImage
from otabench.bench.launcher import endpoints
from otabench.bench.uds.errors import DependenciesNotMet
from otabench.bench.uds.slot_table import SlotState
from otabench.cloud.trust.director import Director, TargetEntry
from otabench.cloud.trust.keys import load_director_keys
from otabench.proto import metadata_window
from otabench.proto.image_format import ImageVersion
from otabench.proto.job_states import JobState
from otabench.proto.trace import TraceWriter
from otabench.proto.uptane import ManifestCustom, TargetCustom, VehicleEcuCustom
from tests.e2e.living_bench import IMAGE_SIZE_BYTES, LivingBench, wait_until_confirmed

pytestmark = [pytest.mark.mosquitto]


def engine_that_needs_adas(living: LivingBench, folder: Path) -> Path:
    """Return the engine's next version, made by `otabench firmware build`'s own function: it needs adas in the same version."""
    version = living.next_version
    made = images.build(
        living.bench.topology,
        keys_dir=living.bench.setup.keys_dir,
        out_dir=folder,
        ecus=("engine",),
        versions=(version,),
        size_bytes=IMAGE_SIZE_BYTES,
        requires=(f"adas>={version}",),
    )
    return made["engine"][version].path


def test_the_engine_with_the_adas_it_needs_is_updated_and_boots_by_what_was_promised(
    living: LivingBench, tmp_path: Path
) -> None:
    image = engine_that_needs_adas(living, tmp_path).read_bytes()
    job_id = living.start_campaign(images={"engine": image})
    living.approve()
    living.expect_updated()
    asked = [e for e in living.events(job_id, ["uds.exchange"]) if str(e.data["request"]).startswith("3101ff01")]
    assert {e.ecu: str(e.data["response"]) for e in asked} == {"engine": "7101ff0100", "adas": "7101ff0100"}
    # and after a power cut it boots again: the promise lies in its flash
    living.bench.ecus.control_port("engine").power("cycle")
    wait_until_confirmed(living.bench, living.version)


def test_the_engine_alone_is_refused_when_the_campaign_is_made(living: LivingBench, tmp_path: Path) -> None:
    image = engine_that_needs_adas(living, tmp_path).read_bytes()
    version, wanted = living.version, living.next_version
    with pytest.raises(EndpointError) as refused:
        living.start_campaign(images={"engine": image}, ecus=["engine"])
    assert (
        f"FAILED_PRECONDITION): DEPENDENCY_NOT_MET: the image {wanted} of engine needs adas >= {wanted}, "
        f"but adas would run {version} and is not in this campaign" in str(refused.value)
    )


def test_targets_of_another_campaign_without_adas_do_not_get_the_engine_started(
    living: LivingBench, tmp_path: Path
) -> None:
    """A gateway in an attacker's hands: it has the engine's image, and Targets that the Director signed for something else."""
    bench, version = living.bench, living.next_version
    path = engine_that_needs_adas(living, tmp_path)
    bench.processes.stop("gateway")
    targets = director_targets(living, path, adas=living.version)
    config = GatewayConfig(
        vin=bench.topology.vehicle.vin,
        ecus=endpoints.all_endpoints(bench.topology, keys_dir=bench.setup.keys_dir),
        state_dir=tmp_path / "state",
        director_root=bench.setup.keys.director_root,
        cloud_grpc="127.0.0.1:1",
        timing=GatewayTiming(boot_timeout_s=12.0, ecu_lost_timeout_s=6.0),
    )
    vehicle = UdsVehicle(config, TraceWriter(tmp_path / "trace.jsonl", component="gateway"))
    try:
        engine = EcuImage("engine", version, path, path.stat().st_size, targets)
        vehicle.stage(
            [engine], job_id="lie", progress=lambda _: None, cancel=threading.Event(), fetch_image=lambda _: None
        )
        with pytest.raises(DependenciesNotMet, match="engine: 31 01 FF01 check programming dependencies: not met"):
            vehicle.activate([engine], job_id="lie", progress=lambda _: None)
        vehicle.finish(job_id="lie")
        told = vehicle.identify()["engine"]
        assert (told.software_version, told.active.state) == (living.version, SlotState.CONFIRMED)
        assert told.slots[1 - told.active_slot].state is SlotState.STAGED
        assert any(f"needs image 2 >= {version}, the Targets it came with promise" in dtc for dtc in told.dtcs), told
    finally:
        vehicle.close()
    # the same engine, in the campaign that has what it needs
    bench.processes.start("gateway")
    living.start_campaign(images={"engine": path.read_bytes()})
    living.approve()
    job = living.expect_updated()
    assert job.state is JobState.SUCCEEDED


def director_targets(living: LivingBench, image: Path, *, adas: str) -> bytes:
    """Signed Targets for the engine alone, that promise nothing new of adas, with all Roots; their version is one that it accepts."""
    bench = living.bench
    accepted = bench.folder.state / "gateway" / "director" / "targets.json"
    number = json.loads(accepted.read_bytes())["signed"]["version"] if accepted.exists() else 1
    data, version = image.read_bytes(), living.next_version
    topology = bench.topology
    digest = hashlib.sha256(data).hexdigest()
    hardware_id = topology.ecus["engine"].hardware_id
    promised = tuple(
        VehicleEcuCustom(
            image_number=topology.image_number_of(name), ecu=name, ecu_serial=topology.serial_of(name), version=runs
        )
        for name, runs in (("engine", version), ("adas", adas))
    )
    keys = load_director_keys(bench.setup.keys_dir)
    signed = Director(keys).sign(
        version=number,
        expires_at=time.time() + 3600,
        custom=ManifestCustom(vin=topology.vehicle.vin, job_id="lie", campaign_id="other", vehicle=promised),
        targets=[
            TargetEntry(
                path=f"images/{digest}/{hardware_id}-{version}.bin",
                length=len(data),
                sha256=digest,
                custom=TargetCustom(
                    ecu_serial=topology.serial_of("engine"),
                    hardware_id=hardware_id,
                    version=version,
                    release_counter=ImageVersion.parse(version).major,
                ),
            )
        ],
    )
    return metadata_window.pack(list(keys.root_files.values()), signed.targets)
