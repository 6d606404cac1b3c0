"""Jobs and campaigns in the database: find them, write transitions, cancel campaigns, and make messages for the operator.

Every function works inside the caller's transaction. Functions that write transitions return them, and the caller announces them after the
commit. ``job_rules`` and ``proto.job_states`` decide what may happen to a job.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sqlalchemy import ColumnElement, Select, case, func, select, tuple_, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from otabench.cloud.campaigns import outbox
from otabench.cloud.campaigns.job_rules import CancelEffect, judge_cancel
from otabench.cloud.campaigns.rollout_status import read_status
from otabench.cloud.campaigns.snapshots import OpenJob
from otabench.cloud.errors import Conflict, NotAllowed, UnknownThing
from otabench.cloud.store.in_list import in_list
from otabench.cloud.store.schema import Base, CampaignRow, JobRow, TransitionRow, VehicleRow
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState, is_allowed, is_final, to_wire


class ShownJob(Protocol):
    """The part of a job that the operator sees: a row of the class, or of ``_SHOWN``."""

    job_id: Any
    vin: Any
    state: Any
    reason: Any
    details: Any
    updated_at: Any


_vin: Final = Base.metadata.tables[VehicleRow.__tablename__].c.vin
_SHOWN: Final = (JobRow.job_id, JobRow.vin, JobRow.state, JobRow.reason, JobRow.details, JobRow.updated_at)


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


def _locking(condition: ColumnElement[bool]) -> Select[tuple[str]]:
    # In one order, so that two transactions never wait for each other. The weaker lock lets jobs refer to the vehicle meanwhile.
    # A column is read faster than a row of the class.
    return select(_vin).where(condition).order_by(_vin).with_for_update(key_share=True)


_LOCK: Final = _locking(in_list(_vin, "vins"))


def lock_vehicles(session: Session, vins: Select[str] | Sequence[str]) -> None:
    """Let other transactions that change these vehicles or their jobs wait until this one has ended.

    Call this before judging, so that the judgement still holds when its result is written.
    """
    # A transaction of SQLite has the whole database for itself (``store.database``).
    if session.get_bind().dialect.name == "sqlite":
        return
    if isinstance(vins, Select):
        session.execute(_locking(_vin.in_(vins))).all()
    else:
        session.connection().execute(_LOCK, {"vins": list(vins)}).all()


def load_jobs(session: Session, campaign_id: str) -> Sequence[JobRow]:
    """Return the campaign's jobs, in the order of its vehicles.

    Raises:
        UnknownThing: the campaign does not exist.
    """
    if session.get(CampaignRow, campaign_id) is None:
        raise UnknownThing(f"there is no campaign {campaign_id!r}")
    return session.scalars(select(JobRow).where(JobRow.campaign_id == campaign_id).order_by(JobRow.position)).all()


def mark_offered(session: Session, offers: Sequence[OpenJob], *, now: float) -> set[str]:
    """Mark new jobs as offered and without a reason. Return those that still are as they were read; nothing is written to the others."""
    lock_vehicles(session, [job.vin for job in offers])
    marked = session.execute(
        update(JobRow)
        .where(
            tuple_(JobRow.job_id, JobRow.reason).in_([(job.job_id, job.reason) for job in offers]),
            JobRow.state == JobState.CREATED,
            JobRow.cancel_asked.is_(False),
        )
        # Watchers on other control planes find a changed reason by its time.
        .values(offered=True, reason="", updated_at=case((JobRow.reason == "", JobRow.updated_at), else_=now))
        .returning(JobRow.job_id)
        .execution_options(synchronize_session=False)
    )
    return set(marked.scalars())


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


def cancel(
    session: Session, campaign_id: str, *, reason: str, now: float, only_not_begun: bool = False
) -> list[Transition]:
    """Cancel a campaign. End the jobs that were never offered to their vehicle, and mark the others: their vehicles are asked to end them.

    ``only_not_begun`` leaves the jobs alone that are no longer CREATED.

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
        if only_not_begun and JobState(job.state) not in (JobState.CREATED, JobState.CANCELED):
            effects.append(CancelEffect.TOO_LATE)
            continue
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


