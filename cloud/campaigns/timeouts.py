"""End jobs whose vehicles have been silent for too long, so that a vehicle that never comes back does not stay busy for ever.

    await TimeoutKeeper(database=database, announcer=announcer, limits={JobState.DOWNLOADING: 86_400}).run()

* A limit belongs to a state. Its time runs from the last report of the job, progress included, or from the job's creation.
* Until INSTALLING has ended a job ends as TIMED_OUT. Later the vehicle may run the new images or not: it ends as FAILED.
* Every control plane looks for overdue jobs. A job that two of them find is ended once (``jobs.move``).

A vehicle that comes back has its report refused, and learns the state at its next check-in. It may have a new job by then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Final

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import jobs
from otabench.cloud.campaigns.announcer import Announcer
from otabench.cloud.campaigns.jobs import Transition
from otabench.cloud.errors import RequestError
from otabench.cloud.store.database import Database
from otabench.cloud.store.schema import JobRow
from otabench.proto.job_states import JobState, is_allowed

_BATCH: Final = 100
"""So many jobs end in one transaction, so that vehicles are answered in between."""
_MAX_INTERVAL_S: Final = 10.0
_log = logging.getLogger(__name__)


def end_overdue_jobs(session: Session, limits: Mapping[JobState, float], *, now: float) -> list[Transition]:
    """End jobs without a report within the limit of their state, at most one batch. Return their transitions."""
    overdue = _overdue(limits, now=now)
    vins = session.scalars(select(JobRow.vin).where(overdue).limit(_BATCH)).all()
    if not vins:
        return []
    jobs.lock_vehicles(session, vins)
    # Read the jobs under the lock only: a vehicle may have reported a moment ago.
    transitions = []
    for job in session.scalars(select(JobRow).where(overdue, JobRow.vin.in_(vins))):
        state = JobState(job.state)
        after = JobState.TIMED_OUT if is_allowed(state, JobState.TIMED_OUT) else JobState.FAILED
        reason = f"no report in {state} for {limits[state]:g} s: ended by the cloud"
        transitions.append(jobs.move(session, job, after, reason=reason, now=now))
    return transitions


class TimeoutKeeper:
    """The task of one control plane that ends overdue jobs. Without limits it does nothing."""

    def __init__(self, *, database: Database, announcer: Announcer, limits: Mapping[JobState, float]) -> None:
        self._database = database
        self._announcer = announcer
        self._limits = limits

    async def run(self) -> None:
        """Look for overdue jobs until canceled."""
        if not self._limits:
            return
        interval_s = min(_MAX_INTERVAL_S, min(self._limits.values()) / 4)
        while True:
            try:
                ended = await self._database.run(
                    lambda session: end_overdue_jobs(session, self._limits, now=time.time())
                )
            except RequestError as error:
                _log.warning("timeouts: %s", error)
                ended = []
            for transition in ended:
                self._announcer.job_moved(transition)
            if len(ended) < _BATCH:
                await asyncio.sleep(interval_s)


def _overdue(limits: Mapping[JobState, float], *, now: float) -> ColumnElement[bool]:
    silent = or_(*(and_(JobRow.state == state, JobRow.updated_at < now - limit) for state, limit in limits.items()))
    # A held job waits for an approver or its wave, and not for its vehicle.
    return and_(JobRow.held.is_(False), silent)
