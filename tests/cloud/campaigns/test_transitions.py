"""UpdateStatus over the wire: the table is kept, repeats are not applied, a cancellation reaches the vehicle."""

from __future__ import annotations

import grpc
import pytest

from otabench.proto import ota_pb2
from otabench.proto.job_states import TRANSITIONS, JobState
from tests.cloud.bench import CALL_S, ENGINE, Cloud, ImageMaker, Vehicle, campaign_request, state_name, words_of
from tests.cloud.campaigns.test_campaigns import AVAILABLE, HAPPY_PATH, NO_UPDATE, create, get


@pytest.fixture
def job(shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker) -> ota_pb2.Campaign:
    vehicle.register(shared_cloud)
    return create(shared_cloud, campaign_request(vehicle, (ENGINE, images())))


def cancel(cloud: Cloud, campaign: ota_pb2.Campaign, reason: str = "found a defect") -> ota_pb2.Campaign:
    request = ota_pb2.CancelCampaignRequest(campaign_id=campaign.campaign_id, reason=reason)
    answer = cloud.operator.CancelCampaign(request, timeout=CALL_S)
    assert isinstance(answer, ota_pb2.Campaign)
    return answer


def test_what_the_table_does_not_allow_is_refused_and_changes_nothing(
    shared_cloud: Cloud, vehicle: Vehicle, job: ota_pb2.Campaign
) -> None:
    job_id = job.jobs[0].job_id
    for current in ["CREATED", *HAPPY_PATH]:
        if current != "CREATED":
            vehicle.update(shared_cloud, job_id, current)
        allowed = TRANSITIONS[JobState(current)]
        for reported in JobState:
            if reported in allowed or reported == current:
                continue
            with pytest.raises(grpc.RpcError) as caught:
                vehicle.update(shared_cloud, job_id, reported, seq=vehicle.seq + 1)
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert f"{current} to {reported}" in words_of(caught.value)
            assert all(state in words_of(caught.value) for state in allowed)
        assert state_name(get(shared_cloud, job.campaign_id).jobs[0].state) == current


def test_a_repeated_number_is_answered_and_not_applied_again(
    shared_cloud: Cloud, vehicle: Vehicle, job: ota_pb2.Campaign
) -> None:
    job_id = job.jobs[0].job_id
    for state in HAPPY_PATH[:3]:
        vehicle.update(shared_cloud, job_id, state)

    for number, state in enumerate(HAPPY_PATH[:3], start=1):
        answer = vehicle.update(shared_cloud, job_id, state, seq=number, reason="again")
        assert state_name(answer.state) == "DOWNLOADING"

    moves = [event.data["to"] for event in shared_cloud.trace("job.state", vin=vehicle.vin)]
    assert moves == ["CREATED", *HAPPY_PATH[:3]]


def test_a_repeat_of_the_state_is_progress_and_keeps_what_ecus_report(
    shared_cloud: Cloud, vehicle: Vehicle, job: ota_pb2.Campaign
) -> None:
    job_id = job.jobs[0].job_id
    vehicle.update(shared_cloud, job_id, "CONFIRMING")
    progress = ota_pb2.EcuProgress(ecu="engine", phase="waiting", bytes_total=5)

    vehicle.update(shared_cloud, job_id, "CONFIRMING", seq=1, progress=[progress], ecus=vehicle.reports())

    shown = get(shared_cloud, job.campaign_id).jobs[0]
    assert list(shown.progress) == [progress]
    assert [ecu.software_version for ecu in shown.ecus] == ["1.0.0", "1.0.0"]


@pytest.mark.parametrize("number", [0, 99])
def test_an_unknown_state_is_refused(shared_cloud: Cloud, vehicle: Vehicle, job: ota_pb2.Campaign, number: int) -> None:
    request = ota_pb2.UpdateStatusRequest(vin=vehicle.vin, job_id=job.jobs[0].job_id, state=number)  # type: ignore[arg-type]

    with pytest.raises(grpc.RpcError) as caught:
        vehicle.control(shared_cloud).UpdateStatus(request, timeout=CALL_S)

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_another_vehicles_job_is_not_found(
    shared_cloud: Cloud, vehicle: Vehicle, other_vehicle: Vehicle, job: ota_pb2.Campaign
) -> None:
    other_vehicle.register(shared_cloud)
    job_id = job.jobs[0].job_id

    with pytest.raises(grpc.RpcError) as updating:
        other_vehicle.update(shared_cloud, job_id, "CONFIRMING")
    with pytest.raises(grpc.RpcError) as reading:
        request = ota_pb2.GetManifestRequest(vin=other_vehicle.vin, job_id=job_id)
        other_vehicle.control(shared_cloud).GetManifest(request, timeout=CALL_S)

    assert updating.value.code() is reading.value.code() is grpc.StatusCode.NOT_FOUND
    assert state_name(get(shared_cloud, job.campaign_id).jobs[0].state) == "CREATED"


def test_canceling_before_the_job_was_offered_ends_it(
    shared_cloud: Cloud, vehicle: Vehicle, job: ota_pb2.Campaign
) -> None:
    ended = cancel(shared_cloud, job).jobs[0]

    assert (state_name(ended.state), ended.reason) == ("CANCELED", "found a defect")
    assert vehicle.check_in(shared_cloud).decision == NO_UPDATE
    assert state_name(cancel(shared_cloud, job).jobs[0].state) == "CANCELED", "canceling again is allowed"


def test_canceling_a_running_job_asks_the_vehicle_to_end_it(
    shared_cloud: Cloud, vehicle: Vehicle, job: ota_pb2.Campaign
) -> None:
    job_id = job.jobs[0].job_id
    assert vehicle.check_in(shared_cloud).decision == AVAILABLE

    assert state_name(cancel(shared_cloud, job).jobs[0].state) == "CREATED"
    answer = vehicle.update(shared_cloud, job_id, "CONFIRMING")
    assert answer.cancel_requested
    assert "found a defect" in vehicle.check_in(shared_cloud, job_id=job_id).reason
    answer = vehicle.update(shared_cloud, job_id, "CANCELED", reason="the operator canceled")

    assert (state_name(answer.state), answer.cancel_requested) == ("CANCELED", False)


def test_a_job_that_was_offered_but_not_begun_ends_at_the_next_check_in(
    shared_cloud: Cloud, vehicle: Vehicle, job: ota_pb2.Campaign
) -> None:
    vehicle.check_in(shared_cloud)
    cancel(shared_cloud, job)

    answer = vehicle.check_in(shared_cloud)

    assert (answer.decision, state_name(answer.job_state)) == (NO_UPDATE, "CANCELED")


def test_canceling_from_activating_on_is_too_late(shared_cloud: Cloud, vehicle: Vehicle, job: ota_pb2.Campaign) -> None:
    job_id = job.jobs[0].job_id
    for state in HAPPY_PATH[:4]:
        vehicle.update(shared_cloud, job_id, state)
    cancel(shared_cloud, job)

    answer = vehicle.update(shared_cloud, job_id, "ACTIVATING")

    assert not answer.cancel_requested
    with pytest.raises(grpc.RpcError) as caught:
        cancel(shared_cloud, job)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "ACTIVATING" in words_of(caught.value)
