"""Changes that control planes tell each other: the texts, and their way through PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from sqlalchemy import text

from otabench.cloud.campaigns.announcer import Announcer
from otabench.cloud.campaigns.change_feed import ChangeFeed, read_text, write_texts
from otabench.cloud.store.database import open_database
from otabench.cloud.store.notifications import MAX_TEXT_BYTES
from tests.cloud.postgres import PostgreSQL

_LIMIT_S = 60.0


def test_texts_hold_all_changes_and_fit() -> None:
    many: set[str | None] = {f"job-{number:060d}" for number in range(250)}
    changes: dict[str, set[str | None]] = {"campaign-1": many, "campaign-2": {"job-1"}}

    texts = list(write_texts("sender", changes))

    found: dict[str, set[str | None]] = {}
    for each in texts:
        sender, campaign_id, job_ids = read_text(each)
        assert sender == "sender"
        found.setdefault(campaign_id, set()).update(job_ids)
    assert found == changes
    assert max(len(each.encode()) for each in texts) <= MAX_TEXT_BYTES


def test_a_change_of_any_job_replaces_those_of_single_jobs() -> None:
    texts = list(write_texts("sender", {"campaign-1": {"job-1", None, "job-2"}}))

    assert [read_text(each) for each in texts] == [("sender", "campaign-1", [None])]


@pytest.mark.parametrize(
    "received", ["", "{", "3", "null", "[]", '["a", "b"]', '["a", 1, []]', '["a", "b", "c"]', '["a", "b", {}]']
)
def test_a_foreign_text_means_no_change(received: str) -> None:
    assert read_text(received)[2] == []


def test_jobs_of_other_kinds_are_left_out() -> None:
    assert read_text(json.dumps(["a", "b", ["job-1", 7, ["job-2"], None]])) == ("a", "b", ["job-1", None])


@asynccontextmanager
async def control_plane(url: str) -> AsyncIterator[Announcer]:
    """The announcements of one control plane, and its feed."""
    database = open_database(url)
    announcer = Announcer(trace=None, notify_outbox=lambda: None)
    feed = asyncio.create_task(ChangeFeed(database, announcer).run())
    try:
        yield announcer
    finally:
        feed.cancel()
        await asyncio.wait({feed})
        database.close()


async def change_until_seen(here: Announcer, there: Announcer, job_id: str) -> None:
    """Announce the change again until the other one has received it: it listens a moment later than its feed starts."""
    with there.watching("campaign-1") as changed:
        seen: set[str] = set()
        async with asyncio.timeout(_LIMIT_S):
            while job_id not in seen:
                here.campaign_changed("campaign-1", job_id=job_id)
                await asyncio.sleep(0.05)
                seen, is_partial = changed.take()
                assert is_partial


@pytest.mark.postgresql
def test_watchers_of_another_control_plane_receive_a_change(postgresql: PostgreSQL) -> None:
    url = postgresql.new_database()

    async def watch() -> None:
        async with AsyncExitStack() as stack:
            first, second = [await stack.enter_async_context(control_plane(url)) for _ in range(2)]
            await change_until_seen(first, second, "job-1")
            # Both ways, and a change that is received is not sent back.
            with first.following() as sent:
                await change_until_seen(second, first, "job-2")
                assert sent.take() == {}

    asyncio.run(watch())


@pytest.mark.postgresql
def test_a_broken_connection_is_made_again(postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgresql.new_database()
    monkeypatch.setattr("otabench.cloud.campaigns.change_feed._RETRY_S", 0.05)
    break_all = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")

    async def watch() -> None:
        async with AsyncExitStack() as stack:
            first, second = [await stack.enter_async_context(control_plane(url)) for _ in range(2)]
            await change_until_seen(first, second, "job-1")
            database = open_database(url)
            stack.callback(database.close)
            await database.run(lambda session: session.execute(break_all))
            await change_until_seen(first, second, "job-2")

    asyncio.run(watch())
