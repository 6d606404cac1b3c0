"""The approval of a campaign by a second person, before any vehicle is offered its job.

Jobs of a campaign that needs approval are made with the campaign, so that their vehicles are taken, and are held until then. All functions
work inside the caller's transaction.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import jobs
from otabench.cloud.campaigns.rollouts import WAITS_FOR_WAVE
from otabench.cloud.errors import NotAllowed, UnknownThing
from otabench.cloud.store.schema import CampaignRow, JobRow
from otabench.proto.job_states import JobState

WAITS: Final = "waits for an approver"
"""The reason of a held job."""


def approve(session: Session, campaign_id: str, *, who: str, person: str, now: float) -> list[tuple[str, str]]:
    """Approve a campaign, and return its jobs that may be offered now: pairs of job and VIN. Empty: it was approved
    before, or a roll-out opens them.

    Args:
        session: the caller's transaction.
        campaign_id: the campaign.
        who: the subject of the approver's certificate.
        person: the beginning of ``who`` that names the person, whatever the role; empty: nobody has a certificate here.
        now: the time.

    Raises:
        UnknownThing: the campaign does not exist.
        NotAllowed: it does not need approval, or the same person created it.
    """
    jobs.lock_vehicles(session, select(JobRow.vin).where(JobRow.campaign_id == campaign_id))
    row = session.get(CampaignRow, campaign_id)
    if row is None:
        raise UnknownThing(f"there is no campaign {campaign_id!r}")
    if not row.needs_approval:
        raise NotAllowed(f"campaign {campaign_id} does not need approval")
    if row.approved_by:
        return []
    if person and row.created_by.startswith(person):
        raise NotAllowed(f"campaign {campaign_id} was created by {row.created_by}: another person must approve it")
    row.approved_by, row.approved_at = who, now
    if row.rollout:
        # The roll-out opens them. Until then they stay held.
        _set_reason(session, campaign_id, WAITS_FOR_WAVE, now=now)
        return []
    held = select(JobRow.job_id, JobRow.vin).where(JobRow.campaign_id == campaign_id, JobRow.held.is_(True))
    open_jobs = held.where(JobRow.state == JobState.CREATED).order_by(JobRow.position)
    released = [(job_id, vin) for job_id, vin in session.execute(open_jobs)]
    # The reason of a job that was canceled meanwhile stays.
    session.execute(
        update(JobRow)
        .where(JobRow.campaign_id == campaign_id, JobRow.held.is_(True))
        .values(held=False)
        .execution_options(synchronize_session=False)
    )
    _set_reason(session, campaign_id, "", now=now)
    return released


def _set_reason(session: Session, campaign_id: str, reason: str, *, now: float) -> None:
    session.execute(
        update(JobRow)
        .where(JobRow.campaign_id == campaign_id, JobRow.state == JobState.CREATED, JobRow.reason == WAITS)
        .values(reason=reason, updated_at=now)
        .execution_options(synchronize_session=False)
    )
