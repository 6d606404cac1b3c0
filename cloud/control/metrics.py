"""Metrics for Prometheus: how many jobs are in which state, what waits in the outbox, which roll-outs are paused.

    async with serving_metrics(database, port=9100):
        ...  # GET http://127.0.0.1:9100/metrics

* Every control plane of one database returns the same numbers: they are read from it at each request.
* The port answers loopback without any login, and contains no VIN. Where a network is to read it, put a proxy in front.
* The format is Prometheus's text format 0.0.4. Each request gets one answer and its connection is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from otabench.cloud.errors import RequestError
from otabench.cloud.ports import bind_port
from otabench.cloud.rollout.rules import Progress
from otabench.cloud.store.database import Database
from otabench.cloud.store.schema import CampaignRow, JobRow, OutboxRow, VehicleRow
from otabench.proto.job_states import JobState

_HOST: Final = "127.0.0.1"
_TIMEOUT_S: Final = 10.0
_log = logging.getLogger(__name__)


def read_metrics(session: Session) -> str:
    """Return all metrics as text."""
    states = dict.fromkeys(JobState, 0)
    for state, number in session.execute(select(JobRow.state, func.count()).group_by(JobRow.state)):
        states[JobState(state)] = number
    progress = session.scalars(select(CampaignRow.rollout_progress).where(CampaignRow.rollout_open.is_(True)))
    rollouts = [Progress.model_validate_json(text).paused for text in progress]
    held = select(func.count()).where(JobRow.held.is_(True), JobRow.state == JobState.CREATED)
    families: list[tuple[str, str, Mapping[str, int]]] = [
        ("otabench_jobs", "Jobs by state.", {f'{{state="{state}"}}': number for state, number in states.items()}),
        ("otabench_jobs_held", "Jobs that wait for an approver or their wave.", {"": session.scalar(held) or 0}),
        ("otabench_vehicles", "Registered vehicles.", {"": _count(session, VehicleRow)}),
        ("otabench_campaigns", "Campaigns.", {"": _count(session, CampaignRow)}),
        ("otabench_outbox_messages", "Messages that wait for the broker.", {"": _count(session, OutboxRow)}),
        (
            "otabench_rollouts_open",
            "Roll-outs with jobs that are still to be opened.",
            {
                '{paused="false"}': sum(cause is None for cause in rollouts),
                '{paused="true"}': sum(cause is not None for cause in rollouts),
            },
        ),
    ]
    return "".join(line + "\n" for family in families for line in _lines(*family))


@asynccontextmanager
async def serving_metrics(database: Database, *, port: int) -> AsyncIterator[None]:
    """Answer requests for metrics while the block runs.

    Raises:
        StartError: the port cannot be used.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(TimeoutError, OSError, ValueError):
            async with asyncio.timeout(_TIMEOUT_S):
                # The reader limits each line, by a ValueError.
                method, path, *_ = [*(await reader.readline()).decode("latin-1").split(), "", ""]
                # Headers do not matter, but a connection that is closed with unread bytes is reset, and the answer lost.
                while (await reader.readline()).strip():
                    pass
                status, text = await _answer(database, method, path)
                body = text.encode()
                head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
                await writer.drain()

    server = await asyncio.start_server(answer, sock=bind_port(_HOST, port, what="metrics_port"))
    async with server:
        yield


async def _answer(database: Database, method: str, path: str) -> tuple[str, str]:
    if method != "GET":
        return "405 Method Not Allowed", "only GET\n"
    if path != "/metrics":
        return "404 Not Found", "see /metrics\n"
    try:
        return "200 OK", await database.read(read_metrics)
    except RequestError as error:
        _log.warning("metrics: %s", error)
        return "503 Service Unavailable", "the database does not answer\n"


def _count(session: Session, table: type[VehicleRow | CampaignRow | OutboxRow]) -> int:
    return session.scalar(select(func.count()).select_from(table)) or 0


def _lines(name: str, meaning: str, values: Mapping[str, int]) -> Iterator[str]:
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} gauge"
    for labels, value in values.items():
        yield f"{name}{labels} {value}"
