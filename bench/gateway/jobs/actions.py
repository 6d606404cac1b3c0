"""What is done in each job state: one action a state, from a job as it stands on disk to an event.

Each failure of the outside world becomes an event (``Outcome``) with its reason. Every action may begin again after a restart, from
whatever the previous one left: it reads disk and ECUs and does not rely on memory. ``job_runner`` writes the event down and
knows what follows.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import wait as wait_for_calls
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

from otabench.bench.backoff import Backoff
from otabench.bench.gateway.cloud.cloud_link import CloudLink, Manifest
from otabench.bench.gateway.cloud.downloads import Downloader
from otabench.bench.gateway.config import GatewayConfig
from otabench.bench.gateway.errors import (
    CloudRefused,
    CloudUnreachable,
    DownloadRefused,
    DownloadTimedOut,
    ManifestRefused,
)
from otabench.bench.gateway.hmi.dashboard import Dashboard
from otabench.bench.gateway.hmi.model import Decision
from otabench.bench.gateway.jobs.identities import Identities
from otabench.bench.gateway.jobs.planning import (
    Transfer,
    choose_transfers,
    ecu_images,
    expected_duration_s,
    needed_bytes,
)
from otabench.bench.gateway.jobs.states import NEEDS_MANIFEST, Event, is_way_back_needed
from otabench.bench.gateway.jobs.worker import Worker
from otabench.bench.gateway.store import Facts, JobRecord, Store
from otabench.bench.gateway.trust.manifest import Plan
from otabench.bench.gateway.trust.primary import Primary
from otabench.bench.gateway.vehicle import EcuImage, EcuProgress, Vehicle
from otabench.bench.uds.errors import DependenciesNotMet, FlashCanceled, FlashError
from otabench.bench.uds.identity import EcuIdentity
from otabench.proto.job_states import JobState
from otabench.proto.trace import TraceWriter

_log = logging.getLogger("gateway.job")
_T = TypeVar("_T")
_REVERT_ATTEMPTS: Final = 3
_LOOK_AT_CLOCK_S: Final = 5.0
"""Waiting for the driver goes by the wall clock, which may be set: it is looked at that often."""
RESUMES_MOST: Final = 20
"""So often a job may be taken up again in one state that works on ECUs; then something kills the gateway in it."""


@dataclass(frozen=True)
class Outcome:
    """What came of an action."""

    event: Event
    reason: str = ""
    facts: Facts = field(default_factory=lambda: Facts())
    identities: Mapping[str, EcuIdentity] | None = None
    """What the ECUs run at its end, where it is known."""


class Actions:
    """The actions of one gateway; see ``act``."""

    def __init__(
        self,
        *,
        config: GatewayConfig,
        vehicle: Vehicle,
        worker: Worker,
        cloud: CloudLink,
        primary: Primary,
        downloader: Downloader,
        dashboard: Dashboard,
        identities: Identities,
        store: Store,
        progressed: Callable[[EcuProgress], None],
        trace: TraceWriter,
    ) -> None:
        self._config = config
        self._vehicle = vehicle
        self._worker = worker
        self._cloud = cloud
        self._primary = primary
        self._downloader = downloader
        self._dashboard = dashboard
        self._identities = identities
        self._store = store
        self._progressed = progressed
        self._trace = trace
        self.is_stopping = False
        """The process ends: a running flash is left as it is, and taken up again by the next process."""
        self._actions = {
            JobState.CREATED: self._take_on,
            JobState.CONFIRMING: self._confirm_manifest,
            JobState.WAITING_FOR_APPROVAL: self._ask_driver,
            JobState.DOWNLOADING: self._download,
            JobState.INSTALLING: self._install,
            JobState.ACTIVATING: self._activate,
            JobState.VERIFYING: self._verify,
        }

    async def act(self, job: JobRecord) -> Outcome:
        """Do what the job's state asks for.

        Cancelling it ends the action; in INSTALLING it returns once the ECU at work has stopped.
        """
        way_out = Event.REVERT_FAILED if is_way_back_needed(job.state) else Event.UNABLE
        try:
            if job.state in NEEDS_MANIFEST:
                if job.manifest is None:
                    return Outcome(way_out, "the gateway has lost its record of this job")
                self._plan(job)
            if job.resumes > RESUMES_MOST and job.state in (JobState.ACTIVATING, JobState.VERIFYING):
                return await self._revert(job, f"the gateway was restarted {job.resumes} times in {job.state}")
            if job.resumes > RESUMES_MOST and job.state is JobState.INSTALLING:
                return Outcome(Event.UNABLE, f"the gateway was restarted {job.resumes} times in {job.state}")
            return await self._actions[job.state](job)
        except ManifestRefused as error:
            return Outcome(way_out, f"the manifest does not fit this gateway's configuration any more: {error}")
        except DownloadRefused as error:
            return Outcome(Event.UNABLE, f"download refused: {error}")
        except DownloadTimedOut as error:
            return Outcome(Event.TIME_RAN_OUT, f"download timed out: {error}")

    def show(self, job: JobRecord) -> None:
        """Show the driver a job as it stands, with what its manifest says."""
        try:
            plan = self._plan(job) if job.manifest is not None else None
        except ManifestRefused:
            plan = None  # ``act`` ends the job with the reason
        if plan is None:
            self._dashboard.show_job(job, versions={})
            return
        transfers = choose_transfers(plan, job.from_versions)
        self._dashboard.show_job(
            job,
            versions={each.ecu: (job.from_versions.get(each.ecu, ""), each.version) for each in plan.ecus},
            release_notes=plan.custom.release_notes,
            download_bytes=sum(transfer.file.length for transfer in transfers),
            expected_duration_s=expected_duration_s(
                transfers,
                metadata_bytes=len(job.manifest or b""),
                bus_of={ecu.name: json.dumps(ecu.bus, sort_keys=True, default=str) for ecu in self._config.ecus},
                line_payload_bytes_per_s=self._config.line_payload_bytes_per_s,
            ),
        )

    async def finish(self, job: JobRecord) -> None:
        """What follows every end: post-programming, a fresh look at the ECUs, and an empty downloads folder."""
        try:
            await self._worker.submit(self._vehicle.finish, job_id=job.job_id)
            await self._identities.refresh()
        except FlashError as error:
            _log.warning("after job %s: %s", job.job_id, str(error))
            self._identities.forget()
        self._downloader.clear()

    # The actions, in the order of the states

    async def _take_on(self, job: JobRecord) -> Outcome:
        return Outcome(Event.ADOPTED, identities=self._identities.known)

    async def _confirm_manifest(self, job: JobRecord) -> Outcome:
        try:
            identities = await self._identify()
        except FlashError as error:
            return Outcome(Event.UNABLE, f"the vehicle is not ready: {error}")
        try:
            manifest = await self._get_manifest(job.job_id)
        except CloudRefused as error:
            return Outcome(Event.UNABLE, f"the cloud gives no manifest: {error}")
        try:
            accepted = self._primary.accept(manifest.metadata, job_id=job.job_id, identities=identities)
        except ManifestRefused as error:
            self._trace.emit("manifest.refused", job_id=job.job_id, reason=str(error))
            return Outcome(Event.MANIFEST_REFUSED, f"manifest refused: {error}")
        plan = accepted.plan
        from_versions = {each.ecu: identities[each.ecu].software_version for each in plan.ecus}
        self._trace.emit(
            "manifest.accepted",
            job_id=job.job_id,
            versions={each.ecu: [from_versions[each.ecu], each.version] for each in plan.ecus},
        )
        if lack := self._lack_of_room(plan, from_versions):
            return Outcome(Event.UNABLE, lack)
        facts = Facts(
            manifest=accepted.targets,
            artifact_base_url=manifest.artifact_base_url,
            from_versions=from_versions,
            campaign_name=plan.custom.campaign_name,
            asked_at=time.time(),
        )
        return Outcome(Event.MANIFEST_ACCEPTED, facts=facts)

    async def _ask_driver(self, job: JobRecord) -> Outcome:
        plan = self._plan(job)
        limit_s = plan.custom.approval_timeout_s
        latest = (job.asked_at or job.updated_at) + limit_s if limit_s > 0 else None
        deferred_until = job.deferred_until
        while True:
            now = time.time()
            if latest is not None and now >= latest:
                return Outcome(Event.TIME_RAN_OUT, f"the driver did not decide within {limit_s:g} s")
            if deferred_until is not None and now >= deferred_until:
                deferred_until = None
                self._dashboard.show_job(self._store.note(job.job_id, Facts(deferred_until=None)))
            ends = [each - now for each in (latest, deferred_until) if each is not None]
            try:
                async with asyncio.timeout(min([_LOOK_AT_CLOCK_S, *ends])):
                    pending = await self._dashboard.next_decision()
            except TimeoutError:
                continue
            self._trace.emit("driver.decision", job_id=job.job_id, decision=str(pending.decision))
            if pending.decision is Decision.INSTALL:
                return self._approve(job, plan)
            if pending.decision is Decision.DECLINE:
                return Outcome(Event.DECLINED, "the driver declined")
            deferred_until = time.time() + self._config.timing.later_s
            self._dashboard.show_job(self._store.note(job.job_id, Facts(deferred_until=deferred_until)))
            self._dashboard.end_decision()

    def _approve(self, job: JobRecord, plan: Plan) -> Outcome:
        if time.time() >= plan.expires_at:
            return Outcome(
                Event.UNABLE, "the manifest expired while it waited for the driver; a new campaign is needed"
            )
        if lack := self._lack_of_room(plan, job.from_versions):
            return Outcome(Event.UNABLE, lack)
        return Outcome(Event.APPROVED)

    async def _download(self, job: JobRecord) -> Outcome:
        try:
            await self._fetch_all(job)
        except OSError as error:
            return Outcome(Event.UNABLE, f"downloads: {error.strerror or error}")
        return Outcome(Event.DOWNLOADED)

    async def _install(self, job: JobRecord) -> Outcome:
        try:
            await self._fetch_all(job)  # nothing to do but to hash again, unless files were lost
        except OSError as error:
            return Outcome(Event.UNABLE, f"downloads: {error.strerror or error}")
        cancel = threading.Event()
        staging = self._worker.submit(
            self._vehicle.stage,
            self._images(job),
            job_id=job.job_id,
            progress=self._from_worker(self._progressed),
            cancel=cancel,
            fetch_image=self._image_fetcher(job, cancel),
        )
        try:
            await asyncio.shield(staging)
        except asyncio.CancelledError:
            if not self.is_stopping:
                cancel.set()
                await asyncio.wait({staging})
                staging.exception()
            raise
        except FlashError as error:
            return Outcome(Event.UNABLE, str(error))
        return Outcome(Event.STAGED)

    async def _activate(self, job: JobRecord) -> Outcome:
        if job.revert_reason:
            return await self._revert(job, job.revert_reason)
        try:
            await self._flash(self._vehicle.activate, job)
        except DependenciesNotMet as error:
            ended = await self._revert(job, str(error))  # there is something to revert only after a restart
            return replace(ended, event=Event.UNABLE) if ended.event is Event.REVERTED else ended
        except FlashError as error:
            return await self._revert(job, str(error))
        return Outcome(Event.ACTIVATED)

    async def _verify(self, job: JobRecord) -> Outcome:
        if job.revert_reason:
            return await self._revert(job, job.revert_reason)
        try:
            await self._flash(self._vehicle.verify, job)
            identities = await self._flash(self._vehicle.confirm, job)
        except FlashError as error:
            return await self._revert(job, str(error))
        return Outcome(Event.CONFIRMED, identities=identities)

    async def _revert(self, job: JobRecord, reason: str) -> Outcome:
        """Return the way back, written down before it is taken: a restart goes on with it, and not forward again."""
        self._dashboard.show_job(self._store.note(job.job_id, Facts(revert_reason=reason)), reason=reason)
        self._trace.emit("job.reverting", job_id=job.job_id, reason=reason)
        waits = self._backoff()
        failure = ""
        for attempt in range(1, _REVERT_ATTEMPTS + 1):
            try:
                identities = await self._flash(self._vehicle.revert, job)
            except FlashError as error:
                failure = str(error)
                _log.warning("job %s: reverting, attempt %d of %d: %s", job.job_id, attempt, _REVERT_ATTEMPTS, failure)
                await asyncio.sleep(waits.next_s())
            else:
                return Outcome(Event.REVERTED, reason, identities=identities)
        return Outcome(Event.REVERT_FAILED, f"{reason}; reverting failed {_REVERT_ATTEMPTS} times: {failure}")

    # What they are made of

    async def _identify(self) -> Mapping[str, EcuIdentity]:
        """Read the ECUs now; a silent one is tried again for as long as a stage attempt would."""
        timing = self._config.timing
        latest_s = time.monotonic() + timing.ecu_lost_timeout_s * timing.stage_attempts
        waits = self._backoff()
        while True:
            try:
                return await self._identities.refresh()
            except FlashError as error:
                if not error.retryable or time.monotonic() >= latest_s:
                    raise
                self._dashboard.show(reason=str(error))
            await asyncio.sleep(waits.next_s())

    async def _get_manifest(self, job_id: str) -> Manifest:
        waits = self._backoff()
        while True:
            try:
                return await self._cloud.get_manifest(job_id)
            except CloudUnreachable:
                await asyncio.sleep(waits.next_s())

    async def _fetch_all(self, job: JobRecord) -> None:
        done: dict[str, int] = {}
        for transfer in choose_transfers(self._plan(job), job.from_versions):
            await self._downloader.fetch(
                transfer.file, base_url=job.artifact_base_url, on_bytes=self._sum_of_downloads(done, transfer)
            )
            self._trace.emit(
                "download.done",
                job_id=job.job_id,
                ecu=transfer.ecu,
                kind="delta" if transfer.is_patch else "full",
                bytes=transfer.file.length,
                sha256=transfer.file.sha256,
            )

    def _sum_of_downloads(self, done: dict[str, int], transfer: Transfer) -> Callable[[int], None]:
        def on_bytes(here: int) -> None:
            done[transfer.ecu] = here
            self._dashboard.show_download(sum(done.values()))

        return on_bytes

    def _image_fetcher(self, job: JobRecord, cancel: threading.Event) -> Callable[[str], None]:
        """``fetch_image`` of ``Vehicle.stage``: downloads on the event loop, waits on the caller's thread."""
        loop = asyncio.get_running_loop()
        images = {planned.ecu: planned.download for planned in self._plan(job).ecus}

        def fetch_image(ecu: str) -> None:
            fetching = asyncio.run_coroutine_threadsafe(
                self._downloader.fetch(images[ecu], base_url=job.artifact_base_url), loop
            )
            while not wait_for_calls([fetching], timeout=0.2).done:
                if cancel.is_set():
                    fetching.cancel()
                    raise FlashCanceled
            try:
                fetching.result()
            except (DownloadRefused, DownloadTimedOut, OSError) as error:
                raise FlashError(f"the full image: {error}", ecu=ecu, step="download") from error

        return fetch_image

    async def _flash(self, call: Callable[..., _T], job: JobRecord) -> _T:
        return await self._worker.submit(
            call, self._images(job), job_id=job.job_id, progress=self._from_worker(self._progressed)
        )

    def _from_worker(self, listener: Callable[[EcuProgress], None]) -> Callable[[EcuProgress], None]:
        loop = asyncio.get_running_loop()

        def told(progress: EcuProgress) -> None:
            try:
                loop.call_soon_threadsafe(listener, progress)
            except RuntimeError:
                return  # the loop is closed: the process ends

        return told

    def _plan(self, job: JobRecord) -> Plan:
        return self._primary.reread(job.manifest or b"")

    def _images(self, job: JobRecord) -> list[EcuImage]:
        return ecu_images(
            self._plan(job), job.from_versions, metadata=job.manifest or b"", path_of=self._downloader.path_of
        )

    def _lack_of_room(self, plan: Plan, from_versions: Mapping[str, str]) -> str:
        needed, free = needed_bytes(plan, from_versions), _free_bytes(self._config.state_dir)
        if free >= needed:
            return ""
        return f"not enough room in {self._config.state_dir}: {needed} bytes are needed, {free} are free"

    def _backoff(self) -> Backoff:
        return Backoff(first_s=self._config.timing.retry_first_s, max_s=self._config.timing.retry_max_s)


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
