"""Write a new campaign: its row, its images, and a job and a message for each vehicle, in one transaction.

The transaction keeps all others from writing (SQLite) or locks all vehicles (PostgreSQL). So what can be made before it is made before it,
and its statements are for many rows each.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import insert
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import campaign_requests, jobs, outbox, snapshots
from otabench.cloud.campaigns.approval import WAITS
from otabench.cloud.campaigns.ecu_images import CampaignImages
from otabench.cloud.campaigns.request import CheckedCampaign
from otabench.cloud.campaigns.rollouts import WAITS_FOR_WAVE
from otabench.cloud.campaigns.transfer_policy import TransferPolicy
from otabench.cloud.campaigns.vehicle_choice import Chosen, Excluded, choose
from otabench.cloud.campaigns.vehicle_rules import VehicleFacts
from otabench.cloud.errors import NotAllowed
from otabench.cloud.rollout.messages import status_message
from otabench.cloud.rollout.rules import Progress, WaveCounts, assign_waves
from otabench.cloud.store import image_repository as repository
from otabench.cloud.store.schema import Base, CampaignImageRow, CampaignRow, JobRow
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState, to_wire

_INSERT_JOBS: Final = insert(Base.metadata.tables[JobRow.__tablename__])


@dataclass(frozen=True)
class NewCampaign:
    """A campaign before it is written.

    Attributes:
        campaign_id: its id.
        request, checked: what it was made of.
        exclude: whether refused vehicles are left out.
        judged: the vehicles that have passed the rules, by VIN.
        job_ids: the id of each one's job, by VIN.
        messages: the message about each one's new job, by VIN.
        created_at: the time.
        created_by: the subject of the operator's certificate.
    """

    campaign_id: str
    request: ota_pb2.CreateCampaignRequest
    checked: CheckedCampaign
    exclude: bool
    judged: Mapping[str, VehicleFacts]
    job_ids: Mapping[str, str]
    messages: Mapping[str, dict[str, Any]]
    created_at: float
    created_by: str


def plan_campaign(
    request: ota_pb2.CreateCampaignRequest,
    checked: CheckedCampaign,
    chosen: Chosen,
    *,
    exclude: bool,
    created_by: str,
    now: float,
) -> NewCampaign:
    """Make what does not need the database."""
    # Ids are random instead of counted. A gateway stores the ids of its jobs, and a cloud with a new database must not repeat them.
    job_ids = {vehicle.vin: f"job-{secrets.token_hex(6)}" for vehicle in chosen.vehicles}
    return NewCampaign(
        campaign_id=f"campaign-{secrets.token_hex(6)}",
        request=request,
        checked=checked,
        exclude=exclude,
        judged={vehicle.vin: vehicle for vehicle in chosen.vehicles},
        job_ids=job_ids,
        messages={
            vin: outbox.transition_message(vin=vin, job_id=job_id, state=JobState.CREATED, reason="", now=now)
            for vin, job_id in job_ids.items()
        },
        created_at=now,
        created_by=created_by,
    )


def insert_campaign(session: Session, new: NewCampaign) -> ota_pb2.Campaign:
    """Write campaign, images and jobs. Return the campaign, or that of an earlier call with the same ``request_id``.

    Raises:
        UnknownThing: as ``vehicle_choice.choose``.
        NotAllowed: a rule refuses a vehicle now, or a demanded patch cannot be made.
    """
    # Judge again inside this transaction: storing the images took time, and a vehicle may have become busy meanwhile.
    jobs.lock_vehicles(session, new.request.vins)
    earlier = campaign_requests.find_campaign(session, new.request)
    if earlier is not None:
        return earlier
    offers = [image.offer for image in new.checked.images]
    known = snapshots.load_vehicles(session, new.request.vins)
    chosen = choose(new.request.vins, known, offers, exclude=new.exclude, judged=new.judged)
    # One that was refused a moment ago and would pass now stays out: its job is not planned.
    vehicles = [vehicle for vehicle in chosen.vehicles if vehicle.vin in new.job_ids]
    _insert_campaign(session, new, chosen.excluded)
    if new.checked.policy is TransferPolicy.DELTA:
        require_bases(CampaignImages(session, new.campaign_id), vehicles)
    # Of those that are in the campaign: a wave is not to be smaller because vehicles were left out.
    waves = assign_waves(new.checked.rollout.waves, len(vehicles)) if new.checked.rollout else [0] * len(vehicles)
    rows = [
        _job_row(new, vehicle.vin, position, wave=wave)
        for position, (vehicle, wave) in enumerate(zip(vehicles, waves, strict=True))
    ]
    insert_jobs(session, rows)
    outbox.add_messages(session, [new.messages[vehicle.vin] for vehicle in vehicles])
    return _message(new, rows, chosen.excluded)


def _insert_campaign(session: Session, new: NewCampaign, excluded: Sequence[Excluded]) -> None:
    request, checked = new.request, new.checked
    session.add(
        CampaignRow(
            campaign_id=new.campaign_id,
            name=request.name,
            release_notes=request.release_notes,
            transfer=checked.policy,
            manifest_lifetime_s=request.manifest_lifetime_s,
            approval_timeout_s=request.approval_timeout_s,
            encrypt=request.encrypt,
            conditions=json.dumps([str(each) for each in checked.conditions]),
            texts=json.dumps({language: each.model_dump() for language, each in checked.texts.items()}),
            conditions_limit_s=request.conditions_limit_s,
            driver_rules=checked.driver.model_dump_json(),
            created_at=new.created_at,
            request_id=request.request_id or None,
            request_sha256=campaign_requests.digest(request),
            excluded=json.dumps([[each.vin, each.reason] for each in excluded]),
            created_by=new.created_by,
            needs_approval=request.needs_approval,
            rollout=checked.rollout.model_dump_json() if checked.rollout else "",
            rollout_progress=Progress().model_dump_json() if checked.rollout else "",
            rollout_open=checked.rollout is not None,
        )
    )
    session.flush()  # the rows below refer to this one
    for image in checked.images:
        for firmware, _ in image.files():
            repository.add_image(session, firmware, now=new.created_at, is_public=not image.encrypt)
        session.add(
            CampaignImageRow(
                campaign_id=new.campaign_id,
                hardware_id=image.firmware.hardware_id,
                image_id=image.firmware.image_id,
                base_sha256=image.base.sha256 if image.base else None,
            )
        )
    session.flush()


def require_bases(images: CampaignImages, vehicles: Sequence[VehicleFacts]) -> None:
    """Refuse a delta campaign if no patch can be made for an ECU.

    Raises:
        NotAllowed: an ECU does not take patches, or the cloud does not hold the image that it has reported running.
    """
    for vehicle in vehicles:
        for target in images.of_vehicle(vehicle):
            if target.base is None and (target.ecu.software_version or not target.ecu.takes_patches):
                raise NotAllowed(target.describe_missing_base())


def insert_jobs(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows of ``job_row``."""
    # Of the table: the ORM would take several times as long.
    session.connection().execute(_INSERT_JOBS, rows)


