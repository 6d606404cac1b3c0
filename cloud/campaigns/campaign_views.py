"""Campaigns as operators watch them: one view for all watchers of a campaign, kept up to date job by job.

    async with views.watching("campaign-1") as watcher:
        message = watcher.whole()
        while await watcher.wait():
            message = watcher.whole()  # or watcher.changes()

Rules:

* A change reads the jobs that have changed, and nothing else. Counts are kept, not counted again.
* Changes of this control plane arrive by the announcer; on PostgreSQL those of the others, too (``change_feed``). What does not arrive is
  found once a second, by the jobs' times of change.
* A view rests after it has read, so reading takes a tenth of the time at most, however many jobs change.

All methods run on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import jobs
from otabench.cloud.campaigns.announcer import Announcer, ChangedJobs
from otabench.cloud.store.database import Database
from otabench.cloud.store.schema import JobRow
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState, from_wire, is_final

_POLL_S: Final = 1.0
"""How often a view looks for changes that other control planes have made."""
_REST_FACTOR: Final = 9
_MAX_REST_S: Final = 10.0
_CHUNK: Final = 500
"""Jobs of one statement."""


class Watcher:
    """One watcher of a view. A watcher that reads slowly does not delay the others: it misses what is out of date anyway."""

    def __init__(self, view: _View) -> None:
        self._view = view
        self.changed: set[str] = set()
        self.rollout_changed = False
        self.event = asyncio.Event()

    @property
    def share(self) -> float:
        """By how many the watchers of the view share what watching may take of the control plane's time."""
        return float(self._view.count_watchers())

    async def wait(self) -> bool:
        """Wait for a change, and return True. Return False if there will be none, because all jobs have ended.

        Raises:
            RequestError: the database cannot be read.
        """
        if not self._has_news and self._view.is_over:
            return False
        while not self._has_news:
            await self.event.wait()
            self.event.clear()
            self._view.raise_error()
        return True

    @property
    def _has_news(self) -> bool:
        return bool(self.changed) or self.rollout_changed

    def whole(self) -> ota_pb2.Campaign:
        """Return the campaign with all jobs. It is the view's own message: use it before the next await."""
        self.changed.clear()
        self.rollout_changed = False
        return self._view.message

    def changes(self) -> ota_pb2.Campaign:
        """Return the campaign with the jobs that have changed since the last call."""
        changed, self.changed = self.changed, set()
        self.rollout_changed = False
        return self._view.part(changed)


class CampaignViews:
    """The views of one control plane: one for each campaign that somebody watches."""

    def __init__(self, database: Database, announcer: Announcer) -> None:
        self._database = database
        self._announcer = announcer
        self._views: dict[str, _View] = {}

    @asynccontextmanager
    async def watching(self, campaign_id: str) -> AsyncIterator[Watcher]:
        """Watch a campaign while the block runs.

        Raises:
            UnknownThing: the campaign does not exist.
            NotReady: the database does not answer.
        """
        view = self._views.get(campaign_id)
        if view is None or view.has_failed:
            view = self._views[campaign_id] = _View(self._database, self._announcer, campaign_id)
        watcher = view.add_watcher()
        try:
            await view.wait_until_loaded()
            yield watcher
        finally:
            if view.remove_watcher(watcher) and self._views.get(campaign_id) is view:
                del self._views[campaign_id]


