"""The action of each job state. An action reads a job from disk and returns an ``Outcome``.

* ``confirming``: CONFIRMING
* ``approval``: WAITING_FOR_APPROVAL
* ``job_files``: DOWNLOADING, and ``approval`` once more if the driver is asked about the installation separately
* ``programming``: INSTALLING, ACTIVATING, VERIFYING, and reverting

Rules:

* Each failure outside the gateway becomes an event with a reason, not an exception.
* Nothing is downloaded and nothing is installed without the driver's consent to this very manifest (``consents``).
* Every action may start again after a restart, whatever the previous process left. So it reads disk and ECUs and does not rely on memory.

``job_runner`` persists the outcome and starts the next action. ``job_view`` shows the job to the driver.
"""

from __future__ import annotations

import logging
from typing import Final

from otabench.bench.gateway.errors import DownloadRefused, DownloadTimedOut, ManifestRefused
from otabench.bench.gateway.jobs.approval import DriverApproval
from otabench.bench.gateway.jobs.confirming import ManifestCheck
from otabench.bench.gateway.jobs.consents import Consents
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
"""How often a job may be resumed in one state that works on ECUs. After that, the state itself probably kills the gateway: give up."""


class Actions:
    """The actions of one gateway."""

    def __init__(
        self,
        *,
        manifest_check: ManifestCheck,
        approval: DriverApproval,
        consents: Consents,
        files: JobFiles,
        calls: VehicleCalls,
        programming: Programming,
        identities: Identities,
    ) -> None:
        self._approval = approval
        self._consents = consents
        self._files = files
        self._calls = calls
        self._programming = programming
        self._identities = identities
        self._actions = {
            JobState.CREATED: self._adopt,
            JobState.CONFIRMING: manifest_check.check,
            JobState.WAITING_FOR_APPROVAL: approval.ask,
            JobState.DOWNLOADING: self._download,
            JobState.INSTALLING: self._install,
            JobState.ACTIVATING: programming.activate,
            JobState.VERIFYING: programming.verify,
        }

    async def act(self, job: JobRecord) -> Outcome:
        """Run the action of the job's state.

        Cancel it to end the action. In INSTALLING it returns only after the transfer to the current ECU has stopped.
        """
        try:
            if job.state in NEEDS_MANIFEST:
                if job.manifest is None:
                    return _unable(job, "the gateway has lost its record of this job")
                # Fail before the action starts if the gateway's configuration has changed since the manifest was accepted.
                self._files.plan(job)
            # Reverting is the safe end where ECUs may run the new image. In INSTALLING nothing runs it yet, so the job simply fails.
            if job.resumes > MAX_RESUMES and job.state in (JobState.ACTIVATING, JobState.VERIFYING):
                return await self._programming.revert(job, _resumed_too_often(job))
            if job.resumes > MAX_RESUMES and job.state is JobState.INSTALLING:
                return Outcome(Event.UNABLE, _resumed_too_often(job))
            return await self._actions[job.state](job)
        except ManifestRefused as error:
            return _unable(job, f"the manifest no longer fits this gateway's configuration: {error}")
        except DownloadRefused as error:
            return Outcome(Event.UNABLE, f"download refused: {error}")
        except DownloadTimedOut as error:
            return Outcome(Event.TIME_RAN_OUT, f"download timed out: {error}")

    def stop(self) -> None:
        """From now on, leave a running flash alone. The process is about to end, and the next process resumes the job."""
        self._programming.stop()

    async def finish(self, job: JobRecord) -> None:
        """Do the work after a job's end: run post-programming, read the ECUs again, and empty the downloads folder."""
        try:
            await self._calls.finish(job)
            await self._identities.refresh()
        except FlashError as error:
            _log.warning("after job %s: %s", job.job_id, str(error))
            # The vehicle could not be read. Read it again before the next check-in.
            self._identities.forget()
        # The next job verifies its own downloads, and old files would fill the disk.
        self._files.clear()

    async def _adopt(self, job: JobRecord) -> Outcome:
        return Outcome(Event.ADOPTED, identities=self._identities.known)

    async def _download(self, job: JobRecord) -> Outcome:
        if problem := self._consents.download_problem(job, self._files.plan(job)):
            return Outcome(Event.UNABLE, problem)
        try:
            await self._files.fetch(job)
        except OSError as error:
            return Outcome(Event.UNABLE, f"downloads: {error.strerror or error}")
        return await self._approval.ask_to_install(job)

    async def _install(self, job: JobRecord) -> Outcome:
        if problem := self._consents.install_problem(job, self._files.plan(job)):
            return Outcome(Event.UNABLE, problem)
        return await self._programming.install(job)


def _unable(job: JobRecord, reason: str) -> Outcome:
    if not is_way_back_needed(job.state):
        return Outcome(Event.UNABLE, reason)
    # Without a plan no ECU can be reverted. Keep the reason as for a revert, because the vehicle may have changed.
    return Outcome(Event.REVERT_FAILED, reason, facts=Facts(revert_reason=reason))


def _resumed_too_often(job: JobRecord) -> str:
    return f"the gateway was restarted {job.resumes} times in {job.state}"
