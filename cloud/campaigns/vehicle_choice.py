"""Choose the vehicles of a new campaign: judge those of the request, and refuse or exclude those that a rule refuses.

    chosen = choose(request.vins, snapshots.load_vehicles(session, request.vins), offers, exclude=True)
    chosen.vehicles, chosen.excluded

Pure: what is known about the vehicles is an argument. The request decides what becomes of a campaign with vehicles that
cannot be in it. By default it is refused, and the error names them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from otabench.cloud.campaigns.vehicle_rules import Offer, Rule, VehicleFacts, judge_campaign
from otabench.cloud.errors import InvalidRequest, NotAllowed, RequestError, UnknownThing
from otabench.proto import ota_pb2

_MAX_NAMED: Final = 5
"""Refused vehicles that an error describes. It has to fit a header."""
_EXCLUDE: Final[Mapping[int, bool]] = {
    ota_pb2.REFUSED_VEHICLES_UNSPECIFIED: False,
    ota_pb2.REFUSED_VEHICLES_REFUSE: False,
    ota_pb2.REFUSED_VEHICLES_EXCLUDE: True,
}


@dataclass(frozen=True)
class Excluded:
    """A vehicle that cannot be in the campaign, and why."""

    vin: str
    reason: str


@dataclass(frozen=True)
class Chosen:
    """The vehicles of a campaign, in the order of the request, and those that it leaves out."""

    vehicles: Sequence[VehicleFacts]
    excluded: Sequence[Excluded] = ()


def wants_exclusion(request: ota_pb2.CreateCampaignRequest) -> bool:
    """Return whether refused vehicles are left out. Otherwise they refuse the whole campaign.

    Raises:
        InvalidRequest: the field has a value that this cloud does not have.
    """
    if request.refused_vehicles not in _EXCLUDE:
        raise InvalidRequest(f"refused_vehicles {request.refused_vehicles}: this cloud does not have this value")
    return _EXCLUDE[request.refused_vehicles]


def choose(
    vins: Sequence[str],
    known: Mapping[str, VehicleFacts],
    offers: Sequence[Offer],
    *,
    exclude: bool,
    judged: Mapping[str, VehicleFacts] = MappingProxyType({}),
) -> Chosen:
    """Judge the vehicles.

    Args:
        vins: the vehicles of the request.
        known: the registered ones of them.
        offers: the campaign's images.
        exclude: leave refused vehicles out.
        judged: vehicles that have passed before. They are judged again only if something about them has changed.

    Raises:
        UnknownThing: a vehicle is not registered, or not one of them is.
        NotAllowed: a rule refuses a vehicle, or all of them.
    """
    chosen, refused = judge_all(vins, known, offers, judged=judged)
    if refused and (not exclude or not chosen.vehicles):
        raise _refusal(refused)
    return chosen


def judge_all(
    vins: Sequence[str],
    known: Mapping[str, VehicleFacts],
    offers: Sequence[Offer],
    *,
    judged: Mapping[str, VehicleFacts] = MappingProxyType({}),
) -> tuple[Chosen, list[RequestError]]:
    """Return the vehicles that pass and those that do not, and an error for each of the latter. The arguments are those of ``choose``."""
    passed: set[tuple[object, ...]] = set()
    vehicles: list[VehicleFacts] = []
    refused: list[RequestError] = []
    excluded = []
    for vin in vins:
        vehicle = known.get(vin)
        if vehicle is None:
            refused.append(UnknownThing(f"vehicle {vin!r} is not registered: register it first"))
            excluded.append(Excluded(vin, f"{Rule.UNKNOWN_VEHICLE}: {refused[-1]}"))
            continue
        # The same facts give the same judgement, of this vehicle and of others. A fleet has few kinds of vehicles.
        kind = _kind_of(vehicle)
        is_known = kind in passed or judged.get(vin) == vehicle
        refusal = None if is_known else judge_campaign(vehicle, offers)
        if refusal is None:
            passed.add(kind)
            vehicles.append(vehicle)
        else:
            refused.append(NotAllowed(str(refusal)))
            excluded.append(Excluded(vin, str(refusal)))
    return Chosen(vehicles, excluded), refused


def _kind_of(vehicle: VehicleFacts) -> tuple[object, ...]:
    """Return all facts that rules judge: all but names and serial numbers, which only their texts contain."""
    return (
        vehicle.busy_state,
        *(
            (
                ecu.hardware_id,
                ecu.software_version,
                ecu.security_counter,
                bool(ecu.public_key),
                ecu.image_number,
                ecu.takes_programs,
                ecu.takes_patches,
                ecu.versions,
            )
            for ecu in vehicle.ecus
        ),
    )


def _refusal(refused: Sequence[RequestError]) -> RequestError:
    """Return one error for all refused vehicles, of the first one's kind."""
    if len(refused) == 1:
        return refused[0]
    named = "; ".join(str(each) for each in refused[:_MAX_NAMED])
    more = f"; and {len(refused) - _MAX_NAMED} more" if len(refused) > _MAX_NAMED else ""
    return type(refused[0])(f"{len(refused)} vehicles are refused: {named}{more}")