def abandon(session: Session, campaign_id: str, vin: str, *, reason: str, now: float) -> tuple[JobRow, Transition]:
    """End the open job of a vehicle that does not come back. If it does come back, its reports are refused: the job has ended.

    Raises:
        UnknownThing: the campaign has no job for this vehicle.
        NotAllowed: the job has ended already.
    """
    lock_vehicles(session, [vin])
    job = session.scalars(select(JobRow).where(JobRow.campaign_id == campaign_id, JobRow.vin == vin)).first()
    if job is None:
        raise UnknownThing(f"there is no campaign {campaign_id!r} with a job for vehicle {vin!r}")
    state = JobState(job.state)
    if is_final(state):
        raise NotAllowed(f"job {job.job_id} of vehicle {vin} has ended already: it is {state}")
    # From ACTIVATING on nobody knows what the vehicle runs.
    after = JobState.CANCELED if is_allowed(state, JobState.CANCELED) else JobState.FAILED
    text = f"abandoned by the operator in {state}" + (f": {reason}" if reason else "")
    return job, move(session, job, after, reason=text, now=now)


def campaign_message(session: Session, campaign_id: str, *, with_jobs: bool = True) -> ota_pb2.Campaign:
    """Return the message that shows a campaign to the operator, with all its jobs or with their counts only.

    Raises:
        UnknownThing: the campaign does not exist.
    """
    row = session.get(CampaignRow, campaign_id)
    if row is None:
        raise UnknownThing(f"there is no campaign {campaign_id!r}")
    message = ota_pb2.Campaign(
        campaign_id=campaign_id,
        name=row.name,
        release_notes=row.release_notes,
        created_at=row.created_at,
        excluded=[ota_pb2.Campaign.Excluded(vin=vin, reason=reason) for vin, reason in json.loads(row.excluded)],
        counts=count_messages(count_states(session, campaign_id)),
        created_by=row.created_by,
        needs_approval=row.needs_approval,
        approved_by=row.approved_by,
        approved_at=row.approved_at,
        rollout=read_status(session, row),
    )
    if with_jobs:
        message.jobs.extend(job_messages(session, campaign_id))
    return message


def job_messages(session: Session, campaign_id: str, job_ids: Sequence[str] | None = None) -> list[ota_pb2.Job]:
    """Return the messages of a campaign's jobs, or of some of them, in the order of its vehicles."""
    wanted = select(*_SHOWN).where(JobRow.campaign_id == campaign_id)
    if job_ids is not None:
        wanted = wanted.where(JobRow.job_id.in_(job_ids))
    # Columns, because an object for each row of a large campaign would take many times as long.
    messages = [job_message(row) for row in session.execute(wanted.order_by(JobRow.position))]
    _add_dropped_reports(session, messages, wanted.with_only_columns(JobRow.vin))
    return messages


def job_message(row: ShownJob, *, campaign_id: str = "") -> ota_pb2.Job:
    """Return the message that shows a job to the operator."""
    # Progress and reports are in the details; for all else the columns count.
    message = ota_pb2.Job.FromString(row.details)
    message.job_id, message.vin, message.reason = row.job_id, row.vin, row.reason
    message.state, message.updated_at = to_wire(JobState(row.state)), row.updated_at
    message.campaign_id = campaign_id
    return message


def count_states(session: Session, campaign_id: str) -> Counter[JobState]:
    """Return how many jobs of the campaign are in each state."""
    counts = select(JobRow.state, func.count()).where(JobRow.campaign_id == campaign_id).group_by(JobRow.state)
    return Counter({JobState(state): number for state, number in session.execute(counts)})


def count_messages(counts: Mapping[JobState, int]) -> list[ota_pb2.JobCount]:
    """Return counts as messages, in the order of the states."""
    return [ota_pb2.JobCount(state=to_wire(state), jobs=counts[state]) for state in JobState if counts.get(state)]


def _add_dropped_reports(session: Session, messages: Sequence[ota_pb2.Job], vins: Select[Any]) -> None:
    """Set how many version reports of each vehicle were dropped. Almost all vehicles have none."""
    shown = (VehicleRow.vin, VehicleRow.dropped_reports, VehicleRow.dropped_reason, VehicleRow.two_reporters)
    found = session.execute(select(*shown).where(VehicleRow.dropped_reports > 0, VehicleRow.vin.in_(vins)))
    suspects = {row.vin: row for row in found}
    for message in messages if suspects else ():
        if (vehicle := suspects.get(message.vin)) is not None:
            message.dropped_reports, message.dropped_reason = vehicle.dropped_reports, vehicle.dropped_reason
            message.two_reporters = vehicle.two_reporters
