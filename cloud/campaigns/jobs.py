"""Jobs and campaigns in the database: find them, move a job from state to state, cancel a campaign, show it to the operator.

What may happen to a job is decided by ``job_rules`` and ``proto.job_states``. Every function works inside the caller's transaction,
and returns the transitions that it wrote; the caller announces them once they are committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from otabench.cloud.campaigns.job_rules import CancelEffect, judge_cancel
from otabench.cloud.errors import NotAllowed, UnknownThing
from otabench.cloud.store.schema import CampaignRow, JobRow, TransitionRow
from otabench.proto import ota_pb2
from otabench.proto.job_states import FINAL_STATES, JobState, to_wire


@dataclass(frozen=True)
class Transition:
    """One transition of a job that was written. ``before`` is None for a job that was just made."""

    job_id: str
    vin: str
    campaign_id: str
    before: JobState | None
    after: JobState
    reason: str


def load_job(session: Session, *, vin: str, job_id: str) -> JobRow:
    """Return that job of that vehicle.

    Raises:
        UnknownThing: the vehicle has no such job.
    """
    job = session.get(JobRow, job_id)
    if job is None or job.vin != vin:
        raise UnknownThing(f"vehicle {vin!r} has no job {job_id!r}")
    return job


def find_open_job(session: Session, vin: str) -> JobRow | None:
    """Return the vehicle's job that has not ended. There is at most one: rule 4 of ``vehicle_rules``."""
    finals = [str(state) for state in FINAL_STATES]
    return session.scalars(select(JobRow).where(JobRow.vin == vin, JobRow.state.not_in(finals))).first()


def load_jobs(session: Session, campaign_id: str) -> Sequence[JobRow]:
    """Return the campaign's jobs, in the order of its vehicles.

    Raises:
        UnknownThing: the campaign does not exist.
    """
    if session.get(CampaignRow, campaign_id) is None:
        raise UnknownThing(f"there is no campaign {campaign_id!r}")
    return session.scalars(select(JobRow).where(JobRow.campaign_id == campaign_id).order_by(JobRow.position)).all()


def move(session: Session, job: JobRow, after: JobState, *, reason: str, now: float) -> Transition:
    """Write a transition that the table allows."""
    before = JobState(job.state)
    # The cloud's own count. A vehicle's transition_seq does not include what the cloud does by itself, such as an early cancellation.
    number = session.scalar(select(func.count()).where(TransitionRow.job_id == job.job_id)) or 0
    session.add(TransitionRow(job_id=job.job_id, number=number + 1, before=before, after=after, reason=reason, at=now))
    job.state, job.reason, job.updated_at = after, reason, now
    return Transition(
        job_id=job.job_id, vin=job.vin, campaign_id=job.campaign_id, before=before, after=after, reason=reason
    )


def cancel(session: Session, campaign_id: str, *, reason: str, now: float) -> list[Transition]:
    """Cancel a campaign: end the jobs that were never offered to their vehicle, and have the other vehicles asked to end theirs.

    Raises:
        UnknownThing: the campaign does not exist.
        NotAllowed: none of its jobs can be canceled any more.
    """
    jobs = load_jobs(session, campaign_id)
    reason = reason or "canceled by the operator"
    transitions = []
    effects = []
    for job in jobs:
        effect = judge_cancel(JobState(job.state), offered=job.offered, already_asked=job.cancel_asked)
        effects.append(effect)
        if effect is CancelEffect.ENDS_NOW:
            transitions.append(move(session, job, JobState.CANCELED, reason=reason, now=now))
        elif effect is CancelEffect.ASKS_VEHICLE:
            job.cancel_asked, job.cancel_reason, job.updated_at = True, reason, now
    # One job that can be canceled is enough for success: the operator sees in the campaign which jobs went on.
    if all(effect is CancelEffect.TOO_LATE for effect in effects):
        states = ", ".join(f"{job.job_id} is {job.state}" for job in jobs)
        raise NotAllowed(f"campaign {campaign_id} can no longer be canceled: {states}")
    return transitions


def campaign_message(session: Session, campaign_id: str) -> ota_pb2.Campaign:
    """Return the campaign as the operator sees it.

    Raises:
        UnknownThing: the campaign does not exist.
    """
    jobs = load_jobs(session, campaign_id)
    row = session.get_one(CampaignRow, campaign_id)
    message = ota_pb2.Campaign(
        campaign_id=campaign_id, name=row.name, release_notes=row.release_notes, created_at=row.created_at
    )
    for job in jobs:
        job_message = message.jobs.add()
        job_message.ParseFromString(job.details)  # progress and reports; for all else the columns count
        job_message.job_id, job_message.vin, job_message.reason = job.job_id, job.vin, job.reason
        job_message.state = to_wire(JobState(job.state))
    return message
