"""A campaign with vehicles that cannot be in it: refused with all their names, or made of the others, as the request says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from otabench.cloud.campaigns.vehicle_choice import Excluded, choose, wants_exclusion
from otabench.cloud.campaigns.vehicle_rules import EcuFacts, Offer, VehicleFacts
from otabench.cloud.errors import InvalidRequest, NotAllowed, UnknownThing
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState
from tests.cloud.bench import ENGINE, ImageMaker, Vehicle, campaign_request
from tests.cloud.campaigns.test_replicas import register, two_replicas

OFFERS = [Offer(hardware_id=ENGINE, version="2.0.0", security_counter=2)]


def vehicles(number: int, *, busy: set[int] = frozenset()) -> Mapping[str, VehicleFacts]:  # type: ignore[assignment]
    ecu = EcuFacts(ecu="engine", serial="1", hardware_id=ENGINE, image_number=1)
    return {
        f"VIN{place}": VehicleFacts(
            f"VIN{place}",
            (ecu,),
            busy_job_id="job-1" if place in busy else "",
            busy_state=JobState.CREATED if place in busy else None,
        )
        for place in range(number)
    }


def test_a_thousand_vehicles_are_not_refused_for_one() -> None:
    known = vehicles(1001, busy={500})

    chosen = choose([*known, "VIN-unknown"], known, OFFERS, exclude=True)

    assert [vehicle.vin for vehicle in chosen.vehicles] == [vin for vin in known if vin != "VIN500"]
    assert [each.vin for each in chosen.excluded] == ["VIN500", "VIN-unknown"]
    assert [each.reason.partition(":")[0] for each in chosen.excluded] == ["VEHICLE_BUSY", "UNKNOWN_VEHICLE"]


def test_without_exclusion_the_error_names_the_refused_vehicles() -> None:
    known = vehicles(100, busy=set(range(20, 40)))

    with pytest.raises(NotAllowed, match=r"20 vehicles are refused: .*VIN20 .*VIN24 .*; and 15 more"):
        choose(list(known), known, OFFERS, exclude=False)
    with pytest.raises(UnknownThing, match=r"^vehicle 'VINx' is not registered"):
        choose(["VIN1", "VINx"], known, OFFERS, exclude=False)


def test_a_campaign_without_any_vehicle_is_refused() -> None:
    known = vehicles(3, busy={0, 1, 2})

    with pytest.raises(NotAllowed, match="3 vehicles are refused"):
        choose(list(known), known, OFFERS, exclude=True)


def test_a_vehicle_that_has_changed_is_judged_again() -> None:
    before, now = vehicles(2), vehicles(2, busy={1})

    chosen = choose(list(now), now, OFFERS, exclude=True, judged=before)

    assert [vehicle.vin for vehicle in chosen.vehicles] == ["VIN0"]


def test_an_unknown_wish_is_refused() -> None:
    assert wants_exclusion(ota_pb2.CreateCampaignRequest(refused_vehicles="REFUSED_VEHICLES_EXCLUDE"))
    assert not wants_exclusion(ota_pb2.CreateCampaignRequest())
    with pytest.raises(InvalidRequest, match="refused_vehicles 99"):
        wants_exclusion(ota_pb2.CreateCampaignRequest(refused_vehicles=99))  # type: ignore[arg-type]


def test_a_campaign_remembers_whom_it_left_out(
    database_url: str, keys_dir: Path, tmp_path: Path, images: ImageMaker
) -> None:
    good = Vehicle("VIN1")
    request = campaign_request(good, (ENGINE, images()), request_id="r-1", refused_vehicles="REFUSED_VEHICLES_EXCLUDE")
    request.vins.insert(0, "VIN-unknown")
    with two_replicas(database_url, keys_dir, tmp_path) as (one, two):
        register(one.database, [good])

        first = asyncio.run(one.orchestrator.create_campaign(request))
        again = asyncio.run(two.orchestrator.create_campaign(request))

    reason = "UNKNOWN_VEHICLE: vehicle 'VIN-unknown' is not registered: register it first"
    for campaign in (first, again):
        assert [job.vin for job in campaign.jobs] == ["VIN1"]
        assert [Excluded(each.vin, each.reason) for each in campaign.excluded] == [Excluded("VIN-unknown", reason)]
    assert first == again
