"""A plane of the cloud that is absent or dies: the update is late, never lost."""

from __future__ import annotations

import pytest

from otabench.bench.launcher.options import TransferPolicy
from otabench.proto.job_states import JobState
from tests.e2e.living_bench import LivingBench

pytestmark = [pytest.mark.mosquitto]


def test_a_dead_broker_delays_an_update_and_never_loses_it(living: LivingBench) -> None:
    living.bench.processes.kill("broker")
    living.start_campaign()
    living.approve()
    living.expect_updated()


def test_the_broker_comes_back_in_the_middle(living: LivingBench) -> None:
    living.bench.processes.kill("broker")
    living.start_campaign()
    living.bench.jobs.wait_for(JobState.WAITING_FOR_APPROVAL, timeout_s=60)
    living.bench.processes.start("broker")
    living.bench.jobs.decide("install")
    living.expect_updated()


@pytest.mark.parametrize("state", ["WAITING_FOR_APPROVAL", "INSTALLING", "VERIFYING"])
def test_the_control_plane_killed_in_the_middle_hears_the_rest_when_it_is_back(living: LivingBench, state: str) -> None:
    bench = living.bench
    living.start_campaign()
    bench.jobs.wait_for(JobState.WAITING_FOR_APPROVAL, timeout_s=60)
    if state == "WAITING_FOR_APPROVAL":
        bench.processes.kill("cloud-control")
        bench.processes.start("cloud-control")
        bench.jobs.decide("install")
    else:
        bench.jobs.decide("install")
        bench.jobs.wait_for(JobState(state), timeout_s=30)
        bench.processes.kill("cloud-control")
        bench.processes.start("cloud-control")
    living.expect_updated()
    living.expect_cloud_knows(JobState.SUCCEEDED)


def test_the_artifact_server_dead_at_the_download_is_waited_for(living: LivingBench) -> None:
    bench = living.bench
    living.start_campaign(transfer=TransferPolicy.FULL)
    bench.jobs.wait_for(JobState.WAITING_FOR_APPROVAL, timeout_s=60)
    bench.processes.kill("cloud-artifacts")
    bench.jobs.decide("install")
    job = bench.jobs.wait_for(JobState.DOWNLOADING, timeout_s=60)
    assert job.state is JobState.DOWNLOADING
    bench.processes.start("cloud-artifacts")
    living.expect_updated()


def test_a_gateway_that_starts_without_a_cloud_updates_when_there_is_one(living: LivingBench) -> None:
    bench = living.bench
    bench.processes.stop("gateway")
    for plane in ("broker", "cloud-control", "cloud-artifacts"):
        bench.processes.stop(plane)
    bench.processes.start("gateway")
    assert bench.hmi.state()["vin"] == bench.topology.vehicle.vin
    for plane in ("broker", "cloud-control", "cloud-artifacts"):
        bench.processes.start(plane)
    living.start_campaign()
    living.approve()
    living.expect_updated()
