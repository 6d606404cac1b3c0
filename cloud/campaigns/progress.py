"""Apply reports of progress, many in one transaction: almost all reports of a fleet.

    outcome = await writer.apply(request, reported=JobState.DOWNLOADING)
    if outcome is None:
        ...  # it is more than progress: ``status_update.apply``, in a transaction of its own

A report of progress names the job's present state and has no reports of ECUs, nor a version report. It is judged by ``job_rules`` like
every other one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Table, bindparam, func, select, update
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import jobs
from otabench.cloud.campaigns.job_rules import Effect, cancel_is_due, judge_update
from otabench.cloud.campaigns.status_update import UpdateOutcome
from otabench.cloud.store.batches import Batches
from otabench.cloud.store.database import Database
from otabench.cloud.store.schema import EcuRow, JobRow
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState

_JOBS: Final[Table] = JobRow.__table__  # type: ignore[assignment]  # a table, as the class has one
_REGISTERED = select(func.count()).where(EcuRow.vin == JobRow.vin).scalar_subquery()
_READ: Final = select(
    JobRow.job_id,
    JobRow.vin,
    JobRow.campaign_id,
    JobRow.state,
    JobRow.taken_seq,
    JobRow.cancel_asked,
    JobRow.reason,
    JobRow.details,
    _REGISTERED,
).where(JobRow.job_id.in_(bindparam("job_ids", expanding=True)))
_WRITE: Final = (
    update(_JOBS)
    .where(_JOBS.c.job_id == bindparam("key"))
    .values(reason=bindparam("new_reason"), details=bindparam("new_details"), updated_at=bindparam("now"))
)


@dataclass
class _Job:
    """The columns of a job that a report of progress needs."""

    job_id: str
    vin: str
    campaign_id: str
    state: str
    taken_seq: int
    cancel_asked: bool
    reason: str
    details: bytes
    registered_ecus: int


@dataclass(frozen=True)
class Report:
    """A report of a vehicle, and the state that it reports."""

    request: ota_pb2.UpdateStatusRequest
    reported: JobState


class ProgressWriter:
    """The writer of one control plane. Its methods run on the event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batches: Batches[Report, UpdateOutcome | None] = Batches(self._apply_all)

    async def apply(self, request: ota_pb2.UpdateStatusRequest, *, reported: JobState) -> UpdateOutcome | None:
        """Apply a report and return its outcome. Return None, and write nothing, if it is more than progress or has to be refused.

        Raises:
            InvalidRequest: a value cannot be stored.
            Conflict: concurrent changes got in the way.
            NotReady: the database does not answer.
        """
        return await self._batches.result_of(Report(request, reported))

    async def _apply_all(self, reports: Sequence[Report]) -> Sequence[UpdateOutcome | None]:
        return await self._database.run(lambda session: apply_progress(session, reports, now=time.time()))


def apply_progress(session: Session, reports: Sequence[Report], *, now: float) -> list[UpdateOutcome | None]:
    """Apply the reports that are nothing but progress, inside the caller's transaction. None: the report is something else."""
    jobs.lock_vehicles(session, list({each.request.vin for each in reports}))
    rows = session.execute(_READ, {"job_ids": list({each.request.job_id for each in reports})})
    found = {row[0]: _Job(*row) for row in rows}
    changed: dict[str, dict[str, Any]] = {}
    outcomes: list[UpdateOutcome | None] = []
    for report in reports:
        job = found.get(report.request.job_id)
        if job is None or not _is_progress(job, report):
            outcomes.append(None)
            continue
        job.reason = report.request.reason or job.reason
        job.details = _with_progress(job.details, report.request)
        changed[job.job_id] = {"key": job.job_id, "new_reason": job.reason, "new_details": job.details, "now": now}
        state = JobState(job.state)
        outcomes.append(
            UpdateOutcome(
                effect=Effect.PROGRESS,
                campaign_id=job.campaign_id,
                state=state,
                cancel_requested=cancel_is_due(state, asked=job.cancel_asked),
                transition=None,
            )
        )
    if changed:
        session.connection().execute(_WRITE, list(changed.values()))
    return outcomes


def _is_progress(job: _Job, report: Report) -> bool:
    request = report.request
    if request.ecus or request.version_report or job.vin != request.vin or len(request.progress) > job.registered_ecus:
        return False
    effect = judge_update(JobState(job.state), report.reported, seq=request.transition_seq, taken_seq=job.taken_seq)
    return effect is Effect.PROGRESS


def _with_progress(details: bytes, request: ota_pb2.UpdateStatusRequest) -> bytes:
    """Return a job's details with this progress. A report without progress leaves the last one."""
    if not request.progress:
        return details
    kept = ota_pb2.Job.FromString(details)
    del kept.progress[:]
    kept.progress.extend(request.progress)
    return kept.SerializeToString()
