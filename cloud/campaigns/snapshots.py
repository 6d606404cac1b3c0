"""What the database holds about vehicles, read with one statement for many of them.

    snapshots = load(connection, ["VIN1", "VIN2"])

The hot path reads columns instead of rows of classes: an object of the ORM costs several times as
much as its statement. Nothing here writes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    CursorResult,
    Row,
    Select,
    and_,
    func,
    select,
    text,
)
from sqlalchemy.orm import Session

from otabench.cloud.campaigns.vehicle_rules import EcuFacts, VehicleFacts
from otabench.cloud.store.in_list import in_list
from otabench.cloud.store.schema import IS_OPEN, Base, CampaignRow, EcuRow, JobRow, ManifestRow, VehicleRow
from otabench.proto.job_states import JobState
from otabench.proto.version_order import VersionOrder, VersionRule


@dataclass(frozen=True)
class OpenJob:
    """The columns of a vehicle's open job that check-ins need."""

    vin: str
    job_id: str
    campaign_id: str
    state: str
    reason: str
    offered: bool
    cancel_asked: bool
    cancel_reason: str
    held: bool


@dataclass(frozen=True)
class Manifest:
    """A job's newest manifest, without its files."""

    vin: str
    version: int
    made_for: str
    expires_at: float
    is_replaced: bool
    """Whether the cloud makes another one when this one has expired."""


@dataclass(frozen=True)
class Snapshot:
    """A registered vehicle.

    Attributes:
        vehicle: its facts.
        reports: the stored report of each ECU, by its name; empty if it never reported.
        job: its open job.
        manifest: that job's newest manifest, if the job is CREATED.
    """

    vehicle: VehicleFacts
    reports: Mapping[str, bytes]
    job: OpenJob | None
    manifest: Manifest | None


_CHUNK: Final = 500
"""Vehicles of one statement."""
# Of the tables instead of the classes: the ORM would take as long to prepare a statement as the database to answer it.
_vehicles, _ecus, _jobs, _manifests, _campaigns = (
    Base.metadata.tables[each.__tablename__] for each in (VehicleRow, EcuRow, JobRow, ManifestRow, CampaignRow)
)
_FACTS: Final = (
    _vehicles.c.vin,
    _jobs.c.job_id,
    _jobs.c.campaign_id,
    _jobs.c.state,
    _jobs.c.reason,
    _jobs.c.offered,
    _jobs.c.cancel_asked,
    _jobs.c.cancel_reason,
    _jobs.c.held,
    _ecus.c.version_order,
    _ecus.c.known_versions,
    # In the order of the fields of EcuFacts.
    _ecus.c.ecu,
    _ecus.c.serial,
    _ecus.c.hardware_id,
    _ecus.c.software_version,
    _ecus.c.security_counter,
    _ecus.c.public_key,
    _ecus.c.image_number,
    _ecus.c.takes_programs,
    _ecus.c.takes_patches,
    # Looked up by name.
    _ecus.c.report_key,
    _vehicles.c.gateway_key,
    _vehicles.c.report_nonce,
    _vehicles.c.nonce_expires_at,
)
_JOB, _ECU = slice(1, 9), slice(9, 20)


def _select(*columns: ColumnElement[Any]) -> Select[Any]:
    """Return the statement with one row for each ECU, and one for a vehicle without any."""
    return (
        select(*columns)
        .select_from(_vehicles)
        .outerjoin(_ecus, _ecus.c.vin == _vehicles.c.vin)
        .outerjoin(_jobs, and_(_jobs.c.vin == _vehicles.c.vin, text(IS_OPEN)))
        .where(in_list(_vehicles.c.vin, "vins"))
        .order_by(_vehicles.c.vin, _ecus.c.position)
    )


_VEHICLES: Final = _select(*_FACTS)
_WITH_REPORTS: Final = _select(*_FACTS, _ecus.c.report)
_newest = (
    select(_manifests.c.job_id, func.max(_manifests.c.version).label("version"))
    .where(in_list(_manifests.c.job_id, "job_ids"))
    .group_by(_manifests.c.job_id)
    .subquery()
)
_MANIFESTS: Final = (
    select(
        _manifests.c.job_id,
        _manifests.c.vin,
        _manifests.c.version,
        _manifests.c.made_for,
        _manifests.c.expires_at,
        _campaigns.c.manifest_lifetime_s,
    )
    .join(_newest, and_(_manifests.c.job_id == _newest.c.job_id, _manifests.c.version == _newest.c.version))
    .join(_jobs, _jobs.c.job_id == _manifests.c.job_id)
    .join(_campaigns, _campaigns.c.campaign_id == _jobs.c.campaign_id)
)


def load(connection: Connection, vins: Sequence[str]) -> dict[str, Snapshot]:
    """Return the registered ones of these vehicles, a batch of them at most."""
    rows = _group(connection.execute(_WITH_REPORTS, {"vins": vins}))
    jobs = {vin: _job(of_vehicle[0]) for vin, of_vehicle in rows.items()}
    created = [job.job_id for job in jobs.values() if job is not None and job.state == JobState.CREATED]
    manifests = {}
    if created:
        for row in connection.execute(_MANIFESTS, {"job_ids": created}):
            manifests[row[0]] = Manifest(*row[1:5], is_replaced=row[5] == 0)
    snapshots = {}
    for vin, of_vehicle in rows.items():
        job = jobs[vin]
        snapshots[vin] = Snapshot(
            vehicle=_facts(vin, of_vehicle, job),
            reports={row.ecu: row.report for row in of_vehicle if row.ecu is not None},
            job=job,
            manifest=manifests.get(job.job_id) if job else None,
        )
    return snapshots


def load_vehicles(session: Session, vins: Sequence[str]) -> dict[str, VehicleFacts]:
    """Return the registered ones of any number of vehicles."""
    # What the session has changed counts, too.
    session.flush()
    connection = session.connection()
    vehicles = {}
    for start in range(0, len(vins), _CHUNK):
        rows = _group(connection.execute(_VEHICLES, {"vins": vins[start : start + _CHUNK]}))
        for vin, of_vehicle in rows.items():
            vehicles[vin] = _facts(vin, of_vehicle, _job(of_vehicle[0]))
    return vehicles


def _group(rows: CursorResult[Any]) -> dict[str, list[Row[Any]]]:
    grouped: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in rows.all():
        grouped[row[0]].append(row)
    return grouped


def _job(row: Row[Any]) -> OpenJob | None:
    return OpenJob(row[0], *row[_JOB]) if row.job_id is not None else None


def _facts(vin: str, rows: Sequence[Row[Any]], job: OpenJob | None) -> VehicleFacts:
    return VehicleFacts(
        vin=vin,
        ecus=tuple(_ecu(row) for row in rows if row.ecu is not None),
        busy_job_id=job.job_id if job else "",
        busy_state=JobState(job.state) if job else None,
        gateway_key=rows[0].gateway_key,
        report_nonce=rows[0].report_nonce,
        nonce_expires_at=rows[0].nonce_expires_at,
    )


def _ecu(row: Row[Any]) -> EcuFacts:
    order, known_versions, *facts = row[_ECU]
    return EcuFacts(*[*facts, _rule(order, known_versions), row.report_key])


@lru_cache(maxsize=1024)
def _rule(order: str, known_versions: str) -> VersionRule:
    return VersionRule(VersionOrder(order), tuple(json.loads(known_versions)))
