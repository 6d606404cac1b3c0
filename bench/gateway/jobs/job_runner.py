"""Drives one job at a time through its states: act, write down, tell, act again.

The order is fixed: the outcome of an action is persisted, with its report to the cloud, before the next action begins. A process that
dies anywhere leaves a state on disk whose action simply begins again. Until ACTIVATING, the cloud may end a job from outside: by a
cancel or a timeout.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable

from otabench.bench.gateway.cloud.reporter import Reporter, status_request
from otabench.bench.gateway.hmi.dashboard import Dashboard
from otabench.bench.gateway.jobs.actions import Actions, Outcome
from otabench.bench.gateway.jobs.identities import Identities
from otabench.bench.gateway.jobs.states import Event, can_be_given_up, is_way_back_needed, next_state
from otabench.bench.gateway.store import Facts, JobRecord, Store
from otabench.bench.gateway.vehicle import EcuProgress
from otabench.bench.uds.errors import FlashError
from otabench.proto.job_states import JobState, is_final
from otabench.proto.trace import TraceWriter

_log = logging.getLogger("gateway.job")

Persisted = Callable[[JobState], None]
"""Called right after a state is on disk, before anything is done in it."""

_LOST_RECORD_SEQ = 1_000_000
"""Transitions of a job whose record was lost count from here: the cloud has taken lower numbers already."""


def kill_before(state: str) -> Persisted:
    """Kill this process (SIGKILL) once that state is persisted; never, if it is empty."""

    def persisted(reached: JobState) -> None:
        if reached == state:
            os.kill(os.getpid(), signal.SIGKILL)

    return persisted


class JobRunner:
    """Runs the gateway's jobs."""

    def __init__(
        self,
        *,
        vin: str,
        store: Store,
        actions: Actions,
        reporter: Reporter,
        dashboard: Dashboard,
        identities: Identities,
        trace: TraceWriter,
        persisted: Persisted,
    ) -> None:
        self._vin = vin
        self._store = store
        self._actions = actions
        self._reporter = reporter
        self._dashboard = dashboard
        self._identities = identities
        self._trace = trace
        self._persisted = persisted
        self._progress: dict[str, EcuProgress] = {}
        self._current: JobRecord | None = None
        self._given_up: asyncio.Future[Outcome] | None = None

    @property
    def current(self) -> JobRecord | None:
        """The job that runs."""
        return self._current

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

    def give_up(self, job_id: str, event: Event, reason: str) -> None:
        """End the job if it is the one that runs and its state still allows it."""
        job, given_up = self._current, self._given_up
        if job is None or given_up is None or job.job_id != job_id or given_up.done():
            return
        if can_be_given_up(job.state):
            given_up.set_result(Outcome(event, reason))

    def progressed(self, progress: EcuProgress) -> None:
        """Record an ECU's progress."""
        self._progress[progress.ecu] = progress
        self._dashboard.show_progress(progress)
        self._reporter.progressed(progress)

    async def run(self, job: JobRecord, *, is_resumed: bool = False) -> None:
        """Drive the job to its end and close it.

        Args:
            job: as it stands on disk.
            is_resumed: another process began it.
        """
        self._progress.clear()
        self._reporter.job_began()
        self._given_up = asyncio.get_running_loop().create_future()
        if is_resumed:
            job = self._store.note(job.job_id, Facts(resumes=job.resumes + 1))
            self._trace.emit("job.resumed", job_id=job.job_id, state=str(job.state), resumes=job.resumes)
            _log.info("job %s goes on in %s", job.job_id, job.state)
        self._current = job
        self._actions.show(job)
        while not is_final(job.state):
            job = await self._move(job, await self._act(job))
        await self._close(job)
        self._current = None

    async def _act(self, job: JobRecord) -> Outcome:
        """Return the state's action, unless the job is given up meanwhile."""
        assert self._given_up is not None
        if not can_be_given_up(job.state):
            return await self._actions.act(job)
        action = asyncio.ensure_future(self._actions.act(job))
        try:
            await asyncio.wait({action, self._given_up}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            action.cancel()
            raise
        if not self._given_up.done():
            return action.result()
        action.cancel()
        await asyncio.wait({action})
        if not action.cancelled() and (problem := action.exception()) is not None:
            raise problem
        return self._given_up.result()

    async def _move(self, job: JobRecord, outcome: Outcome) -> JobRecord:
        after = next_state(job.state, outcome.event)
        identities = outcome.identities
        if identities is not None:
            self._identities.learned(identities)
        elif is_final(after) and (job.state is JobState.INSTALLING or is_way_back_needed(job.state)):
            try:
                identities = await self._identities.refresh()
            except FlashError:
                identities = None  # the ECU that failed is silent; the reason says so
        progress = dict(self._progress) if is_final(after) else {}
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
        self._current = moved
        self._trace.emit(
            "job.state",
            job_id=job.job_id,
            **{"from": str(job.state), "to": str(after), "reason": outcome.reason},
        )
        _log.info("job %s: %s to %s%s", job.job_id, job.state, after, f": {outcome.reason}" if outcome.reason else "")
        self._persisted(after)
        self._actions.show(moved)
        self._dashboard.end_decision("" if outcome.event in (Event.APPROVED, Event.DECLINED) else _too_late(moved))
        self._reporter.transition_written()
        return moved

    async def _close(self, job: JobRecord) -> None:
        await self._actions.finish(job)
        self._store.close_job(job.job_id)
        self._dashboard.show_history(self._store.ended_jobs())


def _too_late(job: JobRecord) -> str:
    return f"The update is {job.state} now" + (f": {job.reason}." if job.reason else ".")
