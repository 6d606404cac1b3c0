"""Apply reports of vehicles, many in one transaction: almost all reports of a fleet.

    outcome = await writer.apply(request, reported=JobState.DOWNLOADING)
    if outcome is None:
        ...  # ``status_update.apply``, in a transaction of its own

This covers progress, transitions to a state in which the job goes on, and repetitions. The end of a job, reports of ECUs, version reports,
and what has to be refused take the long way. Every report is judged by ``job_rules``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Connection,
    LargeBinary,
    Text,
    bindparam,
    column,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from otabench.cloud.campaigns import outbox, version_reports
from otabench.cloud.campaigns.job_rules import Effect, cancel_is_due, judge_update
from otabench.cloud.campaigns.jobs import Transition
from otabench.cloud.campaigns.status_update import UpdateOutcome
from otabench.cloud.campaigns.vehicle_rules import VehicleFacts
from otabench.cloud.errors import Conflict
from otabench.cloud.store.batches import Batches
from otabench.cloud.store.database import Database
from otabench.cloud.store.in_list import in_list
from otabench.cloud.store.schema import Base, EcuRow, JobRow, TransitionRow, VehicleRow
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState, is_final

# Of the tables instead of the classes: the ORM would take as long to prepare a statement as the database to answer it.
_jobs, _ecus, _transitions, _vehicles = (
    Base.metadata.tables[each.__tablename__] for each in (JobRow, EcuRow, TransitionRow, VehicleRow)
)
_READ: Final = (
    select(
        _jobs.c.job_id,
        _jobs.c.vin,
        _jobs.c.campaign_id,
        _jobs.c.state,
        _jobs.c.taken_seq,
        _jobs.c.offered,
        _jobs.c.cancel_asked,
        _jobs.c.held,
        _jobs.c.reason,
        _jobs.c.details,
        select(func.count()).where(_ecus.c.vin == _jobs.c.vin).scalar_subquery(),
        select(func.count()).where(_transitions.c.job_id == _jobs.c.job_id).scalar_subquery(),
        _vehicles.c.gateway_key,
        _vehicles.c.report_nonce,
        _vehicles.c.nonce_expires_at,
    )
    .join(_vehicles, _vehicles.c.vin == _jobs.c.vin)
    .where(in_list(_jobs.c.job_id, "job_ids"))
    # On PostgreSQL it locks what it reads, the vehicles first and in one order, as ``jobs.lock_vehicles`` does. A row that had to be waited
    # for is read as the other transaction has left it. SQLite has no such clause and needs none.
    .order_by(_vehicles.c.vin)
    .with_for_update(key_share=True, of=(_vehicles, _jobs))
)
# Compare and set, as ``jobs.move`` does.
_WRITE: Final = (
    update(_jobs)
    .where(_jobs.c.job_id == bindparam("key"), _jobs.c.state == bindparam("read_state"))
    .values(
        state=bindparam("new_state"),
        taken_seq=bindparam("new_taken_seq"),
        offered=bindparam("new_offered"),
        reason=bindparam("new_reason"),
        details=bindparam("new_details"),
        updated_at=bindparam("now"),
    )
)
_COLUMNS: Final[dict[str, TypeEngine[Any]]] = {
    "key": Text(),
    "read_state": Text(),
    "new_state": Text(),
    "new_taken_seq": BigInteger(),
    "new_offered": Boolean(),
    "new_reason": Text(),
    "new_details": LargeBinary(),
}
"""The parameters of ``_WRITE`` that each job has of its own."""
_new = (
    func.unnest(*(bindparam(name, type_=ARRAY(kind)) for name, kind in _COLUMNS.items()))
    .table_valued(*(column(name, kind) for name, kind in _COLUMNS.items()), name="new")
    .render_derived()
)
# The same for PostgreSQL: all jobs in one statement.
_WRITE_ALL: Final = (
    update(_jobs)
    .where(_jobs.c.job_id == _new.c.key, _jobs.c.state == _new.c.read_state)
    .values(
        state=_new.c.new_state,
        taken_seq=_new.c.new_taken_seq,
        offered=_new.c.new_offered,
        reason=_new.c.new_reason,
        details=_new.c.new_details,
        updated_at=bindparam("now"),
    )
)
_ADD: Final = insert(_transitions)


@dataclass
class _Job:
    """The columns of a job that a report needs. They change with the reports of a batch, and are written at its end."""

    job_id: str
    vin: str
    campaign_id: str
    state: str
    taken_seq: int
    offered: bool
    cancel_asked: bool
    held: bool
    reason: str
    details: bytes
    registered_ecus: int
    transitions: int
    gateway_key: str
    report_nonce: str
    nonce_expires_at: float
    read_state: str = ""

    def __post_init__(self) -> None:
        self.read_state = self.state

    @property
    def vehicle(self) -> VehicleFacts:
        """Its vehicle, as far as nonces of version reports are concerned."""
        return VehicleFacts(
            self.vin,
            (),
            gateway_key=self.gateway_key,
            report_nonce=self.report_nonce,
            nonce_expires_at=self.nonce_expires_at,
        )


@dataclass(frozen=True)
class Report:
    """A report of a vehicle, and the state that it reports."""

    request: ota_pb2.UpdateStatusRequest
    reported: JobState


@dataclass
class _Changes:
    """The changes that a batch writes."""

    now: float
    jobs: dict[str, _Job] = field(default_factory=dict)
    transitions: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, object]] = field(default_factory=list)


class StatusWriter:
    """The writer of one control plane. Its methods run on the event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batches: Batches[Report, UpdateOutcome | None] = Batches(self._apply_all)

    async def apply(self, request: ota_pb2.UpdateStatusRequest, *, reported: JobState) -> UpdateOutcome | None:
        """Apply a report and return its outcome. Return None, and write nothing, if it has to take the long way.

        Raises:
            InvalidRequest: a value cannot be stored.
            Conflict: concurrent changes got in the way.
            NotReady: the database does not answer.
        """
        return await self._batches.result_of(Report(request, reported))

    async def _apply_all(self, reports: Sequence[Report]) -> Sequence[UpdateOutcome | None]:
        return await self._database.run(lambda session: apply_reports(session, reports, now=time.time()))


