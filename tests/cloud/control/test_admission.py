"""A vehicle can neither stop nor blind the cloud: sizes, fields, rates, and bytes that are not a message."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest

from otabench.proto import ota_pb2
from otabench.proto.message_limits import RETRY_PUSHBACK_KEY
from tests.cloud.bench import CALL_S, ENGINE, Cloud, ImageMaker, Vehicle, campaign_request, words_of


def _status(reason: str, vin: str, job_id: str, **fields: Any) -> ota_pb2.UpdateStatusRequest:
    return ota_pb2.UpdateStatusRequest(
        vin=vin, job_id=job_id, state="JOB_STATE_CONFIRMING", transition_seq=1, reason=reason, **fields
    )


def _refusal(call: Any, request: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=CALL_S)
    return caught.value


def test_large_reasons_neither_slow_another_vehicle_nor_blind_the_operator(
    shared_cloud: Cloud, vehicle: Vehicle, other_vehicle: Vehicle, images: ImageMaker
) -> None:
    vehicle.register(shared_cloud)
    other_vehicle.register(shared_cloud)
    campaign = shared_cloud.create_campaign(campaign_request(vehicle, (ENGINE, images())))
    job_id = campaign.jobs[0].job_id
    vehicle.check_in(shared_cloud)

    update = vehicle.control(shared_cloud).UpdateStatus
    for small in (_status("x" * 100_000, vehicle.vin, job_id), _status("", vehicle.vin, "y" * 300)):
        error = _refusal(update, small)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "bytes, at most" in words_of(error)
    attacks = [update.future(_status("\x1b" * (4 << 20), vehicle.vin, job_id), timeout=CALL_S) for _ in range(3)]
    started_s = time.monotonic()
    other_vehicle.check_in(shared_cloud)
    waited_s = time.monotonic() - started_s

    codes = {attack.code() for attack in attacks}
    # One such message empties the vehicle's bucket.
    assert codes == {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert waited_s < 5.0  # 28 s for everybody, when such messages were decoded and stored
    assert shared_cloud.operator.GetCampaign(
        ota_pb2.GetCampaignRequest(campaign_id=campaign.campaign_id), timeout=CALL_S
    )
    assert shared_cloud.operator.ListCampaigns(ota_pb2.ListCampaignsRequest(), timeout=CALL_S).ByteSize() < 4 << 20


def test_no_more_ecus_than_registered(shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker) -> None:
    vehicle.register(shared_cloud)
    campaign = shared_cloud.create_campaign(campaign_request(vehicle, (ENGINE, images())))
    job_id = campaign.jobs[0].job_id
    vehicle.check_in(shared_cloud)
    update = vehicle.control(shared_cloud).UpdateStatus

    lists: list[tuple[dict[str, Any], str]] = [
        ({"ecus": [{}] * 3}, "ecus: 3"),
        ({"progress": [{}] * 3}, "progress: 3"),
    ]
    for fields, named in lists:
        error = _refusal(update, _status("", vehicle.vin, job_id, **fields))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert named in words_of(error)


def test_bytes_that_are_not_a_message_and_refusals_leave_one_line(shared_cloud: Cloud, vehicle: Vehicle) -> None:
    channel = shared_cloud.peer(f"vehicle-{vehicle.vin}").channel
    call = channel.unary_unary("/ota.v1.ControlPlane/CheckIn", lambda raw: raw, lambda raw: raw)
    before = shared_cloud.log()

    error = _refusal(call, b"\xff\xff not a message")
    vehicle.vin, own = "no\x1b]0;one\n", vehicle.control(shared_cloud)
    refused = _refusal(own.CheckIn, ota_pb2.CheckInRequest(vin=vehicle.vin))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "cannot be decoded" in words_of(error)
    assert refused.code() is grpc.StatusCode.PERMISSION_DENIED
    lines = shared_cloud.log().removeprefix(before).splitlines()
    assert ["INVALID_ARGUMENT" in line for line in lines if "refused: /ota.v1.ControlPlane/CheckIn" in line] == [
        True,
        False,
    ]
    assert not any("Traceback" in line or "\x1b" in line for line in lines)


def test_a_vehicle_that_calls_too_often_learns_when_to_call_again(shared_cloud: Cloud, vehicle: Vehicle) -> None:
    # Large messages cost more, so a few are enough.
    request = ota_pb2.GetManifestRequest(vin=vehicle.vin, job_id="x" * 240_000)
    call = vehicle.control(shared_cloud).GetManifest

    errors = [_refusal(call, request) for _ in range(20)]

    last = errors[-1]
    assert last.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert isinstance(last, grpc.Call)
    pause = dict(last.trailing_metadata() or ())[RETRY_PUSHBACK_KEY]
    assert 0 < int(pause) < 1000
    shared_cloud.operator.ListCampaigns(ota_pb2.ListCampaignsRequest(), timeout=CALL_S)
