"""Jobs and campaigns in the database: what a judged update, cancel or check-in changes, and how a campaign is shown.

The judgement is ``campaigns.job_rules``'s and the table's; here it is applied, and every transition is written down before it is
answered. All functions work inside the caller's transaction and return the transitions they made, for the caller to
announce once they are committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import inventory
from otabench.cloud.campaigns import job_rules as rules
from otabench.cloud.campaigns.job_rules import CancelEffect, Effect
from otabench.cloud.campaigns.vehicle_rules import judge_report
from otabench.cloud.errors import NotAllowed, UnknownThing
from otabench.cloud.store.schema import CampaignRow, JobRow, TransitionRow
from otabench.proto import ota_pb2
from otabench.proto.job_states import FINAL_STATES, JobState, to_wire


@dataclass(frozen=True)
class Transition:
    """One transition of a job that was written; ``before`` is None for a job that was just made."""

    job_id: str
    vin: str
    campaign_id: str
    before: JobState | None
    after: JobState
    reason: str


@dataclass(frozen=True)
class UpdateOutcome:
    """What an UpdateStatus did, and what is answered."""

    effect: Effect
    campaign_id: str
    state: JobState
    cancel_requested: bool
    transition: Transition | None


def job_of(session: Session, *, vin: str, job_id: str) -> JobRow:
    """That job of that vehicle.

    Raises:
        UnknownThing: the vehicle has no such job.
    """
    job = session.get(JobRow, job_id)
    if job is None or job.vin != vin:
        raise UnknownThing(f"vehicle {vin!r} has no job {job_id!r}")
    return job


def open_job(session: Session, vin: str) -> JobRow | None:
    """The vehicle's job that has not ended, if there is one."""
    finals = [str(state) for state in FINAL_STATES]
    return session.scalars(select(JobRow).where(JobRow.vin == vin, JobRow.state.not_in(finals))).first()


def move(session: Session, job: JobRow, after: JobState, *, reason: str, now: float) -> Transition:
    """Writes a transition that the table allows."""
    before = JobState(job.state)
    number = session.scalar(select(func.count()).where(TransitionRow.job_id == job.job_id)) or 0
    session.add(TransitionRow(job_id=job.job_id, number=number + 1, before=before, after=after, reason=reason, at=now))
    job.state, job.reason, job.updated_at = after, reason, now
    return Transition(
        job_id=job.job_id, vin=job.vin, campaign_id=job.campaign_id, before=before, after=after, reason=reason
    )


def apply_update(
    session: Session, request: ota_pb2.UpdateStatusRequest, *, reported: JobState, now: float
) -> UpdateOutcome:
    """Applies an UpdateStatus.

    Raises:
        UnknownThing: the vehicle has no such job.
        NotAllowed: the table does not allow it; nothing is written.
    """
    job = job_of(session, vin=request.vin, job_id=request.job_id)
    current = JobState(job.state)
    effect = rules.judge_update(current, reported, seq=request.transition_seq, taken_seq=job.taken_seq)
    if effect is Effect.REFUSED:
        raise NotAllowed(rules.explain_refusal(job.job_id, current, reported))
    transition = None
    if effect is Effect.TRANSITION:
        transition = move(session, job, reported, reason=request.reason, now=now)
        job.taken_seq = max(job.taken_seq, request.transition_seq)
        job.offered = True
    elif effect is Effect.PROGRESS and request.reason:
        job.reason = request.reason
    if effect is not Effect.REPEAT:
        _keep_details(session, job, request)
        job.updated_at = now
    state = JobState(job.state)
    return UpdateOutcome(
        effect=effect,
        campaign_id=job.campaign_id,
        state=state,
        cancel_requested=rules.cancel_is_due(state, asked=job.cancel_asked),
        transition=transition,
    )


def cancel(session: Session, campaign_id: str, *, reason: str, now: float) -> list[Transition]:
    """Cancels a campaign: jobs that no vehicle was told of end now, the other vehicles are asked to end theirs.

    Raises:
        UnknownThing: no such campaign.
        NotAllowed: there is no job left that could be canceled.
    """
    jobs = jobs_of(session, campaign_id)
    reason = reason or "canceled by the operator"
    transitions = []
    effects = []
    for job in jobs:
        effect = rules.judge_cancel(JobState(job.state), offered=job.offered, already_asked=job.cancel_asked)
        effects.append(effect)
        if effect is CancelEffect.ENDS_NOW:
            transitions.append(move(session, job, JobState.CANCELED, reason=reason, now=now))
        elif effect is CancelEffect.ASKS_VEHICLE:
            job.cancel_asked, job.cancel_reason, job.updated_at = True, reason, now
    if all(effect is CancelEffect.TOO_LATE for effect in effects):
        states = ", ".join(f"{job.job_id} is {job.state}" for job in jobs)
        raise NotAllowed(f"campaign {campaign_id} can no longer be canceled: {states}")
    return transitions


def jobs_of(session: Session, campaign_id: str) -> Sequence[JobRow]:
    """The campaign's jobs, in the order of its vehicles.

    Raises:
        UnknownThing: no such campaign.
    """
    if session.get(CampaignRow, campaign_id) is None:
        raise UnknownThing(f"there is no campaign {campaign_id!r}")
    return session.scalars(select(JobRow).where(JobRow.campaign_id == campaign_id).order_by(JobRow.position)).all()


def campaign_message(session: Session, campaign_id: str) -> ota_pb2.Campaign:
    """The campaign as the operator sees it.

    Raises:
        UnknownThing: no such campaign.
    """
    jobs = jobs_of(session, campaign_id)
    row = session.get_one(CampaignRow, campaign_id)
    message = ota_pb2.Campaign(
        campaign_id=campaign_id, name=row.name, release_notes=row.release_notes, created_at=row.created_at
    )
    for job in jobs:
        shown = message.jobs.add()
        shown.ParseFromString(job.details)
        shown.job_id, shown.vin, shown.reason = job.job_id, job.vin, job.reason
        shown.state = to_wire(JobState(job.state))
    return message


def _keep_details(session: Session, job: JobRow, request: ota_pb2.UpdateStatusRequest) -> None:
    details = ota_pb2.Job.FromString(job.details)
    if request.progress:
        del details.progress[:]
        details.progress.extend(request.progress)
    if request.ecus:
        del details.ecus[:]
        details.ecus.extend(request.ecus)
        vehicle = inventory.facts(session, job.vin)
        if vehicle is not None and judge_report(vehicle, inventory.reported(request.ecus)) is None:
            inventory.record(session, job.vin, request.ecus)
    job.details = details.SerializeToString()
