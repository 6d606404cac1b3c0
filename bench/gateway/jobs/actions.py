"""Which action belongs to each job state: from a job as it stands on disk to an ``Outcome``.

* ``confirming``: CONFIRMING
* ``approval``: WAITING_FOR_APPROVAL
* ``job_files``: DOWNLOADING
* ``programming``: INSTALLING, ACTIVATING, VERIFYING, and the way back

Each failure of the outside world becomes an event with its reason. Every action may begin again after a restart, from whatever
the previous process left: it reads disk and ECUs and does not rely on memory. ``job_runner`` persists the outcome and begins the
next action; ``job_view`` shows the job to the driver.
"""

from __future__ import annotations

import logging
from typing import Final

from otabench.bench.gateway.errors import DownloadRefused, DownloadTimedOut, ManifestRefused
from otabench.bench.gateway.jobs.approval import DriverApproval
from otabench.bench.gateway.jobs.confirming import ManifestCheck
from otabench.bench.gateway.jobs.identities import Identities
from otabench.bench.gateway.jobs.job_files import JobFiles
from otabench.bench.gateway.jobs.outcome import Outcome
from otabench.bench.gateway.jobs.programming import Programming, VehicleCalls
from otabench.bench.gateway.jobs.states import NEEDS_MANIFEST, Event, is_way_back_needed
from otabench.bench.gateway.store import Facts, JobRecord
from otabench.bench.uds.errors import FlashError
from otabench.proto.job_states import JobState

_log = logging.getLogger("gateway.job")
MAX_RESUMES: Final = 20
"""How often a job may be resumed in one state that works on ECUs. Beyond that, the state itself is taken for what kills the gateway."""


class Actions:
    """The actions of one gateway."""

    def __init__(
        self,
        *,
        manifest_check: ManifestCheck,
        approval: DriverApproval,
        files: JobFiles,
        calls: VehicleCalls,
        programming: Programming,
        identities: Identities,
    ) -> None:
        self._files = files
        self._calls = calls
        self._programming = programming
        self._identities = identities
        self._actions = {
            JobState.CREATED: self._adopt,
            JobState.CONFIRMING: manifest_check.check,
            JobState.WAITING_FOR_APPROVAL: approval.ask,
            JobState.DOWNLOADING: self._download,
            JobState.INSTALLING: programming.install,
            JobState.ACTIVATING: programming.activate,
            JobState.VERIFYING: programming.verify,
        }

    async def act(self, job: JobRecord) -> Outcome:
        """Run the action of the job's state.

        Canceling it ends the action; in INSTALLING it returns once the ECU at work has stopped.
        """
        try:
            if job.state in NEEDS_MANIFEST:
                if job.manifest is None:
                    return _unable(job, "the gateway has lost its record of this job")
                self._files.plan(job)  # raises before an action has begun, if the configuration has changed
            if job.resumes > MAX_RESUMES and job.state in (JobState.ACTIVATING, JobState.VERIFYING):
                return await self._programming.revert(job, _resumed_too_often(job))
            if job.resumes > MAX_RESUMES and job.state is JobState.INSTALLING:
                return Outcome(Event.UNABLE, _resumed_too_often(job))
            return await self._actions[job.state](job)
        except ManifestRefused as error:
            return _unable(job, f"the manifest does not fit this gateway's configuration any more: {error}")
        except DownloadRefused as error:
            return Outcome(Event.UNABLE, f"download refused: {error}")
        except DownloadTimedOut as error:
            return Outcome(Event.TIME_RAN_OUT, f"download timed out: {error}")

    def stop(self) -> None:
        """Leave a running flash alone from now on: the process ends, and the next one takes the job up again."""
        self._programming.stop()

    async def finish(self, job: JobRecord) -> None:
        """Do what follows every end: post-programming, reading the ECUs anew, and emptying the downloads folder."""
        try:
            await self._calls.finish(job)
            await self._identities.refresh()
        except FlashError as error:
            _log.warning("after job %s: %s", job.job_id, str(error))
            self._identities.forget()
        self._files.clear()

    async def _adopt(self, job: JobRecord) -> Outcome:
        return Outcome(Event.ADOPTED, identities=self._identities.known)

    async def _download(self, job: JobRecord) -> Outcome:
        try:
            await self._files.fetch(job)
        except OSError as error:
            return Outcome(Event.UNABLE, f"downloads: {error.strerror or error}")
        return Outcome(Event.DOWNLOADED)


def _unable(job: JobRecord, reason: str) -> Outcome:
    if not is_way_back_needed(job.state):
        return Outcome(Event.UNABLE, reason)
    # Without a plan no ECU can be reverted. The reason is kept like that of a way back: the vehicle may be changed.
    return Outcome(Event.REVERT_FAILED, reason, facts=Facts(revert_reason=reason))


def _resumed_too_often(job: JobRecord) -> str:
    return f"the gateway was restarted {job.resumes} times in {job.state}"