class _View:
    """One campaign and its watchers. It lives as long as it has some."""

    def __init__(self, database: Database, announcer: Announcer, campaign_id: str) -> None:
        self._database, self._announcer, self._campaign_id = database, announcer, campaign_id
        self._watchers: set[Watcher] = set()
        self._places: dict[str, int] = {}
        self._counts: Counter[JobState] = Counter()
        self._loaded = asyncio.Event()
        self._error: Exception | None = None
        self.message = ota_pb2.Campaign()
        self._task = asyncio.create_task(self._run())

    @property
    def is_over(self) -> bool:
        """Whether all jobs have ended."""
        return all(is_final(state) for state, number in self._counts.items() if number)

    @property
    def has_failed(self) -> bool:
        """Whether the view has ended with an error."""
        return self._error is not None

    def raise_error(self) -> None:
        """Raise the error that has ended the view, if there is one."""
        if self._error is not None:
            raise self._error

    async def wait_until_loaded(self) -> None:
        await self._loaded.wait()
        self.raise_error()

    def count_watchers(self) -> int:
        return len(self._watchers)

    def add_watcher(self) -> Watcher:
        watcher = Watcher(self)
        self._watchers.add(watcher)
        return watcher

    def remove_watcher(self, watcher: Watcher) -> bool:
        """Remove a watcher. If it was the last one, end the view and return True."""
        self._watchers.discard(watcher)
        if self._watchers:
            return False
        self._task.cancel()
        return True

    def part(self, job_ids: Iterable[str]) -> ota_pb2.Campaign:
        """Return the campaign with some of its jobs, in the order of its vehicles."""
        places = sorted(self._places[job_id] for job_id in job_ids)
        return ota_pb2.Campaign(
            campaign_id=self._campaign_id,
            name=self.message.name,
            created_at=self.message.created_at,
            created_by=self.message.created_by,
            needs_approval=self.message.needs_approval,
            approved_by=self.message.approved_by,
            approved_at=self.message.approved_at,
            jobs=[self.message.jobs[place] for place in places],
            counts=self.message.counts,
            rollout=self.message.rollout if self.message.HasField("rollout") else None,
        )

    async def _run(self) -> None:
        try:
            # First, so that no change is lost that happens while the campaign is read.
            with self._announcer.watching(self._campaign_id) as changed:
                await self._load()
                await self._follow(changed)
        except Exception as error:  # noqa: BLE001 (the watchers raise it)
            self._error = error
            self._loaded.set()
            for watcher in self._watchers:
                watcher.event.set()

    async def _load(self) -> None:
        self.message = await self._database.read(lambda session: jobs.campaign_message(session, self._campaign_id))
        self._places = {job.job_id: place for place, job in enumerate(self.message.jobs)}
        self._counts = Counter({from_wire(each.state): each.jobs for each in self.message.counts})
        self._loaded.set()

    async def _follow(self, changed: ChangedJobs) -> None:
        polled = time.monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, polled + _POLL_S - time.monotonic())):
                    await changed.event.wait()
            began = time.monotonic()
            job_ids, is_partial = changed.take()
            if not is_partial or began - polled >= _POLL_S:
                polled = began
                job_ids |= await self._database.read(self._find_changes)
            await self._refresh(sorted(job_ids & self._places.keys()))
            # A large campaign takes long to read. Its watchers must not keep the database from the vehicles.
            await asyncio.sleep(min((time.monotonic() - began) * _REST_FACTOR, _MAX_REST_S))

    def _find_changes(self, session: Session) -> set[str]:
        """Return the jobs whose times of change are not those of the view."""
        # Not only later times: the clocks of control planes may differ.
        times = session.execute(
            select(JobRow.job_id, JobRow.updated_at)
            .where(JobRow.campaign_id == self._campaign_id)
            .order_by(JobRow.position)
        )
        known = self.message.jobs
        return {job_id for (job_id, at), job in zip(times, known, strict=True) if at != job.updated_at}

    async def _refresh(self, job_ids: list[str]) -> None:
        changed = set()
        for start in range(0, len(job_ids), _CHUNK):
            fresh = await self._read_jobs(job_ids[start : start + _CHUNK])
            changed |= {job.job_id for job in fresh if self._replace(job)}
        rollout_changed = await self._refresh_rollout()
        if not changed and not rollout_changed:
            return
        # An approval changes its jobs, too, so it is seen here.
        if self.message.needs_approval and not self.message.approved_by:
            head = await self._database.read(
                lambda session: jobs.campaign_message(session, self._campaign_id, with_jobs=False)
            )
            self.message.approved_by, self.message.approved_at = head.approved_by, head.approved_at
        del self.message.counts[:]
        self.message.counts.extend(jobs.count_messages(self._counts))
        for watcher in self._watchers:
            watcher.changed |= changed
            watcher.rollout_changed |= rollout_changed
            watcher.event.set()

    async def _refresh_rollout(self) -> bool:
        """Read how far the roll-out has come. Return whether that has changed: a pause changes no job."""
        if not self.message.HasField("rollout"):
            return False
        head = await self._database.read(
            lambda session: jobs.campaign_message(session, self._campaign_id, with_jobs=False)
        )
        if head.rollout == self.message.rollout:
            return False
        self.message.rollout.CopyFrom(head.rollout)
        return True

    async def _read_jobs(self, job_ids: Sequence[str]) -> Sequence[ota_pb2.Job]:
        return await self._database.read(lambda session: jobs.job_messages(session, self._campaign_id, job_ids))

    def _replace(self, fresh: ota_pb2.Job) -> bool:
        """Put a job into the view. Return whether it differs from what was there."""
        held = self.message.jobs[self._places[fresh.job_id]]
        if fresh == held:
            return False
        self._counts[from_wire(held.state)] -= 1
        self._counts[from_wire(fresh.state)] += 1
        held.CopyFrom(fresh)
        return True
