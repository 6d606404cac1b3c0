"""The latest progress of each ECU in the job that runs, passed on to driver and cloud."""

from __future__ import annotations

from collections.abc import Mapping

from otabench.bench.gateway.cloud.reporter import Reporter
from otabench.bench.gateway.hmi.dashboard import Dashboard
from otabench.bench.gateway.vehicle import EcuProgress


class JobProgress:
    """Progress of one job at a time."""

    def __init__(self, *, dashboard: Dashboard, reporter: Reporter) -> None:
        self._dashboard = dashboard
        self._reporter = reporter
        self._latest: dict[str, EcuProgress] = {}

    @property
    def latest(self) -> Mapping[str, EcuProgress]:
        """The last progress of each ECU that has reported any in this job."""
        return self._latest

    def begin(self) -> None:
        """Forget the progress of the job before."""
        self._latest = {}
        self._reporter.job_began()

    def progressed(self, progress: EcuProgress) -> None:
        """Record an ECU's progress."""
        self._latest[progress.ecu] = progress
        self._dashboard.show_progress(progress)
        self._reporter.progressed(progress)