def apply_reports(session: Session, reports: Sequence[Report], *, now: float) -> list[UpdateOutcome | None]:
    """Apply reports inside the caller's transaction. None: this report has to take the long way.

    Raises:
        Conflict: a job is no longer in the state that was read.
    """
    connection = session.connection()
    rows: Iterable[Sequence[Any]] = connection.execute(
        _READ, {"job_ids": list({each.request.job_id for each in reports})}
    )
    found = {row[0]: _Job(*row) for row in rows}
    changes = _Changes(now)
    outcomes = [_apply(found.get(each.request.job_id), each, changes) for each in reports]
    if changes.jobs and _write(connection, list(changes.jobs.values()), now=now) != len(changes.jobs):
        raise Conflict("another call changed the same job at the same time: try again")
    if changes.transitions:
        connection.execute(_ADD, changes.transitions)
        outbox.add_messages(session, changes.messages)
    return outcomes


def _apply(job: _Job | None, report: Report, changes: _Changes) -> UpdateOutcome | None:
    request, reported = report.request, report.reported
    if job is None or job.vin != request.vin or len(request.progress) > job.registered_ecus:
        return None
    # It waits for an approval or its wave, and must not begin: the long way refuses it.
    if job.held:
        return None
    nonce = version_reports.nonce_of(job.vehicle, now=changes.now)
    if request.ecus or request.version_report or nonce is None:
        return None
    effect = judge_update(JobState(job.state), reported, seq=request.transition_seq, taken_seq=job.taken_seq)
    if effect is Effect.REFUSED or (effect is Effect.TRANSITION and is_final(reported)):
        return None
    transition = _move(job, report, changes) if effect is Effect.TRANSITION else None
    if effect is Effect.PROGRESS:
        job.reason = request.reason or job.reason
    if effect is not Effect.REPEAT:
        job.details = _with_progress(job.details, request)
        changes.jobs[job.job_id] = job
    state = JobState(job.state)
    return UpdateOutcome(
        effect=effect,
        campaign_id=job.campaign_id,
        state=state,
        cancel_requested=cancel_is_due(state, asked=job.cancel_asked),
        transition=transition,
        nonce=nonce,
    )


def _move(job: _Job, report: Report, changes: _Changes) -> Transition:
    before, after, reason = JobState(job.state), report.reported, report.request.reason
    job.state, job.reason, job.offered = str(after), reason, True
    # A report without a number has 0. That must not reset the highest number, or old reports would count as new.
    job.taken_seq = max(job.taken_seq, report.request.transition_seq)
    job.transitions += 1
    changes.transitions.append(
        {
            "job_id": job.job_id,
            "number": job.transitions,
            "before": str(before),
            "after": str(after),
            "reason": reason,
            "at": changes.now,
        }
    )
    changes.messages.append(
        outbox.transition_message(vin=job.vin, job_id=job.job_id, state=after, reason=reason, now=changes.now)
    )
    return Transition(
        job_id=job.job_id, vin=job.vin, campaign_id=job.campaign_id, before=before, after=after, reason=reason
    )


def _write(connection: Connection, changed: Sequence[_Job], *, now: float) -> int:
    """Write jobs, and return how many were still in the states that were read."""
    values = [_values(job, now=now) for job in changed]
    if connection.dialect.name != "postgresql":
        return connection.execute(_WRITE, values).rowcount
    lists = {name: [each[name] for each in values] for name in _COLUMNS}
    return connection.execute(_WRITE_ALL, {**lists, "now": now}).rowcount


def _values(job: _Job, *, now: float) -> dict[str, Any]:
    return {
        "key": job.job_id,
        "read_state": job.read_state,
        "new_state": job.state,
        "new_taken_seq": job.taken_seq,
        "new_offered": job.offered,
        "new_reason": job.reason,
        "new_details": job.details,
        "now": now,
    }


def _with_progress(details: bytes, request: ota_pb2.UpdateStatusRequest) -> bytes:
    """Return a job's details with this progress. A report without progress leaves the last one."""
    if not request.progress:
        return details
    kept = ota_pb2.Job.FromString(details)
    del kept.progress[:]
    kept.progress.extend(request.progress)
    return kept.SerializeToString()
