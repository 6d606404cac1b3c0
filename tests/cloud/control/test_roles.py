"""Who may create, approve and abort a campaign, and who did it: in the campaign, and in the audit log."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import approval, jobs
from otabench.cloud.campaigns.approval import WAITS
from otabench.cloud.errors import NotAllowed, UnknownThing
from otabench.cloud.store.database import open_database
from otabench.cloud.store.schema import CampaignRow, JobRow, VehicleRow
from otabench.proto import audit_log, ota_pb2
from otabench.proto.job_states import JobState
from tests.cloud.bench import CALL_S, ENGINE, Cloud, ImageMaker, Vehicle, campaign_request, words_of

NO_UPDATE, AVAILABLE = ota_pb2.CheckInResponse.DECISION_NO_UPDATE, ota_pb2.CheckInResponse.DECISION_UPDATE_AVAILABLE
OPERATOR, APPROVER = "CN=operator, OU=operator", "CN=approver, OU=approver"


def refusal(call: Any, request: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=CALL_S)
    return caught.value


@pytest.fixture
def waiting(shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker) -> ota_pb2.Campaign:
    """A campaign that needs approval, for a vehicle that has reported what it runs."""
    vehicle.register(shared_cloud)
    vehicle.check_in(shared_cloud)
    return shared_cloud.create_campaign(campaign_request(vehicle, (ENGINE, images()), needs_approval=True))


@pytest.mark.clause("R156 7.1.2.5")
def test_no_vehicle_is_offered_a_campaign_before_its_approval(
    shared_cloud: Cloud, vehicle: Vehicle, waiting: ota_pb2.Campaign
) -> None:
    (job,) = waiting.jobs
    assert (waiting.created_by, waiting.needs_approval, waiting.approved_by) == (OPERATOR, True, "")
    assert job.reason == WAITS
    answer = vehicle.check_in(shared_cloud)
    assert (answer.decision, answer.reason) == (NO_UPDATE, WAITS)
    # also on the way for check-ins that bring news
    vehicle.versions["adas"] = "1.0.1"
    answer = vehicle.check_in(shared_cloud)
    assert (answer.decision, answer.reason) == (NO_UPDATE, WAITS)
    # and: whoever knows the job's id cannot begin it
    control = vehicle.control(shared_cloud)
    status = ota_pb2.UpdateStatusRequest(
        vin=vehicle.vin, job_id=job.job_id, state="JOB_STATE_CONFIRMING", transition_seq=1
    )
    assert WAITS in words_of(refusal(control.UpdateStatus, status))
    manifest = ota_pb2.GetManifestRequest(vin=vehicle.vin, job_id=job.job_id)
    assert refusal(control.GetManifest, manifest).code() is grpc.StatusCode.FAILED_PRECONDITION
    # when
    request = ota_pb2.ApproveCampaignRequest(campaign_id=waiting.campaign_id)
    approved = shared_cloud.peer("approver").operator.ApproveCampaign(request, timeout=CALL_S)
    # then
    assert (approved.created_by, approved.approved_by) == (OPERATOR, APPROVER)
    assert abs(approved.approved_at - time.time()) < 60
    answer = vehicle.check_in(shared_cloud)
    assert (answer.decision, answer.job_id, answer.reason) == (AVAILABLE, job.job_id, "")
    # and: a repetition changes nothing
    again = shared_cloud.peer("approver").operator.ApproveCampaign(request, timeout=CALL_S)
    assert (again.approved_by, again.approved_at) == (APPROVER, approved.approved_at)
    entries = [
        (entry["who"], entry["what"], entry["outcome"])
        for entry in audit_log.read(shared_cloud.folder / "state" / "audit")
        if entry.get("campaign_id") == waiting.campaign_id
    ]
    assert (OPERATOR, "CreateCampaign", "OK") in entries
    assert (APPROVER, "ApproveCampaign", "OK") in entries


def test_a_watcher_sees_the_approval(shared_cloud: Cloud, waiting: ota_pb2.Campaign) -> None:
    watched = ota_pb2.GetCampaignRequest(campaign_id=waiting.campaign_id)
    stream = shared_cloud.peer("viewer").operator.WatchCampaign(watched, timeout=CALL_S)
    assert next(stream).approved_by == ""
    request = ota_pb2.ApproveCampaignRequest(campaign_id=waiting.campaign_id)
    shared_cloud.peer("approver").operator.ApproveCampaign(request, timeout=CALL_S)
    assert next(stream).approved_by == APPROVER
    stream.cancel()


def test_each_role_may_call_what_is_its_own(shared_cloud: Cloud, waiting: ota_pb2.Campaign) -> None:
    approve = ota_pb2.ApproveCampaignRequest(campaign_id=waiting.campaign_id)
    cancel = ota_pb2.CancelCampaignRequest(campaign_id=waiting.campaign_id, reason="no")
    denied: list[tuple[str, str, Any]] = [
        ("operator", "ApproveCampaign", approve),
        ("viewer", "ApproveCampaign", approve),
        ("viewer", "CancelCampaign", cancel),
        ("approver", "CreateCampaign", ota_pb2.CreateCampaignRequest()),
        ("approver", "RegisterVehicle", ota_pb2.RegisterVehicleRequest(vin="X")),
        ("approver", "PublishImages", ota_pb2.PublishImagesRequest()),
    ]
    for certificate, method, request in denied:
        error = refusal(getattr(shared_cloud.peer(certificate).operator, method), request)
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED, (certificate, method)
    # An approver reads, and aborts.
    approver = shared_cloud.peer("approver").operator
    assert approver.GetCampaign(ota_pb2.GetCampaignRequest(campaign_id=waiting.campaign_id), timeout=CALL_S).jobs
    canceled = approver.CancelCampaign(cancel, timeout=CALL_S)
    assert [job.state for job in canceled.jobs] == [ota_pb2.JOB_STATE_CANCELED]
    # and: what was aborted is not begun by an approval that comes later
    approved = approver.ApproveCampaign(approve, timeout=CALL_S)
    assert [(job.state, job.reason) for job in approved.jobs] == [(ota_pb2.JOB_STATE_CANCELED, "no")]


def test_a_cloud_may_demand_approval_of_every_campaign(
    make_cloud: Callable[..., Cloud], vehicle: Vehicle, images: ImageMaker
) -> None:
    cloud = make_cloud()
    cloud.config["require_approval"] = True
    cloud.start()
    vehicle.register(cloud)
    campaign = cloud.create_campaign(campaign_request(vehicle, (ENGINE, images())))
    assert campaign.needs_approval
    assert vehicle.check_in(cloud).decision == NO_UPDATE


@pytest.mark.parametrize(
    ("facts", "campaign_id", "error", "words"),
    [
        ({"created_by": "CN=ann, OU=operator"}, "campaign-1", NotAllowed, "another person must approve it"),
        ({"created_by": OPERATOR, "needs_approval": False}, "campaign-1", NotAllowed, "does not need approval"),
        ({"created_by": OPERATOR}, "campaign-2", UnknownThing, "there is no campaign"),
    ],
)
def test_an_approval_that_must_not_be(
    tmp_path: Path, facts: dict[str, Any], campaign_id: str, error: type[Exception], words: str
) -> None:
    campaign = {
        "campaign_id": "campaign-1",
        "name": "",
        "release_notes": "",
        "transfer": "auto",
        "created_at": 0.0,
        "manifest_lifetime_s": 0.0,
        "approval_timeout_s": 0.0,
        "needs_approval": True,
        **facts,
    }
    job = {"job_id": "job-1", "campaign_id": "campaign-1", "vin": "VIN1", "position": 0, "updated_at": 0.0}

    def approve(session: Session) -> bool:
        for row in (
            VehicleRow(vin="VIN1"),
            CampaignRow(**campaign),
            JobRow(**job, state=JobState.CREATED, reason=WAITS, held=True),
        ):
            session.add(row)
            session.flush()
        with pytest.raises(error, match=words):
            approval.approve(session, campaign_id, who="CN=ann, OU=approver", person="CN=ann, ", now=1.0)
        return jobs.load_job(session, vin="VIN1", job_id="job-1").held

    database = open_database(f"sqlite:///{tmp_path}/cloud.db")
    try:
        assert database.run_now(approve)
    finally:
        database.close()
