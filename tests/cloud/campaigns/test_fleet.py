"""Vehicles by filter: attributes, lists in pages, and campaigns for those that match, tried out first."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from otabench.cloud.campaigns import fleet
from otabench.cloud.campaigns.campaign_requests import digest
from otabench.cloud.errors import InvalidRequest, UnknownThing
from otabench.proto import ota_pb2
from tests.cloud.bench import CALL_S, ENGINE, Cloud, ImageMaker, Vehicle, campaign_request, words_of
from tests.cloud.campaigns.test_outbox import add_waiting_vehicles, opened


def test_attributes_are_set_and_removed_and_pages_follow_the_filter(each_database_url: str) -> None:
    with opened(each_database_url) as database:
        # More than are read from the database at a time.
        add_waiting_vehicles(database, 620)

        def change(vin: str, *, remove: tuple[str, ...] = (), **attributes: str) -> ota_pb2.Vehicle:
            request = ota_pb2.SetVehicleAttributesRequest(vin=vin, attributes=attributes, remove=remove)
            return database.run_now(lambda session: fleet.set_attributes(session, request))

        for number in (3, 5, 610, 619):
            change(f"VIN{number:05d}", region="eu", year="2024")
        assert dict(change("VIN00005", remove=("region", "absent"), year="2025").attributes) == {"year": "2025"}
        found, token = [], ""
        while True:
            request = ota_pb2.ListVehiclesRequest(where="region=eu", page_size=2, page_token=token)
            page = asyncio.run(fleet.list_vehicles(database, request))
            found.append([vehicle.vin for vehicle in page.vehicles])
            token = page.next_page_token
            if not token:
                break
        assert found == [["VIN00003", "VIN00610"], ["VIN00619"]]
        target = ota_pb2.CreateCampaignRequest(where="year>=2024", request_id="r")
        before = digest(target)
        asyncio.run(fleet.find_targets(database, target))
        assert target.vins == ["VIN00003", "VIN00005", "VIN00610", "VIN00619"]
        assert digest(target) == before, "a repeated call is the same call, whoever matches then"


@pytest.mark.parametrize(
    ("request_fields", "error", "words"),
    [
        ({"vin": "VIN9", "attributes": {"a": "1"}}, UnknownThing, "'VIN9' is not registered"),
        ({"vin": "VIN00000", "attributes": {"vin": "1"}}, InvalidRequest, "'vin' cannot be a name"),
        ({"vin": "VIN00000", "attributes": {"a.b": "1"}}, InvalidRequest, "'a.b' cannot be a name"),
        ({"vin": "VIN00000", "attributes": {"a": "1" * 257}}, InvalidRequest, "256 printable characters"),
        ({"vin": "VIN00000", "attributes": {"a": "\x1b[2J"}}, InvalidRequest, "256 printable characters"),
        ({"vin": "VIN00000", "attributes": {f"a{n}": "" for n in range(65)}}, InvalidRequest, "65 are more than 64"),
    ],
)
def test_attributes_that_cannot_be(
    database_url: str, request_fields: dict[str, Any], error: type[Exception], words: str
) -> None:
    with opened(database_url) as database:
        add_waiting_vehicles(database, 1)
        request = ota_pb2.SetVehicleAttributesRequest(**request_fields)
        with pytest.raises(error) as refused:
            database.run_now(lambda session: fleet.set_attributes(session, request))
        assert words in str(refused.value)


def test_a_dry_run_names_who_would_be_hit_and_why_not_the_others(
    shared_cloud: Cloud, vehicle: Vehicle, other_vehicle: Vehicle, images: ImageMaker
) -> None:
    operator = shared_cloud.operator
    fleet_name = vehicle.vin[-6:]
    for each in (vehicle, other_vehicle):
        each.register(shared_cloud)
        attributes = {"fleet": fleet_name, "region": "eu" if each is vehicle else "us"}
        operator.SetVehicleAttributes(
            ota_pb2.SetVehicleAttributesRequest(vin=each.vin, attributes=attributes), timeout=CALL_S
        )
    request = campaign_request(vehicle, (ENGINE, images()), where=f"fleet={fleet_name} and region=eu", dry_run=True)
    with pytest.raises(grpc.RpcError) as refused:
        operator.CreateCampaign(request, timeout=CALL_S)
    assert "vins: give vehicles or where" in words_of(refused.value)
    del request.vins[:]
    foreseen = operator.CreateCampaign(request, timeout=CALL_S)
    assert (foreseen.campaign_id, [job.vin for job in foreseen.jobs]) == ("", [vehicle.vin])
    reasons = {each.vin: each.reason for each in foreseen.excluded}
    assert reasons[other_vehicle.vin] == "filter: region is us, and not =eu"
    assert list(vehicle_jobs(shared_cloud, vehicle)) == [], "nothing was created"
    # when
    request.dry_run = False
    campaign = shared_cloud.create_campaign(request)
    assert [job.vin for job in campaign.jobs] == [vehicle.vin]
    # then: it is busy, and a dry run says so
    request.dry_run = True
    foreseen = operator.CreateCampaign(request, timeout=CALL_S)
    assert list(foreseen.jobs) == []
    assert campaign.jobs[0].job_id in {each.vin: each.reason for each in foreseen.excluded}[vehicle.vin]
    # and: a filter that finds nobody, or is none
    request.dry_run = False
    for where, words in (("region=mars", "not one registered vehicle matches"), ("region", "where: character 7")):
        request.where = where
        with pytest.raises(grpc.RpcError) as refused:
            operator.CreateCampaign(request, timeout=CALL_S)
        assert words in words_of(refused.value)


def vehicle_jobs(cloud: Cloud, vehicle: Vehicle) -> Any:
    return cloud.operator.ListJobs(ota_pb2.ListJobsRequest(vin_prefix=vehicle.vin), timeout=CALL_S).jobs
