"""The main job: a signed campaign updates both ECUs, by patch and by full image, and whatever the driver says is done."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner, Result

from otabench.bench.cli.app import app
from otabench.bench.errors import BenchError
from otabench.bench.launcher.options import TransferPolicy
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState
from tests.e2e.living_bench import LivingBench

pytestmark = [pytest.mark.mosquitto]

IN_ORDER = ["CONFIRMING", "WAITING_FOR_APPROVAL", "DOWNLOADING", "INSTALLING", "ACTIVATING", "VERIFYING", "SUCCEEDED"]


@pytest.mark.every_bench
@pytest.mark.parametrize(("transfer", "kind"), [(TransferPolicy.FULL, "full"), (TransferPolicy.DELTA, "delta")])
def test_both_ecus_run_the_confirmed_new_version(living: LivingBench, transfer: TransferPolicy, kind: str) -> None:
    job_id = living.start_campaign(transfer=transfer)
    living.approve()
    living.expect_updated()
    transfers = [event for event in living.events(job_id, ["flash.transfer"]) if event.data["kind"] != "metadata"]
    assert {(event.ecu, event.data["kind"]) for event in transfers} == {("engine", kind), ("adas", kind)}
    locked = [event.data for event in living.events(job_id, ["uds.exchange"]) if event.data["nrc"] == 0x33]
    assert locked == [], "nothing is asked before it is unlocked"


def test_gateway_and_cloud_tell_the_same_states_in_the_same_order(living: LivingBench) -> None:
    job_id = living.start_campaign()
    living.approve()
    living.expect_updated()
    living.expect_cloud_knows(JobState.SUCCEEDED)
    for component in ("gateway", "cloud.control"):
        events = living.events(job_id, ["job.state"])
        told = [event.data["to"] for event in events if event.component == component]
        assert [state for state in told if state != "CREATED"] == IN_ORDER
    assert living.bench.jobs.campaign is not None
    (job,) = living.bench.operator.get_campaign(living.bench.jobs.campaign.campaign_id).jobs
    simulated = living.bench.topology.simulated()
    assert {ecu.ecu: ecu.evidence for ecu in job.ecus} == {
        ecu: ota_pb2.EVIDENCE_SIGNED_BY_ECU if ecu in simulated else ota_pb2.EVIDENCE_REPORTED_BY_GATEWAY
        for ecu in ("engine", "adas")
    }
    assert job.dropped_reports == 0, job.dropped_reason


def test_every_uds_step_of_the_programming_sequence_is_in_the_trace(living: LivingBench) -> None:
    job_id = living.start_campaign()
    living.approve()
    living.expect_updated()
    exchanges = living.events(job_id, ["uds.exchange"])
    for ecu in ("engine", "adas"):
        services = {str(event.data["request"])[:2] for event in exchanges if event.ecu == ecu and event.data["request"]}
        assert {"10", "27", "2e", "31", "34", "37", "11", "22"} <= services
        assert any(event.data["request_bytes"] > 2 for event in exchanges if event.ecu == ecu)


def campaign_command(living: LivingBench, *words: str) -> Result:
    """Run `otabench campaign …` for the shared bench, as another terminal does."""
    return CliRunner().invoke(app, ["campaign", *words, "--run", str(living.bench.folder.root)])


def test_the_drivers_no_is_a_no_and_is_not_taken_back(living: LivingBench) -> None:
    job_id = living.start_campaign()
    declined = campaign_command(living, "decline")
    assert declined.output == f"{job_id}: declined\n", declined.exception
    job = living.expect_unchanged(JobState.REJECTED)
    assert "driver" in job.reason
    living.expect_cloud_knows(JobState.REJECTED)
    refused = campaign_command(living, "approve")
    assert isinstance(refused.exception, BenchError)
    assert f"job {job_id}" in str(refused.exception) and "it is REJECTED" in str(refused.exception)


def test_later_keeps_the_offer_and_install_still_works(living: LivingBench) -> None:
    job_id = living.start_campaign()
    assert campaign_command(living, "later").output.startswith(f"{job_id}: put off")
    state = living.bench.hmi.state()
    assert state["job_state"] == "WAITING_FOR_APPROVAL"
    assert state["deferred_until"] is not None
    assert living.bench.jobs.campaign is not None
    approved = campaign_command(living, "approve", living.bench.jobs.campaign.campaign_id)
    assert approved.output.startswith(f"{job_id}: approved"), approved.exception
    living.expect_updated()


def test_a_driver_who_never_answers_times_the_job_out(living: LivingBench) -> None:
    living.start_campaign(approval_timeout_s=1.0)
    living.expect_unchanged(JobState.TIMED_OUT)


def test_the_operator_cancels_while_the_driver_is_asked(living: LivingBench) -> None:
    living.start_campaign()
    living.bench.jobs.wait_for(JobState.WAITING_FOR_APPROVAL, timeout_s=60)
    living.bench.operator.cancel_campaign(living.bench.jobs.campaign.campaign_id, reason="wrong release")  # type: ignore[union-attr]
    living.expect_unchanged(JobState.CANCELED)
