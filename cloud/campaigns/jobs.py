"""Jobs and campaigns in the database: find them, write transitions, cancel campaigns, and make messages for the operator.

Every function works inside the caller's transaction. Functions that write transitions return them, and the caller announces them after the
commit. ``job_rules`` and ``proto.job_states`` decide what may happen to a job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from otabench.cloud.campaigns import outbox
from otabench.cloud.campaigns.job_rules import CancelEffect, judge_cancel
from otabench.cloud.errors import Conflict, NotAllowed, UnknownThing
from otabench.cloud.store.schema import CampaignRow, JobRow, TransitionRow, VehicleRow
from otabench.proto import ota_pb2
from otabench.proto.job_states import FINAL_STATES, JobState, to_wire


@dataclass(frozen=True)
class Transition:
    """One written transition of a job. ``before`` is None for a new job."""

    job_id: str
    vin: str
    campaign_id: str
    before: JobState | None
    after: JobState
    reason: str


def load_job(session: Session, *, vin: str, job_id: str) -> JobRow:
    """Return a job of a vehicle.

    Raises:
        UnknownThing: the vehicle does not have this job.
    """
    job = session.get(JobRow, job_id)
    if job is None or job.vin != vin:
        raise UnknownThing(f"vehicle {vin!r} has no job {job_id!r}")
    return job


def find_open_job(session: Session, vin: str) -> JobRow | None:
    """Return the vehicle's job that has not ended, or None. There is at most one (index ``one_open_job_per_vehicle``)."""
    finals = [str(state) for state in FINAL_STATES]
    return session.scalars(select(JobRow).where(JobRow.vin == vin, JobRow.state.not_in(finals))).first()


def lock_vehicles(session: Session, vins: Select[str] | Sequence[str]) -> None:
    """Let other transactions that change these vehicles or their jobs wait until this one has ended.

    Call this before judging, so that the judgement still holds when its result is written.
    """
    # A transaction of SQLite has the whole database for itself (``store.database``).
    if session.get_bind().dialect.name == "sqlite":
        return
    # In one order, so that two transactions never wait for each other. The weaker lock lets jobs refer to the vehicle meanwhile.
    rows = select(VehicleRow).where(VehicleRow.vin.in_(vins)).order_by(VehicleRow.vin)
    session.scalars(rows.with_for_update(key_share=True)).all()


def load_jobs(session: Session, campaign_id: str) -> Sequence[JobRow]:
    """Return the campaign's jobs, in the order of its vehicles.

    Raises:
        UnknownThing: the campaign does not exist.
    """
    if session.get(CampaignRow, campaign_id) is None:
        raise UnknownThing(f"there is no campaign {campaign_id!r}")
    return session.scalars(select(JobRow).where(JobRow.campaign_id == campaign_id).order_by(JobRow.position)).all()


def move(session: Session, job: JobRow, after: JobState, *, reason: str, now: float) -> Transition:
    """Write a transition. The caller has checked that it is allowed.

    Raises:
        Conflict: the job is no longer in the state that was checked.
    """
    before = JobState(job.state)
    # Compare and set: the row changes only if it still is in the state from which the caller judged.
    moved = session.execute(
        update(JobRow)
        .where(JobRow.job_id == job.job_id, JobRow.state == before)
        .values(state=after, reason=reason, updated_at=now)
        .returning(JobRow.job_id)
        .execution_options(synchronize_session=False)
    )
    if moved.scalar_one_or_none() is None:
        raise Conflict(f"job {job.job_id} is no longer {before}: try again")
    set_committed_value(job, "state", str(after))
    set_committed_value(job, "reason", reason)
    set_committed_value(job, "updated_at", now)
    # This is the cloud's own count. A vehicle's transition_seq does not include transitions that the cloud makes, such as a cancellation.
    number = session.scalar(select(func.count()).where(TransitionRow.job_id == job.job_id)) or 0
    session.add(TransitionRow(job_id=job.job_id, number=number + 1, before=before, after=after, reason=reason, at=now))
    outbox.add_transition(session, vin=job.vin, job_id=job.job_id, state=after, reason=reason, now=now)
    return Transition(
        job_id=job.job_id, vin=job.vin, campaign_id=job.campaign_id, before=before, after=after, reason=reason
    )


def cancel(session: Session, campaign_id: str, *, reason: str, now: float) -> list[Transition]:
    """Cancel a campaign. End the jobs that were never offered to their vehicle, and mark the others: their vehicles are asked to end them.

    Raises:
        UnknownThing: the campaign does not exist.
        NotAllowed: it is too late to cancel any of its jobs.
    """
    lock_vehicles(session, select(JobRow.vin).where(JobRow.campaign_id == campaign_id))
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
    # The call succeeds if at least one job can be canceled. The campaign shows the operator which jobs continued.
    if all(effect is CancelEffect.TOO_LATE for effect in effects):
        states = ", ".join(f"{job.job_id} is {job.state}" for job in jobs)
        raise NotAllowed(f"campaign {campaign_id} can no longer be canceled: {states}")
    return transitions


def change_mark(session: Session, campaign_id: str) -> tuple[object, ...]:
    """Return a value that differs after any change of the campaign's jobs. It is much cheaper than the campaign's message."""
    changes = select(func.count(), func.max(JobRow.updated_at), func.sum(JobRow.updated_at))
    return tuple(session.execute(changes.where(JobRow.campaign_id == campaign_id)).one())


def campaign_message(session: Session, campaign_id: str) -> ota_pb2.Campaign:
    """Return the message that shows a campaign to the operator.

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
