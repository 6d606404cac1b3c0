"""The vehicles of the fleet as operators see them: attributes, lists by filter, and the vehicles that a campaign's filter finds.

Functions with a session work inside the caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import jobs
from otabench.cloud.errors import InvalidRequest, UnknownThing
from otabench.cloud.store.database import Database
from otabench.cloud.store.schema import EcuRow, VehicleRow
from otabench.cloud.vehicle_filter import ATTRIBUTE_NAME, RESERVED, Filter, FilteredVehicle, FilterError, parse
from otabench.proto import ota_pb2

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1000
MAX_ATTRIBUTES: Final = 64
MAX_VALUE_CHARACTERS: Final = 256
_READ_TOGETHER: Final = 500
"""Vehicles that are read from the database at a time, so that check-ins are answered in between."""


def read_filter(text: str) -> Filter | None:
    """Return the filter of a request. None: it has none.

    Raises:
        InvalidRequest: the text is not a filter.
    """
    if not text:
        return None
    try:
        return parse(text)
    except FilterError as error:
        raise InvalidRequest(f"where: {error}") from error


def set_attributes(session: Session, request: ota_pb2.SetVehicleAttributesRequest) -> ota_pb2.Vehicle:
    """Set and remove attributes of a vehicle. Return the vehicle.

    Raises:
        InvalidRequest: a name or value is wrong, or there are too many.
        UnknownThing: the vehicle is not registered.
    """
    for name, value in request.attributes.items():
        if not ATTRIBUTE_NAME.fullmatch(name) or name in RESERVED:
            raise InvalidRequest(
                f"attributes: {name[:70]!r} cannot be a name: letters, digits, _ and -, 64 at most, "
                f"and none of {', '.join(sorted(RESERVED))}"
            )
        if len(value) > MAX_VALUE_CHARACTERS or not value.isprintable():
            raise InvalidRequest(f"attributes: {name}: {MAX_VALUE_CHARACTERS} printable characters at most")
    jobs.lock_vehicles(session, [request.vin])
    row = session.get(VehicleRow, request.vin)
    if row is None:
        raise UnknownThing(f"vehicle {request.vin!r} is not registered: register it first")
    attributes: dict[str, str] = {**json.loads(row.attributes), **request.attributes}
    for name in request.remove:
        attributes.pop(name, None)
    if len(attributes) > MAX_ATTRIBUTES:
        raise InvalidRequest(f"attributes: {len(attributes)} are more than {MAX_ATTRIBUTES}: remove some")
    row.attributes = json.dumps(dict(sorted(attributes.items())))
    return vehicle_message(_load(session, [row.vin], {row.vin: row.attributes})[0])


async def list_vehicles(database: Database, request: ota_pb2.ListVehiclesRequest) -> ota_pb2.ListVehiclesResponse:
    """Return one page of the vehicles that match a filter, in the order of their VINs.

    Raises:
        InvalidRequest: filter or size is wrong.
        NotReady: the database does not answer.
    """
    wanted = read_filter(request.where)
    size = request.page_size or DEFAULT_PAGE
    if size > MAX_PAGE:
        raise InvalidRequest(f"page_size {size}: {MAX_PAGE} at most")
    answer = ota_pb2.ListVehiclesResponse()
    async for vehicle in _read_all(database, after=request.page_token):
        if wanted is not None and wanted.explain(vehicle):
            continue
        if len(answer.vehicles) == size:
            answer.next_page_token = answer.vehicles[-1].vin
            break
        answer.vehicles.append(vehicle_message(vehicle))
    return answer


async def find_targets(
    database: Database, request: ota_pb2.CreateCampaignRequest
) -> Sequence[ota_pb2.Campaign.Excluded]:
    """Set ``vins`` of a request with a filter to the vehicles that match. Return the others with the reason, if it is a dry run.

    Raises:
        InvalidRequest: the filter is wrong, names no vehicle, or VINs are given as well.
        NotReady: the database does not answer.
    """
    wanted = read_filter(request.where)
    if wanted is None:
        return []
    if request.vins:
        raise InvalidRequest("vins: give vehicles or where, and not both; where may contain vin in (…)")
    others = []
    async for vehicle in _read_all(database):
        reason = wanted.explain(vehicle)
        if not reason:
            request.vins.append(vehicle.vin)
        elif request.dry_run:
            others.append(ota_pb2.Campaign.Excluded(vin=vehicle.vin, reason=f"filter: {reason}"))
    if not request.vins and not request.dry_run:
        raise InvalidRequest("where: not one registered vehicle matches: a dry run names the reason for each")
    return others


async def _read_all(database: Database, *, after: str = "") -> AsyncIterator[FilteredVehicle]:
    """Yield all vehicles in the order of their VINs, from behind ``after`` on. They are read part by part."""
    while True:
        part = await database.read(partial(_read_part, after=after))
        for vehicle in part:
            yield vehicle
        if len(part) < _READ_TOGETHER:
            return
        after = part[-1].vin


def _read_part(session: Session, *, after: str) -> list[FilteredVehicle]:
    """Return some vehicles in the order of their VINs, from behind ``after`` on."""
    rows = select(VehicleRow.vin, VehicleRow.attributes).where(VehicleRow.vin > after)
    attributes = {
        row.vin: row.attributes for row in session.execute(rows.order_by(VehicleRow.vin).limit(_READ_TOGETHER))
    }
    return _load(session, list(attributes), attributes)


def vehicle_message(vehicle: FilteredVehicle) -> ota_pb2.Vehicle:
    """Return the message that shows a vehicle to the operator."""
    return ota_pb2.Vehicle(
        vin=vehicle.vin,
        attributes=dict(vehicle.attributes),
        ecus=[
            ota_pb2.Vehicle.Ecu(ecu=ecu, hardware_id=hardware_id, software_version=version)
            for ecu, (hardware_id, version) in vehicle.ecus.items()
        ],
    )


def _load(session: Session, vins: Sequence[str], attributes: Mapping[str, str]) -> list[FilteredVehicle]:
    ecus: dict[str, dict[str, tuple[str, str]]] = {vin: {} for vin in vins}
    columns = (EcuRow.vin, EcuRow.ecu, EcuRow.hardware_id, EcuRow.software_version)
    for vin, ecu, hardware_id, version in session.execute(
        select(*columns).where(EcuRow.vin.in_(vins)).order_by(EcuRow.vin, EcuRow.position)
    ):
        ecus[vin][ecu] = (hardware_id, version)
    return [FilteredVehicle(vin, json.loads(attributes[vin]), ecus[vin]) for vin in vins]
