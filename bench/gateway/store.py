"""The gateway's database: jobs, and the reports that the cloud has not answered yet. It is an SQLite file in the state folder.

Rules:

* A transition must be in the shared table (``proto.job_states``).
* A transition, the facts learnt with it and its report to the cloud are one transaction. It is committed before the gateway acts on it.
* Reports are sent in the order of their transitions. A report stays in the outbox until the cloud has answered it.
* At most one job is open. A job is closed when its final state is reached and the work after it (post-programming, removing downloads) is
  done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypedDict

from sqlalchemy import JSON, Engine, create_engine, event, select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from otabench.bench.gateway.errors import StartError
from otabench.proto.job_states import JobState, is_allowed, is_final

_NO_TRANSITION: Final = "job {}: {} to {} is not in the table of transitions"


class Facts(TypedDict, total=False):
    """Facts that are learnt while a job runs; see ``JobRecord``."""

    manifest: bytes
    artifact_base_url: str
    from_versions: dict[str, str]
    campaign_name: str
    asked_at: float
    deferred_until: float | None
    revert_reason: str
    resumes: int


@dataclass(frozen=True)
class JobRecord:
    """One job, as stored on disk."""

    job_id: str
    state: JobState
    seq: int
    """Number of the last transition; 0 while the job is CREATED."""
    reason: str = ""
    created_at: float = 0.0
    """Seconds since 1970, UTC, as all times here. The monotonic clock would not survive a restart of the machine."""
    updated_at: float = 0.0
    closed: bool = False
    campaign_name: str = ""
    manifest: bytes | None = None
    """The Director's Targets that CONFIRMING accepted."""
    artifact_base_url: str = ""
    from_versions: dict[str, str] = field(default_factory=dict)
    """The version that each ECU ran when the manifest was accepted."""
    asked_at: float | None = None
    """When the driver was first asked."""
    deferred_until: float | None = None
    revert_reason: str = ""
    """Why reverting began; empty if it has not begun."""
    resumes: int = 0
    """How often the process was restarted in this state."""


@dataclass(frozen=True)
class Report:
    """One report that waits for the cloud: a serialized ``UpdateStatusRequest``."""

    number: int
    job_id: str
    message: bytes


class _Base(DeclarativeBase):
    pass


class _JobRow(_Base):
    __tablename__ = "jobs"

    job_id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    seq: Mapped[int]
    reason: Mapped[str] = mapped_column(default="")
    created_at: Mapped[float]
    updated_at: Mapped[float]
    closed: Mapped[bool] = mapped_column(default=False)
    campaign_name: Mapped[str] = mapped_column(default="")
    manifest: Mapped[bytes | None]
    artifact_base_url: Mapped[str] = mapped_column(default="")
    from_versions: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    asked_at: Mapped[float | None]
    deferred_until: Mapped[float | None]
    revert_reason: Mapped[str] = mapped_column(default="")
    resumes: Mapped[int] = mapped_column(default=0)


class _ProgressRow(_Base):
    """The progress of a job. It has a separate table, because it changes far more often than the job."""

    __tablename__ = "progress"

    job_id: Mapped[str] = mapped_column(primary_key=True)
    percent: Mapped[int]


class _ActivationRow(_Base):
    """A job whose activation has begun. A table of its own: a database of an earlier version gets it at its next start."""

    __tablename__ = "activations"

    job_id: Mapped[str] = mapped_column(primary_key=True)


class _ReportRow(_Base):
    __tablename__ = "outbox"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    job_id: Mapped[str]
    message: Mapped[bytes]


