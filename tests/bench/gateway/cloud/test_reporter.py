"""Reports to the cloud: a transition is not held up by the pause between two reports of progress."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

from otabench.bench.gateway.cloud.reporter import Reporter
from otabench.bench.gateway.config import GatewayTiming
from otabench.bench.gateway.vehicle import EcuProgress, Phase
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState, to_wire
from tests.bench.gateway.version_reports import NoVersionReports

OPEN_JOB = SimpleNamespace(job_id="job-1", state=JobState.INSTALLING, seq=3, reason="")
AN_END = ota_pb2.UpdateStatusRequest(job_id="job-1", state=to_wire(JobState.SUCCEEDED), transition_seq=4)


class Outbox:
    """A store whose outbox holds at most one report."""

    def __init__(self) -> None:
        self.report: Any = None

    def first_report(self) -> Any:
        return self.report

    def open_job(self) -> Any:
        return OPEN_JOB

    def remove_report(self, number: int) -> None:
        self.report = None


class Cloud:
    """A control plane that notes when it received which state."""

    report_nonce = b""

    def __init__(self) -> None:
        self.received: list[tuple[float, int]] = []

    async def update_status(self, request: ota_pb2.UpdateStatusRequest) -> Any:
        self.received.append((time.monotonic(), request.state))
        return ota_pb2.UpdateStatusResponse(state=request.state)


async def report_an_end_just_after_progress() -> tuple[float, list[tuple[float, int]]]:
    outbox, cloud = Outbox(), Cloud()
    reporter = Reporter(
        vin="W0TABENCH00000003",
        store=cast(Any, outbox),
        cloud=cast(Any, cloud),
        on_answer=lambda *_: None,
        identities=dict,
        version_reports=NoVersionReports(),
        timing=GatewayTiming(),
        trace=cast(Any, None),
    )
    running = asyncio.create_task(reporter.run())
    progress = EcuProgress(ecu="engine", phase=Phase.TRANSFERRING, bytes_done=1, bytes_total=2)
    reporter.record_progress(progress)
    while not cloud.received:
        await asyncio.sleep(0.005)
    outbox.report = SimpleNamespace(job_id="job-1", number=1, message=AN_END.SerializeToString())
    written_s = time.monotonic()
    reporter.wake()
    reporter.record_progress(progress)
    while len(cloud.received) < 3:
        await asyncio.sleep(0.005)
    running.cancel()
    return written_s, cloud.received


def test_an_end_is_reported_at_once_and_progress_twice_a_second() -> None:
    written_s, received = asyncio.run(report_an_end_just_after_progress())
    (first_s, first), (end_s, end), (second_s, second) = received
    assert [first, end, second] == [to_wire(OPEN_JOB.state), AN_END.state, to_wire(OPEN_JOB.state)]
    assert end_s - written_s < 0.3
    assert second_s - first_s >= 0.5