def job_row(
    campaign_id: str, vin: str, position: int, *, job_id: str, reason: str, wave: int = 0, now: float
) -> dict[str, Any]:
    """Return the row of a job that is CREATED. ``reason``: why it is held, and not offered yet; empty: it is not."""
    return {
        "job_id": job_id,
        "campaign_id": campaign_id,
        "vin": vin,
        "position": position,
        "state": JobState.CREATED,
        "reason": reason,
        "taken_seq": 0,
        "offered": False,
        "held": reason != "",
        "wave": wave,
        "opened_at": 0.0,
        "cancel_asked": False,
        "cancel_reason": "",
        "details": b"",
        "updated_at": now,
    }


def _job_row(new: NewCampaign, vin: str, position: int, *, wave: int) -> dict[str, Any]:
    in_rollout = new.checked.rollout is not None
    return job_row(
        new.campaign_id,
        vin,
        position,
        job_id=new.job_ids[vin],
        reason=WAITS if new.request.needs_approval else WAITS_FOR_WAVE if in_rollout else "",
        wave=wave,
        now=new.created_at,
    )


def _message(new: NewCampaign, rows: Sequence[Mapping[str, Any]], excluded: Sequence[Excluded]) -> ota_pb2.Campaign:
    created = to_wire(JobState.CREATED)
    return ota_pb2.Campaign(
        campaign_id=new.campaign_id,
        name=new.request.name,
        release_notes=new.request.release_notes,
        created_at=new.created_at,
        jobs=[
            ota_pb2.Job(
                job_id=row["job_id"],
                vin=row["vin"],
                state=created,
                reason=row["reason"],
                updated_at=new.created_at,
            )
            for row in rows
        ],
        excluded=[ota_pb2.Campaign.Excluded(vin=each.vin, reason=each.reason) for each in excluded],
        counts=[ota_pb2.JobCount(state=created, jobs=len(rows))],
        created_by=new.created_by,
        needs_approval=new.request.needs_approval,
        rollout=status_message(new.checked.rollout, Progress(), _count_waves(rows)) if new.checked.rollout else None,
    )


def _count_waves(rows: Sequence[Mapping[str, Any]]) -> list[WaveCounts]:
    jobs_of = Counter(row["wave"] for row in rows)
    return [WaveCounts(jobs=jobs_of[wave], held=jobs_of[wave]) for wave in sorted(jobs_of)]
