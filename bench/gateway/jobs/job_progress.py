"""The progress of the running job: of each ECU for the cloud, and of the whole job for the driver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from otabench.bench.gateway.cloud.reporter import Reporter
from otabench.bench.gateway.hmi.dashboard import Dashboard
from otabench.bench.gateway.jobs.measured_rates import MeasuredRates
from otabench.bench.gateway.jobs.overall_progress import ExpectedTimes, OverallProgress, remaining_s, whole_percent
from otabench.bench.gateway.store import JobRecord, Store
from otabench.bench.gateway.vehicle import EcuProgress, Phase
from otabench.proto.job_states import JobState

_TRANSFERRED: Final = frozenset({Phase.CHECKING, Phase.STAGED})
_RESERVED_PERCENT: Final = 4
_MAX_UNFINISHED_PERCENT: Final = 99


class JobProgress:
    """Progress of one job at a time."""

    def __init__(self, *, dashboard: Dashboard, reporter: Reporter, store: Store, rates: MeasuredRates) -> None:
        self._rates = rates
        self._dashboard = dashboard
        self._reporter = reporter
        self._store = store
        self._latest: dict[str, EcuProgress] = {}
        self._job_id = ""
        self._state = JobState.CREATED
        self._times: ExpectedTimes | None = None
        self._download_bytes = 0
        self._downloaded_bytes = 0
        self._overall = OverallProgress()
        self._percent = 0
        self._reserved_percent = 0

    @property
    def latest(self) -> Mapping[str, EcuProgress]:
        """The last progress of each ECU in this job. ECUs without progress are missing."""
        return self._latest

    def begin(self, job: JobRecord) -> None:
        """Forget the progress of the previous job. A job that another process started continues at that process's progress."""
        self._latest = {}
        self._job_id = job.job_id
        self._times = None
        self._download_bytes = self._downloaded_bytes = 0
        self._percent = self._reserved_percent = self._store.progress_percent(job.job_id)
        self._overall = OverallProgress(self._percent / 100)
        self._reporter.forget_progress()

    def enter(self, state: JobState, *, times: ExpectedTimes | None, download_bytes: int) -> int:
        """Enter a state. Return how many percent of the job are done.

        Args:
            state: the new state.
            times: the expected times of the job's parts. None: not known yet, because the manifest is not accepted yet.
            download_bytes: size of all downloads of the job.
        """
        self._state = state
        self._times = times or self._times
        self._download_bytes = download_bytes
        return self._advance()

    def record_progress(self, progress: EcuProgress) -> None:
        """Record an ECU's progress."""
        before = self._latest.get(progress.ecu)
        self._latest[progress.ecu] = progress
        # Within a phase the rate is the mean from its beginning, so the last one is that of the whole transfer.
        if before is not None and progress.phase in _TRANSFERRED and _is_whole_transfer(before):
            self._rates.note(before.bytes_per_s)
        self._dashboard.show_progress(progress, percent=self._advance())
        self._reporter.record_progress(progress)

    def downloaded(self, done_bytes: int) -> None:
        """Record how many bytes of the downloads have arrived."""
        self._downloaded_bytes = done_bytes
        self._dashboard.show_download(done_bytes, percent=self._advance())

    def _advance(self) -> int:
        if self._times is None:
            return self._percent
        share = self._downloaded_bytes / self._download_bytes if self._download_bytes else 0.0
        left_s = remaining_s(self._times, self._state, downloaded_share=min(1.0, share), ecus=self._latest)
        self._percent = whole_percent(self._overall.advance(left_s))
        if self._percent > self._reserved_percent:
            # Store what may be shown before it is shown, so that a restarted gateway never shows less progress than before.
            # Store it a few percent ahead: each write waits for the disk and takes processor time from the transfer.
            self._reserved_percent = max(self._percent, min(_MAX_UNFINISHED_PERCENT, self._percent + _RESERVED_PERCENT))
            self._store.note_progress(self._job_id, self._reserved_percent)
        return self._percent


def _is_whole_transfer(progress: EcuProgress) -> bool:
    is_complete = progress.phase is Phase.TRANSFERRING and progress.bytes_done == progress.bytes_total
    return is_complete and progress.bytes_per_s > 0
