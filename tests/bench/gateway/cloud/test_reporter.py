"""Reports to the cloud: a transition is not held up by the pause between two reports of progress."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from otabench.bench.gateway.cloud.reporter import Reporter
from otabench.bench.gateway.config import GatewayTiming
from otabench.bench.gateway.errors import CloudRefused
from otabench.bench.gateway.vehicle import EcuProgress, Phase
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState, to_wire
from otabench.proto.trace import TraceWriter, read
from tests.bench.gateway.version_reports import NoVersionReports
from tests.waiting import PATIENCE_S

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


class DoubtingCloud(Cloud):
    """A control plane that gave no nonce yet, and believes a success only with the report for its second one."""

    def __init__(self) -> None:
        super().__init__()
        self.nonces = [b"second", b"first"]
        self.reports: list[bytes] = []

    async def check_in(self, identities: Any, *, job_id: str) -> Any:
        self.report_nonce = self.nonces.pop()
        return ota_pb2.CheckInResponse(job_id=job_id, job_state=to_wire(JobState.VERIFYING))

    async def update_status(self, request: ota_pb2.UpdateStatusRequest) -> Any:
        self.reports.append(request.version_report)
        if request.version_report != b"report for second":
            raise CloudRefused("unproven: the vehicle reports SUCCEEDED, but …", code="FAILED_PRECONDITION")
        return await super().update_status(request)


class Signer(NoVersionReports):
    can_sign = True

    async def make(self, nonce: bytes, *, job_id: str | None = None) -> bytes:
        assert job_id == "job-1"
        return b"report for " + nonce


def test_a_success_that_is_not_believed_is_reported_again_with_a_new_nonce(tmp_path: Path) -> None:
    outbox, cloud = Outbox(), DoubtingCloud()
    trace = TraceWriter(tmp_path / "trace.jsonl", component="gateway", vin="V")
    outbox.report = SimpleNamespace(job_id="job-1", number=1, message=AN_END.SerializeToString())

    async def story() -> None:
        reporter = Reporter(
            vin="V",
            store=cast(Any, outbox),
            cloud=cast(Any, cloud),
            on_answer=lambda *_: None,
            version_reports=Signer(),
            timing=GatewayTiming(retry_first_s=0.01),
            trace=trace,
        )
        running = asyncio.create_task(reporter.run())
        async with asyncio.timeout(PATIENCE_S):
            while outbox.report is not None:
                await asyncio.sleep(0.005)
        running.cancel()

    asyncio.run(story())

    assert cloud.reports == [b"report for first", b"report for second"]
    assert [event.event for event in read(tmp_path / "trace.jsonl")] == ["cloud.unproven"]
