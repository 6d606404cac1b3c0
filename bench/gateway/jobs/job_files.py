"""The files of a job: the plan in its manifest, and the artifacts in the downloads folder.

Nothing is kept in memory between calls, because an action may run in another process than the one that downloaded. So every call reads the
plan again from the manifest on disk, and every file is hashed again before its use.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import wait as wait_for_calls
from dataclasses import replace
from pathlib import Path
from typing import Final

from otabench.bench.gateway.cloud.downloads import Downloader
from otabench.bench.gateway.cloud.time_source import TimeSource
from otabench.bench.gateway.errors import DownloadRefused, DownloadTimedOut
from otabench.bench.gateway.jobs.job_progress import JobProgress
from otabench.bench.gateway.jobs.planning import PlannedTransfer, choose_transfers, ecu_images, needed_bytes
from otabench.bench.gateway.store import JobRecord
from otabench.bench.gateway.trust.manifest import Plan
from otabench.bench.gateway.trust.primary import Primary
from otabench.bench.gateway.vehicle import EcuImage
from otabench.bench.uds.errors import FlashCanceled, FlashError
from otabench.proto.trace import TraceWriter

_CANCEL_POLL_S: Final = 0.2


class JobFiles:
    """The plan and the downloads of one job at a time."""

    def __init__(
        self,
        *,
        state_dir: Path,
        primary: Primary,
        downloader: Downloader,
        time_source: TimeSource,
        progress: JobProgress,
        trace: TraceWriter,
    ) -> None:
        self._state_dir = state_dir
        self._primary = primary
        self._downloader = downloader
        self._time_source = time_source
        self._progress = progress
        self._trace = trace

    def plan(self, job: JobRecord) -> Plan:
        """Return the plan in the job's accepted manifest.

        Raises:
            ManifestRefused: the gateway's configuration has changed, and the manifest no longer fits it.
        """
        return self._primary.reread(job.manifest or b"")

    def images(self, job: JobRecord) -> list[EcuImage]:
        """Return the images of the job, as the arguments of ``Vehicle``.

        Raises:
            ManifestRefused: see ``plan``.
        """
        images = ecu_images(
            self.plan(job),
            job.from_versions,
            metadata=job.manifest or b"",
            attest_time=self._time_source.from_other_threads(job.job_id),
            path_of=self._downloader.path_of,
        )
        return [_without_refused_patch(image) for image in images]

    def room_problem(self, plan: Plan, from_versions: Mapping[str, str]) -> str:
        """Return why the plan's files do not fit into the state folder, or an empty text if they fit."""
        needed, free = needed_bytes(plan, from_versions), _free_bytes(self._state_dir)
        if free >= needed:
            return ""
        return f"not enough room in {self._state_dir}: {needed} bytes are needed, {free} are free"

    async def fetch(self, job: JobRecord) -> None:
        """Download the files that are not on disk yet. Verify all of them.

        Whoever tampers with a patch on its way must not stop the update: the full image is downloaded in its place.

        Raises:
            DownloadRefused: the artifact server does not deliver the file that the manifest names.
            DownloadTimedOut: the artifact server was away or too slow for too long.
            OSError: the downloads folder cannot be written.
        """
        done: dict[str, int] = {}
        plan = self.plan(job)
        full = {planned.ecu: PlannedTransfer(planned.ecu, planned.download, is_patch=False) for planned in plan.ecus}
        for wanted in choose_transfers(plan, job.from_versions):
            # The patch was refused before, by this process or the one that was killed.
            transfer = full[wanted.ecu] if wanted.is_patch and self._has_only(full[wanted.ecu], wanted) else wanted
            try:
                await self._fetch(job, transfer, done)
            except DownloadRefused as error:
                if not transfer.is_patch:
                    raise
                self._trace.emit("download.patch_refused", job_id=job.job_id, ecu=transfer.ecu, reason=str(error))
                transfer = full[transfer.ecu]
                await self._fetch(job, transfer, done)
            self._trace.emit(
                "download.done",
                job_id=job.job_id,
                ecu=transfer.ecu,
                kind="delta" if transfer.is_patch else "full",
                bytes=transfer.file.length,
                sha256=transfer.file.sha256,
            )

    async def _fetch(self, job: JobRecord, transfer: PlannedTransfer, done: dict[str, int]) -> None:
        on_bytes = self._count_bytes(done, transfer)
        await self._downloader.fetch(transfer.file, base_url=job.artifact_base_url, on_bytes=on_bytes)

    def _has_only(self, full: PlannedTransfer, patch: PlannedTransfer) -> bool:
        return self._downloader.path_of(full.file).exists() and not self._downloader.path_of(patch.file).exists()

    def image_fetcher(self, job: JobRecord, cancel: threading.Event) -> Callable[[str], None]:
        """Return the argument ``fetch_image`` for ``Vehicle.stage``.

        The returned function downloads on the event loop and blocks the caller's thread meanwhile. It polls ``cancel``, because a thread
        cannot wait for an event and a future at once.
        """
        loop = asyncio.get_running_loop()
        images = {planned.ecu: planned.download for planned in self.plan(job).ecus}

        def fetch_image(ecu: str) -> None:
            # The downloader lives on the event loop, but ``Vehicle.stage`` calls from a worker thread.
            fetching = asyncio.run_coroutine_threadsafe(
                self._downloader.fetch(images[ecu], base_url=job.artifact_base_url), loop
            )
            while not wait_for_calls([fetching], timeout=_CANCEL_POLL_S).done:
                if cancel.is_set():
                    fetching.cancel()
                    raise FlashCanceled
            try:
                fetching.result()
            except (DownloadRefused, DownloadTimedOut, OSError) as error:
                raise FlashError(f"the full image: {error}", ecu=ecu, step="download") from error

        return fetch_image

    def clear(self) -> None:
        """Empty the downloads folder."""
        self._downloader.clear()

    def _count_bytes(self, done: dict[str, int], transfer: PlannedTransfer) -> Callable[[int], None]:
        def on_bytes(here: int) -> None:
            done[transfer.ecu] = here
            self._progress.downloaded(sum(done.values()))

        return on_bytes


def _without_refused_patch(image: EcuImage) -> EcuImage:
    """Return the image without its patch, if only the full image could be downloaded."""
    if image.patch is None or image.patch.exists() or not image.image.exists():
        return image
    return replace(image, patch=None, patch_length=0)


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
