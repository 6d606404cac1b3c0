"""The record of jobs: persist every step of a job, trace it, and queue its report to the cloud.

``JobRunner`` drives the job, and writes only through this module.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Final

from otabench.bench.gateway.cloud.reporter import Reporter, status_request
from otabench.bench.gateway.jobs.outcome import Outcome
from otabench.bench.gateway.store import Facts, JobRecord, Store
from otabench.bench.gateway.vehicle import EcuProgress
from otabench.bench.uds.identity import EcuIdentity
from otabench.proto.job_states import JobState, is_final
from otabench.proto.trace import TraceWriter

_log = logging.getLogger("gateway.job")

Persisted = Callable[[JobState], None]
"""Called right after a state was stored on disk, before the action of that state starts."""

_LOST_RECORD_SEQ: Final = 1_000_000
"""First transition number of a job whose record was lost in the gateway.

The cloud ignores transitions with numbers that it has received already, so the numbers must be higher than any before.
"""


def kill_before(state: str) -> Persisted:
    """Return a listener that kills this process (SIGKILL) as soon as ``state`` is persisted. With an empty state it does nothing."""

    def persisted(reached: JobState) -> None:
        if reached == state:
            # SIGKILL, because nothing may run afterwards: no ``finally``, no buffered write. That is what a power cut does.
            os.kill(os.getpid(), signal.SIGKILL)

    return persisted


class JobJournal:
    """The writer of one vehicle's jobs."""

    def __init__(self, *, vin: str, store: Store, reporter: Reporter, trace: TraceWriter, persisted: Persisted) -> None:
        self._vin = vin
        self._store = store
        self._reporter = reporter
        self._trace = trace
        self._persisted = persisted

    def adopt(self, job_id: str, state: JobState) -> JobRecord | None:
        """Add a job that the cloud offers, in the state that the cloud reports.

        Returns:
            the new record; or None if the job is in the store already or has ended. The outbox reports the end of a job to the cloud.
        """
        known = self._store.job(job_id)
        if known is not None:
            if known.closed and self._store.first_report() is None:
                _log.warning("the cloud reports job %s as %s, but it ended here as %s", job_id, state, known.state)
            return None
        if is_final(state):
            return None
        # A job beyond CREATED has been reported before, so this gateway must have lost its database.
        seq = 0 if state is JobState.CREATED else _LOST_RECORD_SEQ
        job = self._store.adopt(job_id, state=state, seq=seq, now=time.time())
        self._trace.emit("job.adopted", job_id=job_id, state=str(state))
        self._persisted(job.state)
        return job

    def resume(self, job: JobRecord) -> JobRecord:
        """Record that this process resumes a job that another process has started."""
        job = self._store.note(job.job_id, Facts(resumes=job.resumes + 1))
        self._trace.emit("job.resumed", job_id=job.job_id, state=str(job.state), resumes=job.resumes)
        _log.info("job %s resumes in %s", job.job_id, job.state)
        return job

    def transition(
        self,
        job: JobRecord,
        after: JobState,
        outcome: Outcome,
        *,
        progress: Mapping[str, EcuProgress],
        identities: Mapping[str, EcuIdentity] | None,
    ) -> JobRecord:
        """Write a transition together with its report to the cloud.

        Args:
            job: the job before the transition.
            after: its new state.
            outcome: the outcome that causes the transition.
            progress: the progress of each ECU, for the report.
            identities: what the ECUs run, for the report. None: not known.
        """
        moved = self._store.transition(
            job.job_id,
            after,
            reason=outcome.reason,
            now=time.time(),
            facts=outcome.facts,
            report=lambda record: status_request(
                self._vin, record, progress=progress, identities=identities
            ).SerializeToString(),
        )
        self._trace.emit(
            "job.state", job_id=job.job_id, **{"from": str(job.state), "to": str(after), "reason": outcome.reason}
        )
        _log.info("job %s: %s to %s%s", job.job_id, job.state, after, f": {outcome.reason}" if outcome.reason else "")
        # Last, after disk, trace and log: tests kill the process here.
        self._persisted(after)
        return moved

    def announce(self) -> None:
        """Wake the reporter, so that it sends the report that ``transition`` has queued."""
        self._reporter.wake()

    def close(self, job: JobRecord) -> list[JobRecord]:
        """Close a job that has ended. Return the jobs that ended last, latest first."""
        self._store.close_job(job.job_id)
        return self._store.ended_jobs()