class Store:
    """The gateway's database. Only the event loop's thread uses it. Every call is one short transaction.

    Raises:
        StartError: the file cannot be opened, or is not a database of this gateway.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._engine = create_engine(f"sqlite:///{path}")
            event.listen(self._engine, "connect", _be_durable)
            _Base.metadata.create_all(self._engine)
        except (OSError, DatabaseError) as error:
            why = error.orig if isinstance(error, DatabaseError) else error
            raise StartError(
                f"state {path}: {why}; if the file is damaged, move it away: the cloud will offer the open job again"
            ) from error

    @property
    def engine(self) -> Engine:
        """The SQLAlchemy engine of the database."""
        return self._engine

    def open_job(self) -> JobRecord | None:
        """Return the job that is not closed, if there is one."""
        with Session(self._engine) as session:
            row = session.scalars(select(_JobRow).where(_JobRow.closed.is_(False))).first()
            return None if row is None else _record(row)

    def job(self, job_id: str) -> JobRecord | None:
        """Return a job by its id."""
        with Session(self._engine) as session:
            row = session.get(_JobRow, job_id)
            return None if row is None else _record(row)

    def adopt(self, job_id: str, *, state: JobState, seq: int, now: float) -> JobRecord:
        """Add a job in the state that the cloud reports.

        Raises:
            ValueError: another job is open.
        """
        with Session(self._engine) as session, session.begin():
            if session.scalars(select(_JobRow).where(_JobRow.closed.is_(False))).first() is not None:
                raise ValueError("another job is open")
            row = _JobRow(job_id=job_id, state=state, seq=seq, created_at=now, updated_at=now)
            session.add(row)
            session.flush()
            return _record(row)

    def transition(
        self,
        job_id: str,
        after: JobState,
        *,
        reason: str,
        now: float,
        facts: Facts,
        report: Callable[[JobRecord], bytes],
    ) -> JobRecord:
        """Write a transition, its facts and its report, all or nothing.

        Args:
            job_id: the job.
            after: its new state.
            reason: why, in one sentence; may be empty.
            now: s since 1970.
            facts: facts to store with the transition.
            report: makes the message for the cloud from the record after the transition.

        Raises:
            ValueError: the transition is not in the shared table.
        """
        with Session(self._engine) as session, session.begin():
            row = session.get_one(_JobRow, job_id)
            if not is_allowed(JobState(row.state), after):
                raise ValueError(_NO_TRANSITION.format(job_id, row.state, after))
            row.state, row.reason, row.updated_at = after, reason, now
            row.seq += 1
            # The limit on resumes applies to one state (``actions.MAX_RESUMES``).
            row.resumes = 0
            _set(row, facts)
            record = _record(row)
            session.add(_ReportRow(job_id=job_id, message=report(record)))
            return record

    def note(self, job_id: str, facts: Facts) -> JobRecord:
        """Store facts of a job without a transition."""
        with Session(self._engine) as session, session.begin():
            row = session.get_one(_JobRow, job_id)
            _set(row, facts)
            return _record(row)

    def progress_percent(self, job_id: str) -> int:
        """Return up to which percent a job's progress may have been shown; 0 if none was noted."""
        with Session(self._engine) as session:
            row = session.get(_ProgressRow, job_id)
            return 0 if row is None else row.percent

    def note_progress(self, job_id: str, percent: int) -> None:
        """Write up to which percent a job's progress may be shown."""
        with Session(self._engine) as session, session.begin():
            session.merge(_ProgressRow(job_id=job_id, percent=percent))

    def is_activation_begun(self, job_id: str) -> bool:
        """Return whether ECUs of the job may have been activated."""
        with Session(self._engine) as session:
            return session.get(_ActivationRow, job_id) is not None

    def note_activation_begun(self, job_id: str) -> None:
        """Write that from now on ECUs of the job may be activated."""
        with Session(self._engine) as session, session.begin():
            session.merge(_ActivationRow(job_id=job_id))

    def close_job(self, job_id: str) -> None:
        """Mark a job as closed, when the work after its final state is done.

        Raises:
            ValueError: the job has not ended.
        """
        with Session(self._engine) as session, session.begin():
            row = session.get_one(_JobRow, job_id)
            if not is_final(JobState(row.state)):
                raise ValueError(f"job {job_id} is {row.state}: it has not ended")
            row.closed = True

    def first_report(self) -> Report | None:
        """Return the oldest report that the cloud has not answered."""
        with Session(self._engine) as session:
            row = session.scalars(select(_ReportRow).order_by(_ReportRow.number).limit(1)).first()
            return None if row is None else Report(row.number, row.job_id, row.message)

    def remove_report(self, number: int) -> None:
        """Remove a report that the cloud has answered."""
        with Session(self._engine) as session, session.begin():
            row = session.get(_ReportRow, number)
            if row is not None:
                session.delete(row)

    def ended_jobs(self, max_jobs: int = 20) -> list[JobRecord]:
        """Return the jobs that ended last, latest first."""
        with Session(self._engine) as session:
            # Jobs that have ended but are not closed yet are part of the history, too.
            finals = [str(state) for state in JobState if is_final(state)]
            rows = session.scalars(
                select(_JobRow).where(_JobRow.state.in_(finals)).order_by(_JobRow.updated_at.desc()).limit(max_jobs)
            )
            return [_record(row) for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()


def _be_durable(connection: Any, _: object) -> None:
    """Make every commit durable: it must survive a power failure right after the call."""
    # With WAL and the usual synchronous=NORMAL, a commit returns without an fsync (seen with strace).
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _set(row: _JobRow, facts: Facts) -> None:
    for name, value in facts.items():
        setattr(row, name, value)


def _record(row: _JobRow) -> JobRecord:
    return JobRecord(
        job_id=row.job_id,
        state=JobState(row.state),
        seq=row.seq,
        reason=row.reason or "",
        created_at=row.created_at,
        updated_at=row.updated_at,
        closed=bool(row.closed),
        campaign_name=row.campaign_name or "",
        manifest=row.manifest,
        artifact_base_url=row.artifact_base_url or "",
        from_versions=dict(row.from_versions or {}),
        asked_at=row.asked_at,
        deferred_until=row.deferred_until,
        revert_reason=row.revert_reason or "",
        resumes=row.resumes or 0,
    )
