"""What the database holds about vehicles, read with one statement for many of them.

    snapshots = load(session, ["VIN1", "VIN2"])

The hot path reads columns instead of rows of classes: an object of the ORM costs several times as
much as its statement. Nothing here writes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sqlalchemy import BindParameter, and_, bindparam, func, select, text
from sqlalchemy.orm import Session

from otabench.cloud.campaigns.vehicle_rules import EcuFacts, VehicleFacts
from otabench.cloud.store.schema import IS_OPEN, CampaignRow, EcuRow, JobRow, ManifestRow, VehicleRow
from otabench.proto.job_states import JobState
from otabench.proto.version_order import VersionOrder, VersionRule


@dataclass(frozen=True)
class OpenJob:
    """The columns of a vehicle's open job that check-ins need."""

    job_id: str
    campaign_id: str
    vin: str
    state: str
    reason: str
    offered: bool
    cancel_asked: bool
    cancel_reason: str


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


_VINS: Final[BindParameter[str]] = bindparam("vins", expanding=True)
_CHUNK: Final = 500
"""Vehicles of one statement."""
_ECUS: Final = (
    select(
        VehicleRow.vin,
        EcuRow.ecu,
        EcuRow.serial,
        EcuRow.hardware_id,
        EcuRow.software_version,
        EcuRow.security_counter,
        EcuRow.public_key,
        EcuRow.image_number,
        EcuRow.takes_programs,
        EcuRow.takes_patches,
        EcuRow.version_order,
        EcuRow.known_versions,
    )
    .outerjoin(EcuRow, EcuRow.vin == VehicleRow.vin)
    .where(VehicleRow.vin.in_(_VINS))
    .order_by(VehicleRow.vin, EcuRow.position)
)
_REPORTS: Final = select(EcuRow.vin, EcuRow.ecu, EcuRow.report).where(EcuRow.vin.in_(_VINS))
_JOBS: Final = select(
    JobRow.job_id,
    JobRow.campaign_id,
    JobRow.vin,
    JobRow.state,
    JobRow.reason,
    JobRow.offered,
    JobRow.cancel_asked,
    JobRow.cancel_reason,
).where(JobRow.vin.in_(_VINS), text(IS_OPEN))
_newest = (
    select(ManifestRow.job_id, func.max(ManifestRow.version).label("version"))
    .where(ManifestRow.job_id.in_(bindparam("job_ids", expanding=True)))
    .group_by(ManifestRow.job_id)
    .subquery()
)
_MANIFESTS: Final = (
    select(
        ManifestRow.job_id,
        ManifestRow.vin,
        ManifestRow.version,
        ManifestRow.made_for,
        ManifestRow.expires_at,
        CampaignRow.manifest_lifetime_s,
    )
    .join(_newest, and_(ManifestRow.job_id == _newest.c.job_id, ManifestRow.version == _newest.c.version))
    .join(JobRow, JobRow.job_id == ManifestRow.job_id)
    .join(CampaignRow, CampaignRow.campaign_id == JobRow.campaign_id)
)


def load(session: Session, vins: Sequence[str]) -> dict[str, Snapshot]:
    """Return the registered ones of these vehicles, a batch of them at most."""
    jobs = _load_jobs(session, vins)
    created = [job.job_id for job in jobs.values() if job.state == JobState.CREATED]
    manifests = {}
    if created:
        for row in session.execute(_MANIFESTS, {"job_ids": created}):
            manifests[row[0]] = Manifest(*row[1:5], is_replaced=row[5] == 0)
    reports: dict[str, dict[str, bytes]] = defaultdict(dict)
    for vin, ecu, report in session.execute(_REPORTS, {"vins": vins}):
        reports[vin][ecu] = report
    snapshots = {}
    for vin, vehicle in _load_facts(session, vins, jobs).items():
        job = jobs.get(vin)
        snapshots[vin] = Snapshot(vehicle, reports[vin], job, manifests.get(job.job_id) if job else None)
    return snapshots


def load_vehicles(session: Session, vins: Sequence[str]) -> dict[str, VehicleFacts]:
    """Return the registered ones of any number of vehicles."""
    vehicles = {}
    for start in range(0, len(vins), _CHUNK):
        part = vins[start : start + _CHUNK]
        vehicles.update(_load_facts(session, part, _load_jobs(session, part)))
    return vehicles


def _load_jobs(session: Session, vins: Sequence[str]) -> dict[str, OpenJob]:
    return {row[2]: OpenJob(*row) for row in session.execute(_JOBS, {"vins": vins})}


def _load_facts(session: Session, vins: Sequence[str], jobs: Mapping[str, OpenJob]) -> dict[str, VehicleFacts]:
    ecus: dict[str, list[EcuFacts]] = defaultdict(list)
    for row in session.execute(_ECUS, {"vins": vins}):
        present = ecus[row[0]]
        # A vehicle without ECUs has one row of an outer join, without an ECU's name.
        if row[1] is not None:
            present.append(EcuFacts(*row[1:10], _rule(row[10], row[11])))
    vehicles = {}
    for vin, facts in ecus.items():
        job = jobs.get(vin)
        vehicles[vin] = VehicleFacts(
            vin, tuple(facts), busy_job_id=job.job_id if job else "", busy_state=JobState(job.state) if job else None
        )
    return vehicles


@lru_cache(maxsize=1024)
def _rule(order: str, known_versions: str) -> VersionRule:
    return VersionRule(VersionOrder(order), tuple(json.loads(known_versions)))
