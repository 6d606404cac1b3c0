"""The stream of states over a real socket: in order, resumed where it broke, alive when idle, gone when either side is."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import fastapi.routing
import httpx
import pytest

from otabench.bench.gateway.hmi.pairing import Pairing
from otabench.bench.gateway.hmi.server import HmiPortError, HmiServer
from otabench.proto.job_states import JobState
from tests.bench.gateway.hmi.memory_model import OFFER, MemoryModel
from tests.bench.gateway.hmi.serving import CODE
from tests.stalls import within
from tests.waiting import PATIENCE_S

BEARER = {"Authorization": f"Bearer {CODE}"}

Events = AsyncIterator[dict[str, str]]


async def events_of(response: httpx.Response) -> Events:
    """Return the stream's blocks: field to value; comments under ''."""
    block: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            field, _, value = line.partition(":")
            block[field] = value.strip()
        elif block:
            yield block
            block = {}


async def next_state(events: Events) -> tuple[str, dict[str, Any]]:
    async for block in events:
        if block.get("event") == "state":
            return block["id"], json.loads(block["data"])
    raise AssertionError("the stream ended")


async def until_true(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def over_socket(model: MemoryModel, story: Callable[[httpx.AsyncClient, HmiServer], Awaitable[None]]) -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(PATIENCE_S),
            HmiServer(model, Pairing(CODE), port=0) as server,
            httpx.AsyncClient(base_url=server.url, headers=BEARER, trust_env=False) as client,
        ):
            await story(client, server)

    asyncio.run(main())


def test_states_arrive_whole_in_order_and_with_their_number() -> None:
    model = MemoryModel()

    async def story(client: httpx.AsyncClient, _: HmiServer) -> None:
        async with client.stream("GET", "/api/events") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert "content-security-policy" in response.headers
            events = events_of(response)
            assert (await next_state(events))[0] == "1"
            for job_state in (JobState.WAITING_FOR_APPROVAL, JobState.DOWNLOADING, JobState.INSTALLING):
                shown = model.show(**{**OFFER, "job_state": job_state})
                event_id, state = await next_state(events)
                assert event_id == str(shown.seq)
                assert state == json.loads(shown.model_dump_json())

    over_socket(model, story)


def test_line_breaks_in_release_notes_stay_inside_one_event() -> None:
    model = MemoryModel(**{**OFFER, "release_notes": "one\n\nevent: state\ndata: {}\r\n\rid: 9"})

    async def story(client: httpx.AsyncClient, _: HmiServer) -> None:
        async with client.stream("GET", "/api/events") as response:
            event_id, state = await next_state(events_of(response))
            assert event_id == "1"
            assert state["release_notes"] == model.snapshot().release_notes

    over_socket(model, story)


def test_burst_ends_with_the_last_state() -> None:
    model = MemoryModel(**OFFER)

    async def story(client: httpx.AsyncClient, _: HmiServer) -> None:
        async with client.stream("GET", "/api/events") as response:
            events = events_of(response)
            await next_state(events)
            for done in range(1, 501):
                model.ecu("engine", bytes_done=done)
            seen: list[int] = []
            while not seen or seen[-1] < model.snapshot().seq:
                seen.append((await next_state(events))[1]["seq"])
            assert seen == sorted(set(seen))
            assert len(seen) < 20

    over_socket(model, story)


def test_known_state_is_not_sent_again() -> None:
    model = MemoryModel(seq=41)

    async def story(client: httpx.AsyncClient, _: HmiServer) -> None:
        async with client.stream("GET", "/api/events", headers={"Last-Event-ID": "41"}) as response:
            events = events_of(response)
            await anext(events)  # the comment every stream begins with
            await until_true(lambda: model.readers == 1)
            model.show(campaign_name="new")
            assert (await next_state(events))[0] == "42"

    over_socket(model, story)


@pytest.mark.parametrize("last_event_id", ["40", "999", "nonsense", ""])
def test_any_other_last_event_id_gets_the_state_at_once(last_event_id: str) -> None:
    # 999: a counter that began anew with the gateway must not leave the page waiting for number 1000
    async def story(client: httpx.AsyncClient, _: HmiServer) -> None:
        async with client.stream("GET", "/api/events", headers={"Last-Event-ID": last_event_id}) as response:
            assert (await next_state(events_of(response)))[0] == "41"

    over_socket(MemoryModel(seq=41), story)


def test_id_of_another_run_is_not_believed() -> None:
    async def story(client: httpx.AsyncClient, _: HmiServer) -> None:
        run = re.search(r'name="otabench-run" content="(\w+)"', (await client.get("/")).text)
        assert run
        resumed = {"Last-Event-ID": "41"}
        async with client.stream("GET", "/api/events?of_run=another", headers=resumed) as response:
            assert (await next_state(events_of(response)))[0] == "41"
        async with client.stream("GET", f"/api/events?of_run={run[1]}", headers=resumed) as response:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(next_state(events_of(response)), 0.3)

    over_socket(MemoryModel(seq=41), story)


def test_idle_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastapi.routing, "_PING_INTERVAL", 0.05)

    async def story(client: httpx.AsyncClient, _: HmiServer) -> None:
        async with client.stream("GET", "/api/events") as response:
            events = events_of(response)
            await next_state(events)
            assert await anext(events) == {"": "ping"}
            assert await anext(events) == {"": "ping"}

    over_socket(MemoryModel(), story)


def test_reader_that_leaves_is_forgotten() -> None:
    model = MemoryModel()

    async def story(client: httpx.AsyncClient, _: HmiServer) -> None:
        async with client.stream("GET", "/api/events") as response:
            await next_state(events_of(response))
            assert model.readers == 1
        await until_true(lambda: model.readers == 0)

    over_socket(model, story)


def test_server_stops_at_once_with_streams_open(caplog: pytest.LogCaptureFixture) -> None:
    model = MemoryModel()

    async def main() -> None:
        async with httpx.AsyncClient(headers=BEARER, trust_env=False) as client:
            server = HmiServer(model, Pairing(CODE), port=0)
            running = asyncio.create_task(server.run())
            async with client.stream("GET", f"{server.url}/api/events") as response:
                events = events_of(response)
                await next_state(events)
                with within(1.5):
                    server.close()
                    assert [block async for block in events] == []
                    await running

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))
    assert model.readers == 0
    assert caplog.records == []


def test_cancelled_server_is_gone() -> None:
    async def main() -> None:
        server = HmiServer(MemoryModel(), Pairing(CODE), port=0)
        running = asyncio.create_task(server.run())
        async with httpx.AsyncClient(headers=BEARER, trust_env=False) as client:
            assert (await client.get(f"{server.url}/healthz")).status_code == 200
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            with pytest.raises(httpx.ConnectError):
                await client.get(f"{server.url}/healthz")

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))


def test_port_in_use_says_where_why_and_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(HmiPortError, match=rf"127\.0\.0\.1:{port}: address already in use; .*hmi_port"):
            HmiServer(MemoryModel(), Pairing(CODE), port=port)
