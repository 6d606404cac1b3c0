"""Try the failed jobs of a campaign again: a new campaign of the same images and rules, for the vehicles whose jobs have failed.

The old campaign stays as it is. Works inside the caller's transaction.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import jobs, outbox, snapshots
from otabench.cloud.campaigns.approval import WAITS
from otabench.cloud.campaigns.ecu_images import CampaignImages, load_offers
from otabench.cloud.campaigns.new_campaigns import insert_jobs, job_row, require_bases
from otabench.cloud.campaigns.rollout_status import FAILURES
from otabench.cloud.campaigns.transfer_policy import TransferPolicy
from otabench.cloud.campaigns.vehicle_choice import Excluded, choose
from otabench.cloud.campaigns.vehicle_rules import VehicleFacts
from otabench.cloud.errors import NotAllowed, UnknownThing
from otabench.cloud.store.schema import CampaignImageRow, CampaignRow, JobRow
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState

_NOT_COPIED: Final = frozenset(
    {
        "campaign_id",
        "request_id",
        "request_sha256",
        "approved_by",
        "approved_at",
        "rollout",
        "rollout_progress",
        "rollout_open",
    }
)


def retry(session: Session, campaign_id: str, *, created_by: str, now: float) -> ota_pb2.Campaign:
    """Create a campaign for the vehicles whose jobs have ended as FAILED, ROLLED_BACK or TIMED_OUT. Return it.

    All of them are offered it at once, or after an approval if the old campaign needed one. Vehicles that cannot be in it now are left
    out, such as those that run the version already, so repeating the call does not update a vehicle twice.

    Raises:
        UnknownThing: the campaign does not exist.
        NotAllowed: not one job has failed, not one of the vehicles can be tried again, or a demanded patch cannot be made.
    """
    old = session.get(CampaignRow, campaign_id)
    if old is None:
        raise UnknownThing(f"there is no campaign {campaign_id!r}")
    failed = select(JobRow.vin).where(JobRow.campaign_id == campaign_id, JobRow.state.in_(FAILURES))
    vins = session.scalars(failed.order_by(JobRow.position)).all()
    if not vins:
        raise NotAllowed(
            f"campaign {campaign_id}: not one job is {', '.join(sorted(FAILURES))}: there is nothing to try again"
        )
    # Before judging, so that no other campaign takes one of the vehicles meanwhile.
    jobs.lock_vehicles(session, vins)
    chosen = choose(vins, snapshots.load_vehicles(session, vins), load_offers(session, campaign_id), exclude=True)
    new_id = _copy_campaign(session, old, chosen.excluded, created_by=created_by, now=now)
    if old.transfer == TransferPolicy.DELTA:
        require_bases(CampaignImages(session, new_id), chosen.vehicles)
    _insert_jobs(session, new_id, chosen.vehicles, held=old.needs_approval, now=now)
    return jobs.campaign_message(session, new_id)


def _copy_campaign(
    session: Session, old: CampaignRow, excluded: Sequence[Excluded], *, created_by: str, now: float
) -> str:
    new_id = f"campaign-{secrets.token_hex(6)}"
    copied = {
        column.key: getattr(old, column.key)
        for column in CampaignRow.__table__.columns
        if column.key not in _NOT_COPIED
    }
    copied |= {
        "campaign_id": new_id,
        "created_at": now,
        "created_by": created_by,
        "excluded": json.dumps([[each.vin, each.reason] for each in excluded]),
    }
    session.add(CampaignRow(**copied))
    session.flush()  # the rows below refer to this one
    for image in session.scalars(select(CampaignImageRow).where(CampaignImageRow.campaign_id == old.campaign_id)).all():
        session.add(
            CampaignImageRow(
                campaign_id=new_id,
                hardware_id=image.hardware_id,
                image_id=image.image_id,
                base_sha256=image.base_sha256,
            )
        )
    session.flush()
    return new_id


def _insert_jobs(
    session: Session, campaign_id: str, vehicles: Sequence[VehicleFacts], *, held: bool, now: float
) -> None:
    rows = [
        job_row(
            campaign_id,
            vehicle.vin,
            position,
            job_id=f"job-{secrets.token_hex(6)}",
            reason=WAITS if held else "",
            now=now,
        )
        for position, vehicle in enumerate(vehicles)
    ]
    insert_jobs(session, rows)
    outbox.add_messages(
        session,
        [
            outbox.transition_message(vin=row["vin"], job_id=row["job_id"], state=JobState.CREATED, reason="", now=now)
            for row in rows
        ],
    )
