"""Watched campaigns: one view for all watchers, which changes job by job and always agrees with the database."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import campaign_views, jobs
from otabench.cloud.campaigns.announcer import Announcer
from otabench.cloud.campaigns.campaign_views import CampaignViews, Watcher
from otabench.cloud.errors import NotReady, UnknownThing
from otabench.cloud.store.database import Database, open_database
from otabench.cloud.store.schema import JobRow
from otabench.proto import ota_pb2
from otabench.proto.job_states import FINAL_STATES, JobState
from tests.cloud.campaigns.test_hot_path import add_jobs

JOBS = 30


@pytest.fixture(autouse=True)
def short_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign_views, "_POLL_S", 0.05)


def set_state(job: int, state: JobState) -> Callable[[Session], Any]:
    values = {"state": state, "updated_at": time.time()}
    return lambda session: session.execute(update(JobRow).where(JobRow.job_id == f"job-{job}").values(**values))


async def wait_for(watcher: Watcher) -> bool:
    async with asyncio.timeout(20):
        return await watcher.wait()


async def shows(watcher: Watcher, message: ota_pb2.Campaign) -> None:
    """Wait until the watcher's campaign is that message."""
    async with asyncio.timeout(20):
        while watcher.whole() != message:
            assert await watcher.wait()


def test_a_view_agrees_with_the_database_after_any_changes(database_url: str) -> None:
    database = open_database(database_url)
    database.run_now(lambda session: add_jobs(session, JOBS))
    chance = random.Random(12)

    async def run() -> None:
        announcer = Announcer(trace=None, notify_outbox=lambda: None)
        views = CampaignViews(database, announcer)
        async with views.watching("c") as watcher, views.watching("c") as second:
            assert watcher.whole() is second.whole(), "all watchers share one view"
            for _ in range(40):
                job, state = chance.randrange(JOBS), chance.choice(list(JobState)[:7])
                await database.run(set_state(job, state))
                # Half of the changes are of another control plane, which announces nothing here.
                if chance.random() < 0.5:
                    announcer.campaign_changed("c", job_id=f"job-{job}")
            held = await database.read(lambda session: jobs.campaign_message(session, "c"))
            await shows(watcher, held)
            counts = await database.read(lambda session: jobs.count_states(session, "c"))
            assert list(second.whole().counts) == jobs.count_messages(counts)

    asyncio.run(run())
    database.close()


def test_a_change_reads_and_sends_only_its_job(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    database = open_database(f"sqlite:///{tmp_path}/cloud.db")
    database.run_now(lambda session: add_jobs(session, JOBS))
    read: list[list[str]] = []
    whole = jobs.job_messages

    def noted(session: Session, campaign_id: str, job_ids: Any = None) -> list[ota_pb2.Job]:
        read.append([] if job_ids is None else list(job_ids))
        return whole(session, campaign_id, job_ids)

    monkeypatch.setattr(jobs, "job_messages", noted)

    async def run() -> ota_pb2.Campaign:
        announcer = Announcer(trace=None, notify_outbox=lambda: None)
        views = CampaignViews(database, announcer)
        async with views.watching("c") as watcher, views.watching("c"), views.watching("c"):
            watcher.whole()
            await database.run(set_state(7, JobState.INSTALLING))
            announcer.campaign_changed("c", job_id="job-7")
            assert await wait_for(watcher)
            return watcher.changes()

    changed = asyncio.run(run())
    database.close()

    assert [job.job_id for job in changed.jobs] == ["job-7"]
    assert {each.state: each.jobs for each in changed.counts} == {
        ota_pb2.JOB_STATE_DOWNLOADING: JOBS - 1,
        ota_pb2.JOB_STATE_INSTALLING: 1,
    }
    assert read == [[], ["job-7"]], "three watchers, one reading of all jobs, one of the changed job"


def test_the_last_change_is_seen_before_the_end(tmp_path: Any) -> None:
    database = open_database(f"sqlite:///{tmp_path}/cloud.db")
    database.run_now(lambda session: add_jobs(session, 2))

    async def run() -> list[int]:
        announcer = Announcer(trace=None, notify_outbox=lambda: None)
        seen = []
        async with CampaignViews(database, announcer).watching("c") as watcher:
            seen.append(len(watcher.whole().counts))
            for job, state in enumerate((JobState.SUCCEEDED, JobState.FAILED)):
                assert state in FINAL_STATES
                await database.run(set_state(job, state))
                announcer.campaign_changed("c", job_id=f"job-{job}")
                assert await wait_for(watcher)
                seen.append(len(watcher.changes().counts))
            assert not await wait_for(watcher)
        return seen

    assert asyncio.run(run()) == [1, 2, 2]
    database.close()


def test_a_view_that_cannot_be_read_ends_its_watchers_with_the_reason(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(f"sqlite:///{tmp_path}/cloud.db")
    database.run_now(lambda session: add_jobs(session, 2))

    async def fail(self: Database, work: object) -> None:
        raise NotReady("the database does not answer")

    async def run() -> None:
        announcer = Announcer(trace=None, notify_outbox=lambda: None)
        views = CampaignViews(database, announcer)
        with pytest.raises(UnknownThing, match="no campaign 'x'"):
            async with views.watching("x"):
                pass
        with pytest.raises(NotReady):
            async with views.watching("c") as watcher:
                watcher.whole()
                with monkeypatch.context() as patched:
                    patched.setattr(Database, "read", fail)
                    await wait_for(watcher)
        # and: the next watcher begins anew
        async with views.watching("c") as watcher:
            assert len(watcher.whole().jobs) == 2

    asyncio.run(run())
    database.close()
