"""After kill -9 and a new start, jobs, campaigns and the vehicles' progress continue where they were."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from otabench.proto import ota_pb2
from tests.cloud.bench import CALL_S, ENGINE, Cloud, ImageMaker, Vehicle, campaign_request, state_name
from tests.cloud.campaigns.test_campaigns import AVAILABLE, HAPPY_PATH, create, get, manifest


def test_a_killed_control_plane_goes_on_with_its_jobs(
    make_cloud: Callable[..., Cloud], vehicle: Vehicle, images: ImageMaker, tmp_path: Path
) -> None:
    # given: a job that the cloud has seen in DOWNLOADING, and a watcher
    cloud = make_cloud()
    cloud.start()
    vehicle.register(cloud)
    vehicle.check_in(cloud)
    campaign = create(cloud, campaign_request(vehicle, (ENGINE, images())))
    job_id = campaign.jobs[0].job_id
    for state in HAPPY_PATH[:3]:
        vehicle.update(cloud, job_id, state)
    _, before = manifest(cloud, vehicle, job_id, tmp_path / "before")

    watch = ota_pb2.GetCampaignRequest(campaign_id=campaign.campaign_id)
    broken = threading.Event()
    stream = cloud.operator.WatchCampaign(watch, timeout=CALL_S)
    watcher = threading.Thread(target=_watch_until_broken, args=(stream, broken))
    watcher.start()

    # when: it is killed and started again
    assert cloud.process is not None
    cloud.process.kill()
    watcher.join(timeout=CALL_S)
    cloud.kill()
    cloud.start()

    # then: the watcher's stream has broken, and it can watch again
    assert broken.is_set()
    again = cloud.operator.WatchCampaign(watch, timeout=CALL_S)
    assert state_name(next(again).jobs[0].state) == "DOWNLOADING"

    # then: everything that was answered still holds, a repeat is not applied again, and the job continues to its end
    assert state_name(get(cloud, campaign.campaign_id).jobs[0].state) == "DOWNLOADING"
    _, after = manifest(cloud, vehicle, job_id, tmp_path / "after")
    assert after == before
    assert state_name(vehicle.update(cloud, job_id, "DOWNLOADING", seq=3).state) == "DOWNLOADING"
    assert state_name(vehicle.update(cloud, job_id, "CONFIRMING", seq=1).state) == "DOWNLOADING"
    for state in HAPPY_PATH[3:]:
        vehicle.update(cloud, job_id, state)
    assert state_name(get(cloud, campaign.campaign_id).jobs[0].state) == "SUCCEEDED"

    # then: the next campaign's manifest is newer than the last one before
    vehicle.versions["engine"] = "2.0.0"
    vehicle.check_in(cloud)
    vehicle.seq = 0
    newer = create(cloud, campaign_request(vehicle, (ENGINE, images(ENGINE, "3.0.0"))))
    assert vehicle.check_in(cloud).decision == AVAILABLE
    updater, _ = manifest(cloud, vehicle, newer.jobs[0].job_id, tmp_path / "before")
    assert updater._trusted_set.targets.version == 2


def test_killed_while_images_are_stored_there_is_a_whole_campaign_or_none(
    make_cloud: Callable[..., Cloud], vehicle: Vehicle, images: ImageMaker
) -> None:
    cloud = make_cloud()
    cloud.start()
    vehicle.register(cloud)
    vehicle.check_in(cloud)
    request = campaign_request(vehicle, (ENGINE, images()))
    request.images[0].base_image = images(ENGINE, "1.0.0", counter=1)
    cloud.publish(request)
    call = cloud.operator.CreateCampaign.future(request, timeout=CALL_S)
    while not call.done() and not list((cloud.folder / "artifacts").rglob("*.bin")):
        time.sleep(0.001)

    cloud.kill()
    cloud.start()

    listed = cloud.operator.ListCampaigns(ota_pb2.ListCampaignsRequest(), timeout=CALL_S).campaigns
    if not listed:
        with pytest.raises((grpc.RpcError, grpc.FutureCancelledError)):
            call.result(timeout=CALL_S)
        listed = [create(cloud, request)]
    (campaign,) = listed
    answer = vehicle.check_in(cloud)
    assert (answer.decision, answer.job_id) == (AVAILABLE, campaign.jobs[0].job_id)
    for state in HAPPY_PATH:
        vehicle.update(cloud, answer.job_id, state)


def _watch_until_broken(stream: Iterator[object], broken: threading.Event) -> None:
    try:
        list(stream)
    except grpc.RpcError:
        broken.set()
