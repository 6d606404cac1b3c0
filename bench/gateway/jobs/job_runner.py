"""Drive one job at a time through its states: run the state's action, persist the outcome, show it, and repeat.

Rules:

* The outcome of an action is persisted, together with its report to the cloud, before the next action starts. So a process that dies at any
  point leaves a state on disk, and the action of that state starts again.
* Until ACTIVATING, the cloud may end a job by a cancel or a timeout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from otabench.bench.gateway.hmi.dashboard import Dashboard
from otabench.bench.gateway.hmi.model import Decision, DecisionRefused, Refusal
from otabench.bench.gateway.jobs.actions import Actions
from otabench.bench.gateway.jobs.identities import Identities
from otabench.bench.gateway.jobs.job_progress import JobProgress
from otabench.bench.gateway.jobs.job_view import JobView
from otabench.bench.gateway.jobs.journal import JobJournal
from otabench.bench.gateway.jobs.outcome import Outcome
from otabench.bench.gateway.jobs.states import Event, can_be_given_up, is_way_back_needed, next_state
from otabench.bench.gateway.store import JobRecord
from otabench.bench.uds.errors import FlashError
from otabench.bench.uds.identity import EcuIdentity
from otabench.proto.job_states import JobState, is_final

_CARRIED_OUT: Final = {
    Event.APPROVED: (Decision.INSTALL,),
    Event.DOWNLOADED: (Decision.INSTALL,),
    Event.DECLINED: (Decision.DECLINE,),
    Event.CANCELED: (Decision.CANCEL,),
}
"""The driver's decisions that a transition carries out. Any other decision that still waits for an answer came too late."""


class JobRunner:
    """The runner of the gateway's jobs."""

    def __init__(
        self,
        *,
        actions: Actions,
        journal: JobJournal,
        view: JobView,
        progress: JobProgress,
        dashboard: Dashboard,
        identities: Identities,
    ) -> None:
        self._actions = actions
        self._journal = journal
        self._view = view
        self._progress = progress
        self._dashboard = dashboard
        self._identities = identities
        self._current: JobRecord | None = None
        self._given_up: asyncio.Future[Outcome] | None = None
        dashboard.listen_for_cancel(lambda job_id: self.give_up(job_id, Event.CANCELED, "the driver canceled"))

    def give_up(self, job_id: str, event: Event, reason: str) -> None:
        """End a job. Do nothing if it is not the running job, or if its state no longer allows it."""
        job, given_up = self._current, self._given_up
        if job is None or given_up is None or job.job_id != job_id or given_up.done():
            return
        if can_be_given_up(job.state):
            given_up.set_result(Outcome(event, reason))

    async def run(self, job: JobRecord, *, is_resumed: bool = False) -> None:
        """Drive the job to its end and close it.

        Args:
            job: the job, as stored on disk.
            is_resumed: whether another process has started it.
        """
        self._progress.begin(job)
        self._given_up = asyncio.get_running_loop().create_future()
        if is_resumed:
            job = self._journal.resume(job)
        self._current = job
        self._view.show(job)
        while not is_final(job.state):
            job = await self._move(job, await self._act(job))
        await self._actions.finish(job)
        self._dashboard.show_history(self._journal.close(job))
        self._current = None

    async def _act(self, job: JobRecord) -> Outcome:
        """Return the outcome of the state's action, unless the job is given up meanwhile."""
        assert self._given_up is not None
        if not can_be_given_up(job.state):
            # From ACTIVATING on nothing ends the action from outside: half of the ECUs may run the new image already.
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
        # An action may need a while to end. INSTALLING returns only after the transfer to the current ECU has stopped.
        await asyncio.wait({action})
        if not action.cancelled() and (problem := action.exception()) is not None:
            raise problem
        return self._given_up.result()

    async def _move(self, job: JobRecord, outcome: Outcome) -> JobRecord:
        after = next_state(job.state, outcome.event)
        moved = self._journal.transition(
            job,
            after,
            outcome,
            identities=await self._read_identities(job, after, outcome),
            progress=dict(self._progress.latest) if is_final(after) else {},
        )
        self._current = moved
        self._view.show(moved)
        # Answer the driver only now, when the effect of the decision is on disk. A gateway that dies earlier must not have confirmed it.
        pending = self._dashboard.pending
        done = pending is not None and pending in _CARRIED_OUT.get(outcome.event, ())
        self._dashboard.end_decision(None if done else _too_late(moved, pending))
        self._journal.announce()
        return moved

    async def _read_identities(
        self, job: JobRecord, after: JobState, outcome: Outcome
    ) -> Mapping[str, EcuIdentity] | None:
        """Return what the ECUs run, for the report of a transition. Return None if that has not changed or cannot be read."""
        if outcome.identities is not None:
            self._identities.record(outcome.identities)
            return outcome.identities
        # Only these transitions change what an ECU runs.
        if not is_final(after) or not (job.state is JobState.INSTALLING or is_way_back_needed(job.state)):
            return None
        try:
            return await self._identities.refresh()
        except FlashError:
            # The failed ECU is silent. The reason of the outcome contains that already.
            return None


def _too_late(job: JobRecord, decision: Decision | None) -> DecisionRefused:
    detail = f"it is {job.state} now" + (f": {job.reason}" if job.reason else "")
    if decision is Decision.CANCEL:
        return DecisionRefused("This update can no longer be canceled.", kind=Refusal.NO_RETURN, detail=detail)
    return DecisionRefused("This update is no longer offered.", kind=Refusal.GONE, detail=detail)
