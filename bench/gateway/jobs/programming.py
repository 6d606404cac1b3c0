"""INSTALLING, ACTIVATING and VERIFYING: the actions that work on ECUs, and the way back.

The vehicle's calls block, so they run on the worker's thread; their progress comes back to the event loop.
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
    """The calls of a ``Vehicle`` for one job, awaitable."""

    def __init__(self, *, vehicle: Vehicle, worker: Worker, files: JobFiles, record_progress: ProgressListener) -> None:
        self._vehicle = vehicle
        self._worker = worker
        self._files = files
        self._record_progress = record_progress

    def stage(self, job: JobRecord, cancel: threading.Event) -> asyncio.Future[None]:
        """Begin staging; the future ends with the errors of ``Vehicle.stage``."""
        return self._worker.submit(
            self._vehicle.stage,
            self._files.images(job),
            job_id=job.job_id,
            progress=self._progress_from_worker(),
            cancel=cancel,
            fetch_image=self._files.image_fetcher(job, cancel),
        )

    async def activate(self, job: JobRecord) -> None:
        """See ``Vehicle.activate``, with the same errors; likewise the three below."""
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
                return  # the loop is closed: the process ends, and the thread is left to itself

        return on_progress


class WayBack:
    """Reverts all ECUs of a job."""

    def __init__(
        self, *, timing: GatewayTiming, calls: VehicleCalls, dashboard: Dashboard, store: Store, trace: TraceWriter
    ) -> None:
        self._timing = timing
        self._calls = calls
        self._dashboard = dashboard
        self._store = store
        self._trace = trace

    async def revert(self, job: JobRecord, reason: str) -> Outcome:
        """Revert, in a few attempts, and return REVERTED or REVERT_FAILED.

        The reason is persisted first, so that a restart goes on with the way back, and not forward again.
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

    def __init__(self, *, calls: VehicleCalls, files: JobFiles, way_back: WayBack) -> None:
        self._calls = calls
        self._files = files
        self._way_back = way_back
        self._is_stopping = False

    def stop(self) -> None:
        """Leave a running flash alone from now on: the process ends, and the next process takes the job up again."""
        self._is_stopping = True

    async def install(self, job: JobRecord) -> Outcome:
        """Stage all ECUs. When canceled, return only once the ECU at work has stopped: a bus is never left in the middle."""
        try:
            await self._files.fetch(job)  # only hashes the files, unless some were lost
        except OSError as error:
            return Outcome(Event.UNABLE, f"downloads: {error.strerror or error}")
        cancel = threading.Event()
        staging = self._calls.stage(job, cancel)
        try:
            await asyncio.shield(staging)
        except asyncio.CancelledError:
            if not self._is_stopping:
                cancel.set()
                await asyncio.wait({staging})
                staging.exception()  # marks it as read: asyncio would log an error that is expected here
            raise
        except FlashError as error:
            return Outcome(Event.UNABLE, str(error))
        return Outcome(Event.STAGED)

    async def activate(self, job: JobRecord) -> Outcome:
        """Activate all staged slots and reset the ECUs, or go on with a way back that was begun."""
        if job.revert_reason:
            return await self._way_back.revert(job, job.revert_reason)
        try:
            await self._calls.activate(job)
        except DependenciesNotMet as error:
            # No ECU was changed by this call, but an earlier process may have activated some before it was restarted.
            outcome = await self._way_back.revert(job, str(error))
            if outcome.event is not Event.REVERTED:
                return outcome
            # Nothing is left to bring back, so the record of the way back goes: it would mark the vehicle as changed.
            return replace(outcome, event=Event.UNABLE, facts=Facts(revert_reason=""))
        except FlashError as error:
            return await self._way_back.revert(job, str(error))
        return Outcome(Event.ACTIVATED)

    async def verify(self, job: JobRecord) -> Outcome:
        """Wait until all trial images run steadily, and confirm them."""
        if job.revert_reason:
            return await self._way_back.revert(job, job.revert_reason)
        try:
            await self._calls.verify(job)
            identities = await self._calls.confirm(job)
        except FlashError as error:
            return await self._way_back.revert(job, str(error))
        return Outcome(Event.CONFIRMED, identities=identities)

    async def revert(self, job: JobRecord, reason: str) -> Outcome:
        """Give the job up after ACTIVATING has begun; see ``WayBack.revert``."""
        return await self._way_back.revert(job, reason)
