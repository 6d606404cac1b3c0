"""A plane of the cloud that is absent or dies: the update is late, never lost."""

from __future__ import annotations

import pytest

from otabench.bench.launcher.options import Transfer
from otabench.proto.job_states import JobState
from tests.e2e.living_bench import LivingBench

pytestmark = [pytest.mark.mosquitto]


def test_a_dead_broker_delays_an_update_and_never_loses_it(living: LivingBench) -> None:
    living.bench.kill("broker")
    living.start_campaign()
    living.approve()
    living.expect_updated()


def test_the_broker_comes_back_in_the_middle(living: LivingBench) -> None:
    living.bench.kill("broker")
    living.start_campaign()
    living.bench.wait_for_job(JobState.WAITING_FOR_APPROVAL, timeout_s=30)
    living.bench.start_process("broker")
    living.bench.decide("install")
    living.expect_updated()


@pytest.mark.parametrize("state", ["WAITING_FOR_APPROVAL", "INSTALLING", "VERIFYING"])
def test_the_control_plane_killed_in_the_middle_hears_the_rest_when_it_is_back(living: LivingBench, state: str) -> None:
    bench = living.bench
    living.start_campaign()
    bench.wait_for_job(JobState.WAITING_FOR_APPROVAL, timeout_s=30)
    if state == "WAITING_FOR_APPROVAL":
        bench.kill("cloud-control")
        bench.start_process("cloud-control")
        bench.decide("install")
    else:
        bench.decide("install")
        bench.wait_for_job(JobState(state), timeout_s=30)
        bench.kill("cloud-control")
        bench.start_process("cloud-control")
    living.expect_updated()
    living.expect_cloud_knows(JobState.SUCCEEDED)


def test_the_artifact_server_dead_at_the_download_is_waited_for(living: LivingBench) -> None:
    bench = living.bench
    living.start_campaign(transfer=Transfer.FULL)
    bench.wait_for_job(JobState.WAITING_FOR_APPROVAL, timeout_s=30)
    bench.kill("cloud-artifacts")
    bench.decide("install")
    job = bench.wait_for_job(JobState.DOWNLOADING, timeout_s=10)
    assert job.state is JobState.DOWNLOADING
    bench.start_process("cloud-artifacts")
    living.expect_updated()


def test_a_gateway_that_starts_without_a_cloud_updates_when_there_is_one(living: LivingBench) -> None:
    bench = living.bench
    bench.stop_process("gateway")
    for plane in ("broker", "cloud-control", "cloud-artifacts"):
        bench.stop_process(plane)
    bench.start_process("gateway")
    assert bench.hmi.state()["vin"] == bench.topology.vehicle.vin
    for plane in ("broker", "cloud-control", "cloud-artifacts"):
        bench.start_process(plane)
    living.start_campaign()
    living.approve()
    living.expect_updated()
