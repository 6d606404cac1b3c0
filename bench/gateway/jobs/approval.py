"""WAITING_FOR_APPROVAL: ask the driver, and wait for the decision."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from otabench.bench.gateway.hmi.dashboard import Dashboard
from otabench.bench.gateway.hmi.model import Decision, DecisionRefused
from otabench.bench.gateway.jobs.conditions import VehicleConditions
from otabench.bench.gateway.jobs.job_files import JobFiles
from otabench.bench.gateway.jobs.outcome import Outcome
from otabench.bench.gateway.jobs.states import Event
from otabench.bench.gateway.store import Facts, JobRecord, Store
from otabench.bench.gateway.trust.manifest import Plan
from otabench.proto.trace import TraceWriter

_CLOCK_POLL_S: Final = 5.0
"""Interval between two readings of the wall clock.

The times here must survive a restart, so they are wall-clock times. The wall clock may be set while the gateway waits, and one long wait
would not notice that.
"""
_NOT_YET: Final = "The vehicle does not meet all conditions of this update yet."


class DriverApproval:
    """The action of WAITING_FOR_APPROVAL.

    Args:
        later_s: how long not to ask the driver again after "Later".
        files: the plan of the job, and the free space for its files.
        dashboard: shows the question and returns the driver's decision.
        store: holds the time until which the question is deferred.
        trace: receives each decision.
        conditions: read while the driver is asked; Install now is refused while one is not met.
    """

    def __init__(
        self,
        *,
        later_s: float,
        files: JobFiles,
        dashboard: Dashboard,
        store: Store,
        trace: TraceWriter,
        conditions: VehicleConditions,
    ) -> None:
        self._conditions = conditions
        self._later_s = later_s
        self._files = files
        self._dashboard = dashboard
        self._store = store
        self._trace = trace

    async def ask(self, job: JobRecord) -> Outcome:
        """Return the driver's decision, or TIME_RAN_OUT when the campaign's time for a decision is over."""
        plan = self._files.plan(job)
        limit_s = plan.custom.approval_timeout_s
        ends_at = (job.asked_at or job.updated_at) + limit_s if limit_s > 0 else None
        deferred_until = job.deferred_until
        while True:
            now = time.time()
            if ends_at is not None and now >= ends_at:
                return Outcome(Event.TIME_RAN_OUT, f"the driver did not decide within {limit_s:g} s")
            if deferred_until is not None and now >= deferred_until:
                deferred_until = self._defer(job, None)
            # Nobody looks at the conditions while the question is deferred.
            if deferred_until is None:
                await self._conditions.unmet(job.job_id, plan)
            # Wake for whichever comes first: the end of the campaign's time, the end of "Later", or the next reading of clock and
            # conditions.
            waits_s = [each - now for each in (ends_at, deferred_until) if each is not None]
            poll_s = self._conditions.poll_s if plan.custom.conditions and deferred_until is None else _CLOCK_POLL_S
            try:
                async with asyncio.timeout(min([poll_s, *waits_s])):
                    pending = await self._dashboard.next_decision()
            except TimeoutError:
                continue
            self._trace.emit("driver.decision", job_id=job.job_id, decision=str(pending.decision))
            if pending.decision is Decision.INSTALL:
                # What the page shows may be seconds old.
                if problems := await self._conditions.unmet(job.job_id, plan):
                    self._dashboard.end_decision(DecisionRefused(_NOT_YET, detail="; ".join(problems)))
                    continue
                return self._approve(job, plan)
            if pending.decision is Decision.DECLINE:
                return Outcome(Event.DECLINED, "the driver declined")
            deferred_until = self._defer(job, time.time() + self._later_s)
            # "Later" does not cause a transition, so the driver gets the answer here. ``job_runner`` answers the two other decisions.
            self._dashboard.end_decision()

    def _defer(self, job: JobRecord, until: float | None) -> float | None:
        self._dashboard.show_job(self._store.note(job.job_id, Facts(deferred_until=until)))
        return until

    def _approve(self, job: JobRecord, plan: Plan) -> Outcome:
        # CONFIRMING has checked both, but the driver may have waited for hours.
        if time.time() >= plan.expires_at:
            return Outcome(
                Event.UNABLE, "the manifest expired while it waited for the driver; a new campaign is needed"
            )
        if problem := self._files.room_problem(plan, job.from_versions):
            return Outcome(Event.UNABLE, problem)
        return Outcome(Event.APPROVED)
