"""A cloud whose S3 store hangs or is gone: other calls go on, and what could not be stored is stored later."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc
import pytest

from tests.cloud.bench import CALL_S, ENGINE, Cloud, ImageMaker, Vehicle, campaign_request
from tests.cloud.swift import SwiftServer

pytestmark = pytest.mark.s3
PROMPT_S = 5.0
"""More than enough for a call on a busy machine, and far less than the store hangs."""


@pytest.fixture
def cloud(make_cloud: Callable[..., Cloud], s3: SwiftServer, request: pytest.FixtureRequest) -> Cloud:
    cloud = make_cloud(plane="control")
    cloud.config |= {"artifact_store": f"s3://outages/{request.node.name}"}
    cloud.start()
    return cloud


def test_while_the_store_hangs_check_ins_are_answered_and_the_campaign_is_made_afterwards(
    cloud: Cloud, s3: SwiftServer, images: ImageMaker, vehicle: Vehicle, other_vehicle: Vehicle
) -> None:
    for each in (vehicle, other_vehicle):
        each.register(cloud)
        each.check_in(cloud)
    request = campaign_request(vehicle, (ENGINE, images()))
    cloud.publish(request)
    s3.pause()
    try:
        creating = cloud.operator.CreateCampaign.future(request, timeout=CALL_S)
        for _ in range(5):
            began = time.monotonic()
            other_vehicle.check_in(cloud)
            assert time.monotonic() - began < PROMPT_S
        assert not creating.done(), "the store hangs"
    finally:
        s3.resume()
    assert [job.vin for job in creating.result().jobs] == [vehicle.vin]


@pytest.mark.exhaustive  # the S3 client repeats its calls for ten seconds
def test_while_the_store_is_gone_a_campaign_is_refused_as_unavailable_and_the_repeated_call_makes_it(
    cloud: Cloud, s3: SwiftServer, images: ImageMaker, vehicle: Vehicle
) -> None:
    vehicle.register(cloud)
    vehicle.check_in(cloud)
    request = campaign_request(vehicle, (ENGINE, images()))
    request.request_id = "once"
    cloud.publish(request)
    s3.stop()
    try:
        with pytest.raises(grpc.RpcError) as refused:
            cloud.operator.CreateCampaign(request, timeout=CALL_S)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "artifact store" in str(refused.value.details())
    finally:
        s3.start()
    assert cloud.operator.CreateCampaign(request, timeout=CALL_S).campaign_id
    answer = vehicle.check_in(cloud)
    assert answer.job_id
