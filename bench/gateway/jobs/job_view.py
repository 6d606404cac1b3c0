"""Show a job to the driver: its record on disk, combined with the plan in its manifest."""

from __future__ import annotations

from otabench.bench.gateway.config import GatewayConfig, bus_key
from otabench.bench.gateway.errors import ManifestRefused
from otabench.bench.gateway.flashing.consequences import foresee
from otabench.bench.gateway.hmi.dashboard import Dashboard
from otabench.bench.gateway.jobs.job_files import JobFiles
from otabench.bench.gateway.jobs.job_progress import JobProgress
from otabench.bench.gateway.jobs.measured_rates import MeasuredRates
from otabench.bench.gateway.jobs.planning import choose_transfers, duration_range, expected_times
from otabench.bench.gateway.store import JobRecord
from otabench.bench.gateway.trust.manifest import Plan


class JobView:
    """Jobs, shown on the dashboard."""

    def __init__(
        self,
        *,
        config: GatewayConfig,
        files: JobFiles,
        progress: JobProgress,
        dashboard: Dashboard,
        rates: MeasuredRates,
    ) -> None:
        self._rates = rates
        self._files = files
        self._progress = progress
        self._dashboard = dashboard
        self._line_payload_bytes_per_s = config.line_payload_bytes_per_s
        self._ecus = {ecu.name: ecu for ecu in config.ecus}
        self._state_dir = config.state_dir
        self._bus_of = {ecu.name: bus_key(ecu) for ecu in config.ecus}

    def show(self, job: JobRecord) -> None:
        """Show a job in the state that is stored on disk."""
        plan = self._plan(job)
        if plan is None:
            percent = self._progress.enter(job.state, times=None, download_bytes=0)
            self._dashboard.show_job(job, versions={}, progress_percent=percent)
            return
        transfers = choose_transfers(plan, job.from_versions)
        times = expected_times(
            transfers,
            metadata_bytes=len(job.manifest or b""),
            bus_of=self._bus_of,
            line_payload_bytes_per_s=self._line_payload_bytes_per_s,
        )
        duration_min_s, duration_max_s = duration_range(
            transfers,
            metadata_bytes=len(job.manifest or b""),
            bus_of=self._bus_of,
            line_payload_bytes_per_s=self._line_payload_bytes_per_s,
            measured=self._rates.slowest_and_fastest(),
        )
        consequences = foresee(
            [self._ecus[each.ecu] for each in plan.ecus], job.from_versions, state_dir=self._state_dir
        )
        download_bytes = sum(transfer.file.length for transfer in transfers)
        self._dashboard.show_job(
            job,
            versions={each.ecu: (job.from_versions.get(each.ecu, ""), each.version) for each in plan.ecus},
            release_notes=plan.custom.release_notes,
            texts=plan.custom.texts,
            download_bytes=download_bytes,
            expected_duration_s=times.installing_s,
            duration_min_s=duration_min_s,
            duration_max_s=duration_max_s,
            stops_working=bool(consequences.stop_working),
            has_no_way_back=bool(consequences.without_way_back),
            progress_percent=self._progress.enter(job.state, times=times, download_bytes=download_bytes),
        )

    def _plan(self, job: JobRecord) -> Plan | None:
        if job.manifest is None:
            return None
        try:
            return self._files.plan(job)
        except ManifestRefused:
            # ``Actions.act`` ends the job and gives the reason.
            return None
