"""Metrics for Prometheus: what they count, and what a client that is none gets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from otabench.cloud.control.metrics import read_metrics, serving_metrics
from otabench.cloud.errors import StartError
from otabench.cloud.rollout.rules import PauseCause, Progress, Rollout
from otabench.cloud.store.database import Database
from otabench.cloud.store.schema import CampaignRow, JobRow
from tests.cloud.bench import Cloud, free_port
from tests.cloud.campaigns.test_outbox import add_waiting_vehicles, opened


def served(database: Database, ask: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]) -> httpx.Response:
    async def run() -> httpx.Response:
        port = free_port()
        async with (
            serving_metrics(database, port=port),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
        ):
            return await ask(client)

    return asyncio.run(run())


def test_jobs_rollouts_and_vehicles_are_counted(database_url: str) -> None:
    with opened(database_url) as database:
        add_waiting_vehicles(database, 5)
        paused = Progress(paused=PauseCause.ERRORS).model_dump_json()

        def change(session: Session) -> None:
            rollout = {"rollout": Rollout().model_dump_json(), "rollout_progress": paused, "rollout_open": True}
            session.execute(update(CampaignRow).values(rollout))
            session.execute(update(JobRow).where(JobRow.vin.in_(["VIN00000", "VIN00001"])).values(state="FAILED"))
            session.execute(update(JobRow).where(JobRow.vin == "VIN00004").values(held=True))

        database.run_now(change)
        lines = database.run_now(read_metrics).splitlines()
        for line in (
            'otabench_jobs{state="CREATED"} 3',
            'otabench_jobs{state="FAILED"} 2',
            'otabench_jobs{state="SUCCEEDED"} 0',
            "otabench_jobs_held 1",
            "otabench_vehicles 5",
            "otabench_campaigns 1",
            "otabench_outbox_messages 0",
            'otabench_rollouts_open{paused="true"} 1',
            'otabench_rollouts_open{paused="false"} 0',
            "# TYPE otabench_jobs gauge",
        ):
            assert line in lines
        answer = served(database, lambda client: client.get("/metrics"))
        assert (answer.status_code, answer.text.splitlines()) == (200, lines)
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert served(database, lambda client: client.get("/")).status_code == 404
        assert served(database, lambda client: client.post("/metrics", content=b"x")).status_code == 405


def test_a_client_that_sends_no_request_does_not_disturb_the_next(database_url: str) -> None:
    with opened(database_url) as database:

        async def run() -> list[bytes]:
            port, answers = free_port(), []
            async with serving_metrics(database, port=port):
                for sent in (
                    b"",
                    b"\r\n\r\n",
                    b"x" * 200_000,
                    b"\xff\x00 /metrics\r\n\r\n",
                    b"GET /metrics HTTP/1.1\r\n\r\n",
                ):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(sent)
                    writer.write_eof()
                    try:
                        answers.append((await reader.read())[:12])
                    except ConnectionError:
                        answers.append(b"")
                    writer.close()
            return answers

        assert asyncio.run(run())[-1] == b"HTTP/1.1 200"


def test_a_port_in_use_is_named(database_url: str) -> None:
    with opened(database_url) as database:

        async def run() -> None:
            port = free_port()
            async with serving_metrics(database, port=port), serving_metrics(database, port=port):
                pass

        with pytest.raises(StartError, match="metrics_port: port"):
            asyncio.run(run())


def test_a_control_plane_serves_its_metrics(shared_cloud: Cloud) -> None:
    url = f"http://127.0.0.1:{shared_cloud.config['metrics_port']}/metrics"
    assert "\notabench_vehicles " in httpx.get(url, trust_env=False).text
