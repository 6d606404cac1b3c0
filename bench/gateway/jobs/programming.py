"""INSTALLING, ACTIVATING and VERIFYING: the actions that work on ECUs, and reverting.

The calls of a ``Vehicle`` block, so they run on the worker's thread. Their progress returns to the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, TypeVar

from otabench.bench.gateway.config import GatewayTiming
from otabench.bench.gateway.hmi.dashboard import Dashboard
from otabench.bench.gateway.jobs.conditions import VehicleConditions
from otabench.bench.gateway.jobs.job_files import JobFiles
from otabench.bench.gateway.jobs.outcome import Outcome
from otabench.bench.gateway.jobs.states import Event
from otabench.bench.gateway.jobs.worker import Worker
from otabench.bench.gateway.store import Facts, JobRecord, Store
from otabench.bench.gateway.vehicle import EcuProgress, ProgressListener, Vehicle
from otabench.bench.uds.errors import DependenciesNotMet, FlashError
from otabench.bench.uds.identity import EcuIdentity
from otabench.proto.trace import TraceWriter

_log = logging.getLogger("gateway.job")
_T = TypeVar("_T")
_REVERT_ATTEMPTS: Final = 3


class VehicleCalls:
    """Awaitable calls of a ``Vehicle`` for one job. They raise the errors of ``Vehicle``."""

    def __init__(self, *, vehicle: Vehicle, worker: Worker, files: JobFiles, record_progress: ProgressListener) -> None:
        self._vehicle = vehicle
        self._worker = worker
        self._files = files
        self._record_progress = record_progress

    def stage(self, job: JobRecord, cancel: threading.Event) -> asyncio.Future[None]:
        """Start staging. The future ends with the errors of ``Vehicle.stage``."""
        return self._worker.submit(
            self._vehicle.stage,
            self._files.images(job),
            job_id=job.job_id,
            progress=self._progress_from_worker(),
            cancel=cancel,
            fetch_image=self._files.image_fetcher(job, cancel),
        )

    async def activate(self, job: JobRecord) -> None:
        """See ``Vehicle.activate``."""
        await self._run(self._vehicle.activate, job)

    async def verify(self, job: JobRecord) -> Mapping[str, EcuIdentity]:
        """See ``Vehicle.verify``."""
        return await self._run(self._vehicle.verify, job)

    async def confirm(self, job: JobRecord) -> Mapping[str, EcuIdentity]:
        """See ``Vehicle.confirm``."""
        return await self._run(self._vehicle.confirm, job)

    async def revert(self, job: JobRecord) -> Mapping[str, EcuIdentity]:
        """See ``Vehicle.revert``."""
        return await self._run(self._vehicle.revert, job)

    async def finish(self, job: JobRecord) -> None:
        """Run post-programming on all ECUs."""
        await self._worker.submit(self._vehicle.finish, job_id=job.job_id)

    async def _run(self, call: Callable[..., _T], job: JobRecord) -> _T:
        return await self._worker.submit(
            call, self._files.images(job), job_id=job.job_id, progress=self._progress_from_worker()
        )

    def _progress_from_worker(self) -> ProgressListener:
        loop = asyncio.get_running_loop()

        def on_progress(progress: EcuProgress) -> None:
            try:
                loop.call_soon_threadsafe(self._record_progress, progress)
            except RuntimeError:
                # The loop is closed, because the process ends. The next process resumes the job.
                return

        return on_progress


class WayBack:
    """Reverting of all ECUs of a job."""

    def __init__(
        self, *, timing: GatewayTiming, calls: VehicleCalls, dashboard: Dashboard, store: Store, trace: TraceWriter
    ) -> None:
        self._timing = timing
        self._calls = calls
        self._dashboard = dashboard
        self._store = store
        self._trace = trace

    async def revert(self, job: JobRecord, reason: str) -> Outcome:
        """Revert all ECUs, in up to three attempts. Return REVERTED or REVERT_FAILED.

        Store the reason first, so that a restarted gateway continues to revert instead of updating again.
        """
        self._dashboard.show_job(self._store.note(job.job_id, Facts(revert_reason=reason)))
        self._trace.emit("job.reverting", job_id=job.job_id, reason=reason)
        backoff = self._timing.backoff()
        failure = ""
        for attempt in range(1, _REVERT_ATTEMPTS + 1):
            try:
                identities = await self._calls.revert(job)
            except FlashError as error:
                failure = str(error)
                _log.warning("job %s: reverting, attempt %d of %d: %s", job.job_id, attempt, _REVERT_ATTEMPTS, failure)
                await asyncio.sleep(backoff.next_s())
            else:
                return Outcome(Event.REVERTED, reason, identities=identities)
        return Outcome(Event.REVERT_FAILED, f"{reason}; reverting failed {_REVERT_ATTEMPTS} times: {failure}")


class Programming:
    """The actions of INSTALLING, ACTIVATING and VERIFYING."""

    def __init__(
        self, *, calls: VehicleCalls, files: JobFiles, way_back: WayBack, conditions: VehicleConditions, store: Store
    ) -> None:
        self._conditions = conditions
        self._store = store
        self._calls = calls
        self._files = files
        self._way_back = way_back
        self._is_stopping = False

    def stop(self) -> None:
        """From now on, leave a running flash alone. The process is about to end, and the next process resumes the job."""
        self._is_stopping = True

    async def install(self, job: JobRecord) -> Outcome:
        """Stage all ECUs.

        When canceled, return only after the transfer to the current ECU has stopped, so that no transfer still runs on the bus afterwards.
        """
        try:
            # DOWNLOADING has fetched the files. This call verifies them again, and downloads those that were lost since.
            await self._files.fetch(job)
        except OSError as error:
            return Outcome(Event.UNABLE, f"downloads: {error.strerror or error}")
        if problem := await self._conditions.wait(job.job_id, self._files.plan(job)):
            return Outcome(Event.UNABLE, problem)
        cancel = threading.Event()
        staging = self._calls.stage(job, cancel)
        try:
            # Canceling a future does not stop the thread behind it. The shield keeps the future usable, and ``cancel`` stops the thread.
            await asyncio.shield(staging)
        except asyncio.CancelledError:
            if not self._is_stopping:
                cancel.set()
                await asyncio.wait({staging})
                # Mark the exception as retrieved. Otherwise asyncio would log it as an error, although it is expected here.
                staging.exception()
            raise
        except FlashError as error:
            return Outcome(Event.UNABLE, str(error))
        return Outcome(Event.STAGED)

    async def activate(self, job: JobRecord) -> Outcome:
        """Activate all staged slots and reset the ECUs; or continue to revert, if that has begun."""
        if job.revert_reason:
            return await self._way_back.revert(job, job.revert_reason)
        # Once activation has begun, a restarted gateway must go on, whatever the vehicle does: half of the ECUs may run the new version.
        if not self._store.is_activation_begun(job.job_id):
            if problem := await self._conditions.wait(job.job_id, self._files.plan(job)):
                return Outcome(Event.UNABLE, problem)
            self._store.note_activation_begun(job.job_id)
        try:
            await self._calls.activate(job)
        except DependenciesNotMet as error:
            # This call has not changed any ECU, but an earlier process may have activated some before it was restarted.
            outcome = await self._way_back.revert(job, str(error))
            if outcome.event is not Event.REVERTED:
                return outcome
            # Reverting is finished. Clear its reason, which would otherwise mark the vehicle as changed.
            return replace(outcome, event=Event.UNABLE, facts=Facts(revert_reason=""))
        except FlashError as error:
            return await self._way_back.revert(job, str(error))
        return Outcome(Event.ACTIVATED)

    async def verify(self, job: JobRecord) -> Outcome:
        """Wait until all trial images run steadily, then confirm them; or continue to revert, if that has begun."""
        if job.revert_reason:
            return await self._way_back.revert(job, job.revert_reason)
        try:
            await self._calls.verify(job)
            identities = await self._calls.confirm(job)
        except FlashError as error:
            return await self._way_back.revert(job, str(error))
        return Outcome(Event.CONFIRMED, identities=identities)

    async def revert(self, job: JobRecord, reason: str) -> Outcome:
        """Give up a job in ACTIVATING or VERIFYING; see ``WayBack.revert``."""
        return await self._way_back.revert(job, reason)
