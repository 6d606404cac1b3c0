"""The record of jobs: every step of a job is persisted here, traced, and queued for the cloud.

``JobRunner`` drives the job; this module is all that it writes.
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
"""Called right after a state is on disk, before anything is done in it."""

_LOST_RECORD_SEQ: Final = 1_000_000
"""Number from which the transitions of a job whose record was lost are counted: the cloud has taken lower numbers already."""


def kill_before(state: str) -> Persisted:
    """Return a listener that kills this process (SIGKILL) once that state is persisted; never, if it is empty."""

    def persisted(reached: JobState) -> None:
        if reached == state:
            os.kill(os.getpid(), signal.SIGKILL)

    return persisted


class JobJournal:
    """Writes the jobs of one vehicle."""

    def __init__(self, *, vin: str, store: Store, reporter: Reporter, trace: TraceWriter, persisted: Persisted) -> None:
        self._vin = vin
        self._store = store
        self._reporter = reporter
        self._trace = trace
        self._persisted = persisted

    def adopt(self, job_id: str, state: JobState) -> JobRecord | None:
        """Take on a job that the cloud offers, in the state in which the cloud has it.

        Returns:
            None where there is nothing to take on: the job has ended here, and the cloud will learn of it.
        """
        known = self._store.job(job_id)
        if known is not None:
            if known.closed and self._store.first_report() is None:
                _log.warning("the cloud has job %s as %s; it ended here as %s", job_id, state, known.state)
            return None
        if is_final(state):
            return None
        seq = 0 if state is JobState.CREATED else _LOST_RECORD_SEQ
        job = self._store.adopt(job_id, state=state, seq=seq, now=time.time())
        self._trace.emit("job.adopted", job_id=job_id, state=str(state))
        self._persisted(job.state)
        return job

    def resume(self, job: JobRecord) -> JobRecord:
        """Record that another process goes on with the job."""
        job = self._store.note(job.job_id, Facts(resumes=job.resumes + 1))
        self._trace.emit("job.resumed", job_id=job.job_id, state=str(job.state), resumes=job.resumes)
        _log.info("job %s goes on in %s", job.job_id, job.state)
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
            job: as it was.
            after: the new state.
            outcome: what led to it.
            progress: of each ECU, for the report.
            identities: what the ECUs run, for the report; None where it is not known.
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
        self._persisted(after)
        return moved

    def announce(self) -> None:
        """Let the reporter send what ``transition`` has queued."""
        self._reporter.wake()

    def close(self, job: JobRecord) -> list[JobRecord]:
        """Close a job that has ended, and return the jobs that ended, latest first."""
        self._store.close_job(job.job_id)
        return self._store.ended_jobs()
