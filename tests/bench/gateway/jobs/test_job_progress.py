"""The progress that is shown: persisted rarely, and never less after a restart than before."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from otabench.bench.gateway.cloud.reporter import Reporter
from otabench.bench.gateway.config import GatewayTiming
from otabench.bench.gateway.hmi.dashboard import Dashboard
from otabench.bench.gateway.jobs.job_progress import JobProgress
from otabench.bench.gateway.jobs.measured_rates import MeasuredRates
from otabench.bench.gateway.jobs.overall_progress import ExpectedTimes
from otabench.bench.gateway.store import JobRecord, Store
from otabench.bench.gateway.vehicle import EcuProgress, Phase
from otabench.proto.job_states import JobState
from otabench.proto.trace import TraceWriter
from tests.bench.gateway.version_reports import NoVersionReports

TIMES = ExpectedTimes(download_s=1.0, transfers_s={"b": {"engine": 100.0}}, boot_s=3.5, confirm_s=0.25)
JOB = JobRecord("job-1", JobState.INSTALLING, 4)


class CountingStore(Store):
    """A store that counts what is written of progress."""

    writes = 0

    def note_progress(self, job_id: str, percent: int) -> None:
        self.writes += 1
        super().note_progress(job_id, percent)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path / "gateway.db")


def progress_of(store: Store) -> tuple[JobProgress, Dashboard]:
    """Return the progress of a gateway that has just started with the job, and its page."""
    dashboard = Dashboard(vin="V", hardware_ids={"engine": "mcu"})
    reporter = Reporter(
        vin="V",
        store=store,
        cloud=None,  # type: ignore[arg-type]  # nothing is delivered here
        on_answer=lambda *_: None,
        version_reports=NoVersionReports(),
        timing=GatewayTiming(),
        trace=TraceWriter(None, component="gateway", vin="V"),
    )
    progress = JobProgress(dashboard=dashboard, reporter=reporter, store=store, rates=MeasuredRates(store.engine))
    progress.begin(JOB)
    progress.enter(JobState.INSTALLING, times=TIMES, download_bytes=1000)
    return progress, dashboard


async def transfer(progress: JobProgress, dashboard: Dashboard, *, until: int) -> list[int]:
    """Return what the page shows of a transfer in a thousand steps."""
    shown = []
    for done in range(until):
        progress.record_progress(EcuProgress("engine", Phase.TRANSFERRING, done, 1000))
        dashboard.show(reason=str(done))  # publishes at once what is throttled otherwise
        shown.append(dashboard.snapshot().progress_percent)
    return shown


def test_a_transfer_writes_its_progress_a_few_times_only(store: CountingStore) -> None:
    async def story() -> list[int]:
        return await transfer(*progress_of(store), until=1000)

    shown = asyncio.run(story())
    assert shown == sorted(shown)
    assert len(set(shown)) > 80, "every percent is shown"
    assert store.writes <= 20


@pytest.mark.parametrize("killed_at", [3, 57, 400, 999])
def test_a_restarted_gateway_never_shows_less(store: CountingStore, killed_at: int) -> None:
    async def story() -> tuple[list[int], list[int]]:
        first = await transfer(*progress_of(store), until=killed_at)
        return first, await transfer(*progress_of(store), until=1000)

    before, after = asyncio.run(story())
    assert before[-1] <= after[0] < before[-1] + 10
    assert after == sorted(after)
    assert after[-1] < 100
