"""The gateway's agent. It connects the parts of the gateway, checks in with the cloud, and runs the open job.

    agent = Agent(config, vehicle=UdsVehicle(config, trace), trace=trace)
    await agent.run()  # until canceled
    await agent.close()

Rules:

* The agent checks in at the start, when a wake-up arrives, and at the poll interval. It does so only while no job is open, and only after
  it has identified every ECU.
* A cloud, broker or ECU that does not answer is not an error: the agent shows it to the driver and tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from otabench.bench.backoff import jittered
from otabench.bench.gateway.cloud.cloud_link import CloudLink
from otabench.bench.gateway.cloud.downloads import OUTAGE_LIMIT_S, Downloader, DownloadLimits
from otabench.bench.gateway.cloud.reporter import Reporter
from otabench.bench.gateway.cloud.time_source import TimeSource
from otabench.bench.gateway.cloud.wakeup import listen
from otabench.bench.gateway.config import GatewayConfig
from otabench.bench.gateway.errors import CloudRefused, CloudUnreachable, StartError
from otabench.bench.gateway.hmi.dashboard import Dashboard
from otabench.bench.gateway.hmi.model import DecisionRefused, Obstacle, ObstacleKind, Refusal
from otabench.bench.gateway.jobs.actions import Actions
from otabench.bench.gateway.jobs.approval import DriverApproval
from otabench.bench.gateway.jobs.conditions import VehicleConditions
from otabench.bench.gateway.jobs.confirming import ManifestCheck
from otabench.bench.gateway.jobs.consents import Consents, vehicle_signer
from otabench.bench.gateway.jobs.driver_records import DriverRecords
from otabench.bench.gateway.jobs.identities import Identities
from otabench.bench.gateway.jobs.job_files import JobFiles
from otabench.bench.gateway.jobs.job_progress import JobProgress
from otabench.bench.gateway.jobs.job_runner import JobRunner
from otabench.bench.gateway.jobs.job_view import JobView
from otabench.bench.gateway.jobs.journal import JobJournal, Persisted, kill_before
from otabench.bench.gateway.jobs.measured_rates import MeasuredRates
from otabench.bench.gateway.jobs.programming import Programming, VehicleCalls, WayBack
from otabench.bench.gateway.jobs.states import Event
from otabench.bench.gateway.jobs.version_reports import VersionReports
from otabench.bench.gateway.jobs.worker import Worker
from otabench.bench.gateway.store import Store
from otabench.bench.gateway.trust.manifest import KnownEcu
from otabench.bench.gateway.trust.primary import Primary
from otabench.bench.gateway.vehicle import Vehicle
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.errors import FlashError, ProfileInvalid
from otabench.bench.uds.flash_profiles import facts_of
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState, from_wire
from otabench.proto.time_zone import zone_of
from otabench.proto.trace import TraceWriter

_log = logging.getLogger("gateway")
# The cloud chooses the interval. An interval of 0 must not make the gateway spin.
_MIN_POLL_S: Final = 0.1
_CLOSE_WITHIN_S: Final = 1.0

VehicleFactory = Callable[[GatewayConfig, TraceWriter], Vehicle]


class Agent:
    """One vehicle's gateway without its HMI server, which serves ``dashboard``.

    Args:
        config: the configuration.
        vehicle: the ECUs.
        trace: receives the agent's events.
        persisted: called after a job state is on disk. By default it kills the process at ``config.stop_before``.
        outage_limit_s: how long the artifact server may stay away.

    Raises:
        StartError: the state folder, the pinned Root or a certificate cannot be used.
    """

    def __init__(
        self,
        config: GatewayConfig,
        *,
        vehicle: Vehicle,
        trace: TraceWriter,
        persisted: Persisted | None = None,
        outage_limit_s: float = OUTAGE_LIMIT_S,
    ) -> None:
        self._config = config
        self._vehicle = vehicle
        self._trace = trace
        self._worker = Worker()
        self._woken = asyncio.Event()
        self._offered = asyncio.Event()
        self._obstacle: Obstacle | None = None
        self.dashboard = _make_dashboard(config)
        self.store = Store(config.state_dir / "gateway.db")
        self._cloud = self._make_cloud_link()
        self._time_source = TimeSource(self._cloud, trace)
        self._identities = Identities(vehicle=vehicle, worker=self._worker, dashboard=self.dashboard, trace=trace)
        self._version_reports = VersionReports.of(
            config, vehicle=vehicle, worker=self._worker, identities=self._identities, trace=trace
        )
        self._reporter = self._make_reporter()
        self._journal = JobJournal(
            vin=config.vin,
            store=self.store,
            reporter=self._reporter,
            trace=trace,
            persisted=persisted or kill_before(config.stop_before),
        )
        rates = MeasuredRates(self.store.engine)
        progress = JobProgress(dashboard=self.dashboard, reporter=self._reporter, store=self.store, rates=rates)
        primary = _make_primary(config)
        files = self._make_files(primary, progress, outage_limit_s=outage_limit_s)
        self._actions = self._make_actions(primary, files, progress)
        self._runner = JobRunner(
            actions=self._actions,
            journal=self._journal,
            view=JobView(config=config, files=files, progress=progress, dashboard=self.dashboard, rates=rates),
            progress=progress,
            dashboard=self.dashboard,
            identities=self._identities,
        )

    def _make_cloud_link(self) -> CloudLink:
        return CloudLink(
            target=self._config.cloud_grpc,
            vin=self._config.vin,
            tls=self._config.tls,
            on_reachable=self._on_reachable,
            retry_max_s=self._config.timing.retry_max_s,
        )

    def _make_reporter(self) -> Reporter:
        return Reporter(
            vin=self._config.vin,
            store=self.store,
            cloud=self._cloud,
            on_answer=self._on_answer,
            version_reports=self._version_reports,
            timing=self._config.timing,
            trace=self._trace,
        )

    def _make_files(self, primary: Primary, progress: JobProgress, *, outage_limit_s: float) -> JobFiles:
        return JobFiles(
            state_dir=self._config.state_dir,
            primary=primary,
            downloader=_make_downloader(self._config, outage_limit_s=outage_limit_s),
            time_source=self._time_source,
            progress=progress,
            trace=self._trace,
        )

    def _make_actions(self, primary: Primary, files: JobFiles, progress: JobProgress) -> Actions:
        timing = self._config.timing
        calls = VehicleCalls(
            vehicle=self._vehicle, worker=self._worker, files=files, record_progress=progress.record_progress
        )
        conditions = VehicleConditions(
            self._config.conditions,
            vehicle=self._vehicle,
            worker=self._worker,
            dashboard=self.dashboard,
            trace=self._trace,
            poll_s=timing.conditions_poll_s,
        )
        consents = Consents(
            DriverRecords(self.store.engine),
            signer=vehicle_signer(self._config.tls),
            time_source=self._time_source,
            trace=self._trace,
        )
        way_back = WayBack(timing=timing, calls=calls, dashboard=self.dashboard, store=self.store, trace=self._trace)
        return Actions(
            manifest_check=ManifestCheck(
                timing=timing,
                cloud=self._cloud,
                time_source=self._time_source,
                primary=primary,
                files=files,
                identities=self._identities,
                dashboard=self.dashboard,
                trace=self._trace,
                conditions=conditions,
            ),
            approval=DriverApproval(
                later_s=timing.later_s,
                zone=zone_of(self._config.time_zone),
                files=files,
                dashboard=self.dashboard,
                store=self.store,
                consents=consents,
                trace=self._trace,
                conditions=conditions,
            ),
            consents=consents,
            files=files,
            calls=calls,
            programming=Programming(
                calls=calls, files=files, way_back=way_back, conditions=conditions, store=self.store
            ),
            identities=self._identities,
        )

    async def run(self) -> None:
        """Run until canceled. The next process resumes the open job from disk."""
        self.dashboard.show_history(self.store.ended_jobs())
        config = self._config
        self._trace.emit("gateway.started", ecus=[ecu.name for ecu in config.ecus], cloud=config.cloud_grpc)
        try:
            # An unexpected error in one task ends all of them. The process reports it and ends, and the next process resumes from disk.
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._run_jobs(), name="jobs")
                tasks.create_task(self._check_in_forever(), name="check-in")
                tasks.create_task(self._reporter.run(), name="reporter")
                tasks.create_task(
                    listen(
                        host=config.mqtt_host,
                        port=config.mqtt_port,
                        tls=config.mqtt_tls,
                        vin=config.vin,
                        wake=self._woken.set,
                        backoff=self._config.timing.backoff(),
                    ),
                    name="wake-up",
                )
        finally:
            self._actions.stop()
            stopping = "The gateway is stopping. Please try again in a moment."
            self.dashboard.end_decision(DecisionRefused(stopping, kind=Refusal.STOPPING))

    def leave_flash_running(self) -> None:
        """From now on, leave a running flash alone: the next process resumes it. Call this before ``run`` is canceled."""
        self._actions.stop()

    async def close(self) -> None:
        """Close connections and files. Wait only a moment for a flash that still runs."""
        self.leave_flash_running()
        await self._cloud.close()
        self.store.close()
        # A worker of its own: the vehicle's worker may be in the middle of a transfer, and calls on it wait for that.
        closing = Worker("close")
        with contextlib.suppress(TimeoutError, FlashError, OSError):
            await asyncio.wait_for(asyncio.shield(closing.submit(self._vehicle.close)), _CLOSE_WITHIN_S)
        closing.close()
        self._worker.close()
        self._trace.emit("gateway.stopped")

    async def _run_jobs(self) -> None:
        is_resumed = True
        while True:
            # Clear before reading the store, so that an offer between the two is not missed.
            self._offered.clear()
            job = self.store.open_job()
            if job is None:
                await self._offered.wait()
            else:
                await self._runner.run(job, is_resumed=is_resumed)
                # The job has ended, and the next campaign may be waiting already. Check in at once.
                self._woken.set()
            is_resumed = False

    async def _check_in_forever(self) -> None:
        backoff = self._config.timing.backoff()
        while True:
            self._woken.clear()
            # Jitter keeps vehicles that were started together from checking in at the same moments.
            wait_s = jittered(self._config.timing.poll_interval_s)
            if self.store.open_job() is None:
                try:
                    if not self._identities.is_fresh:
                        await self._identities.refresh()
                    wait_s = await self._check_in()
                    backoff.reset()
                except FlashError as error:
                    self._show_obstacle(ObstacleKind.ECU_SILENT, str(error))
                    wait_s = backoff.next_s()
                except CloudRefused as error:
                    self._show_obstacle(ObstacleKind.CLOUD_REFUSES, f"the cloud refuses this vehicle: {error}")
                except CloudUnreachable:
                    wait_s = backoff.next_s()
            try:
                async with asyncio.timeout(max(wait_s, _MIN_POLL_S)):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _check_in(self) -> float:
        """Check in once. Return the number of seconds until the next check-in."""
        version_report = await self._version_reports.for_check_in(self._cloud.report_nonce)
        answer = await self._cloud.check_in(self._identities.known, version_report=version_report)
        # While a report waits in the outbox, the cloud has not received the end of the last job, and would offer it again.
        if self.store.first_report() is None:
            if answer.decision == ota_pb2.CheckInResponse.DECISION_UPDATE_AVAILABLE:
                self._take_offer(answer)
            elif answer.decision == ota_pb2.CheckInResponse.DECISION_REFUSED:
                self._show_obstacle(ObstacleKind.CLOUD_REFUSES, f"the cloud refuses an update: {answer.reason}")
            else:
                self._clear_obstacle()
        poll_s = self._config.timing.poll_interval_s
        return jittered(min(poll_s, answer.poll_interval_s) if answer.poll_interval_s > 0 else poll_s)

    def _take_offer(self, answer: ota_pb2.CheckInResponse) -> None:
        try:
            state = from_wire(answer.job_state)
        except ValueError:
            # A state of a later protocol version. Start the job from its beginning.
            state = JobState.CREATED
        if self._journal.adopt(answer.job_id, state) is not None:
            self._clear_obstacle()
            self._offered.set()

    def _show_obstacle(self, kind: ObstacleKind, sentence: str) -> None:
        """Show why the vehicle cannot be updated now. Log it once."""
        obstacle = Obstacle(kind=kind, text=sentence)
        if obstacle != self._obstacle:
            _log.warning("%s", sentence)
        self._obstacle = obstacle
        self.dashboard.show(obstacle=obstacle)

    def _clear_obstacle(self) -> None:
        self._obstacle = None
        self.dashboard.show(obstacle=None)

    def _on_answer(self, job_id: str, state: JobState, cancel_requested: bool) -> None:
        if cancel_requested or state is JobState.CANCELED:
            self._runner.give_up(job_id, Event.CANCELED, "canceled by the operator")
        elif state is JobState.TIMED_OUT:
            self._runner.give_up(job_id, Event.TIME_RAN_OUT, "the cloud ended the job: its time has run out")
        elif state is JobState.FAILED:
            self._runner.give_up(job_id, Event.UNABLE, "the cloud ended the job as failed")

    def _on_reachable(self, reachable: bool) -> None:
        self.dashboard.show(cloud_reachable=reachable)
        self._trace.emit("cloud.reachable" if reachable else "cloud.unreachable")


def _make_dashboard(config: GatewayConfig) -> Dashboard:
    return Dashboard(
        vin=config.vin,
        hardware_ids={ecu.name: ecu.hardware_id for ecu in config.ecus},
        time_zone=config.time_zone,
        is_kept_parked=config.inhibit is not None,
        signing=[ecu.name for ecu in config.ecus if ecu.signs_reports],
    )


def _make_primary(config: GatewayConfig) -> Primary:
    return Primary(
        vin=config.vin,
        known=[known_ecu(ecu) for ecu in config.ecus],
        director_root=config.director_root,
        image_root=config.image_root,
        metadata_dir=config.state_dir,
    )


def known_ecu(ecu: EcuEndpoint) -> KnownEcu:
    """Return the provisioned facts of an ECU, by which its manifests are judged.

    Raises:
        StartError: its flash profile is missing or wrong.
    """
    try:
        facts = facts_of(ecu.profile)
    except ProfileInvalid as error:
        raise StartError(f"ECU {ecu.name}: {error}") from error
    return KnownEcu(
        ecu.name,
        ecu.serial,
        ecu.hardware_id,
        takes_programs=facts.payload == "raw",
        takes_patches=facts.takes_deltas,
        versions=facts.versions.rule,
        memory=facts.memory,
        metadata_bytes=facts.metadata_bytes,
    )


def _make_downloader(config: GatewayConfig, *, outage_limit_s: float) -> Downloader:
    timing = config.timing
    limits = DownloadLimits(
        min_bytes_per_s=timing.download_min_bytes_per_s,
        stall_s=timing.download_stall_s,
        outage_limit_s=outage_limit_s,
        retry_first_s=timing.retry_first_s,
        retry_max_s=timing.retry_max_s,
    )
    return Downloader(config.state_dir / "downloads", limits)
