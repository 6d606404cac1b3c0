"""Send reports to the cloud: first every transition from the outbox, then progress, then a sign of life.

Rules:

* A transition is sent again until the cloud has answered it. Its number makes repetitions harmless.
* Progress is sent only when no transition waits, at most twice a second. It is dropped if it cannot be sent.
* ``on_answer`` receives every answer of the cloud: its state of the job, and whether the operator asks to cancel.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from otabench.bench.deadline import Deadline
from otabench.bench.gateway.cloud.cloud_link import CloudLink, ecu_reports
from otabench.bench.gateway.config import GatewayTiming
from otabench.bench.gateway.errors import CloudRefused, CloudUnreachable
from otabench.bench.gateway.store import JobRecord, Report, Store
from otabench.bench.gateway.vehicle import EcuProgress
from otabench.bench.uds.identity import EcuIdentity
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState, from_wire, is_final, to_wire
from otabench.proto.message_limits import MAX_REASON_BYTES, cut_text
from otabench.proto.trace import TraceWriter
from otabench.proto.version_report import UNPROVEN

_log = logging.getLogger("gateway.reporter")
# Every block of a transfer changes the progress. The cloud need not receive each change.
_MIN_INTERVAL_S: Final = 0.5

Answered = Callable[[str, JobState, bool], None]
"""Called with the job id, the job's state in the cloud, and whether the operator asks to cancel."""


def status_request(
    vin: str,
    job: JobRecord,
    *,
    progress: Mapping[str, EcuProgress] | None = None,
    identities: Mapping[str, EcuIdentity] | None = None,
) -> ota_pb2.UpdateStatusRequest:
    """Return the message that reports a job's state."""
    return ota_pb2.UpdateStatusRequest(
        vin=vin,
        job_id=job.job_id,
        state=to_wire(job.state),
        # The cloud refuses a longer one, and a refused report is lost.
        reason=cut_text(job.reason, MAX_REASON_BYTES),
        transition_seq=job.seq,
        progress=[
            ota_pb2.EcuProgress(
                ecu=each.ecu,
                phase=str(each.phase),
                bytes_done=each.bytes_done,
                bytes_total=each.bytes_total,
                bytes_per_s=each.bytes_per_s,
            )
            for each in (progress or {}).values()
        ],
        ecus=ecu_reports(identities or {}),
    )


class VersionReportMaker(Protocol):
    """The maker of the vehicle's version reports (``jobs.version_reports``)."""

    @property
    def can_sign(self) -> bool:
        """Whether the gateway has a key."""
        ...

    @property
    def identities(self) -> Mapping[str, EcuIdentity]:
        """What the gateway has read of the ECUs itself."""
        ...

    async def make(self, nonce: bytes, *, job_id: str | None = None) -> bytes:
        """Return a report that answers the cloud's nonce; empty if there is none, or if it cannot be made."""
        ...


class Reporter:
    """The reports of one vehicle, delivered while ``run`` runs.

    Args:
        vin: this vehicle.
        store: holds the outbox.
        cloud: where the reports go.
        on_answer: called with every answer.
        version_reports: what the ECUs run, for the check-in after a refusal; and the report that proves a success.
        timing: pauses while the cloud is away, and the interval of the sign of life. The answer to it may be the operator's cancel.
        trace: receives refusals.
    """

    def __init__(
        self,
        *,
        vin: str,
        store: Store,
        cloud: CloudLink,
        on_answer: Answered,
        version_reports: VersionReportMaker,
        timing: GatewayTiming,
        trace: TraceWriter,
    ) -> None:
        self._vin = vin
        self._store = store
        self._cloud = cloud
        self._on_answer = on_answer
        self._version_reports = version_reports
        self._backoff = timing.backoff()
        self._heartbeat_s = timing.poll_interval_s
        self._trace = trace
        self._progress: dict[str, EcuProgress] = {}
        self._has_progress = False
        self._has_news = asyncio.Event()
        self._has_report = asyncio.Event()
        self._progress_pause = Deadline(0.0)

    def wake(self) -> None:
        """Wake the reporter, because the outbox holds a new report."""
        self._has_news.set()
        self._has_report.set()

    def record_progress(self, progress: EcuProgress) -> None:
        """Record an ECU's progress."""
        self._progress[progress.ecu] = progress
        self._has_progress = True
        self._has_news.set()

    def forget_progress(self) -> None:
        """Forget the progress of the previous job."""
        self._progress.clear()
        self._has_progress = False

    async def run(self) -> None:
        """Deliver until canceled."""
        while True:
            self._has_news.clear()
            self._has_report.clear()
            report = self._store.first_report()
            if report is not None:
                await self._deliver(report)
                continue
            job = self._store.open_job()
            if job is not None and self._has_progress:
                if self._progress_pause.has_passed():
                    await self._send_progress(job)
                    self._progress_pause = Deadline(_MIN_INTERVAL_S)
                # Not a plain sleep: a transition does not wait for the next progress. The next campaign waits for the job's end.
                await _wait(self._has_report, timeout_s=self._progress_pause.remaining_s())
                continue
            await _wait(self._has_news, timeout_s=self._heartbeat_s)
            if not self._has_news.is_set() and job is not None and job.seq > 0 and not is_final(job.state):
                self._has_progress = True

    async def _deliver(self, report: Report) -> None:
        request = ota_pb2.UpdateStatusRequest.FromString(report.message)
        if request.state == ota_pb2.JOB_STATE_SUCCEEDED:
            request.version_report = await self._prove(report.job_id)
        try:
            answer = await self._cloud.update_status(request)
        except CloudUnreachable:
            await asyncio.sleep(self._backoff.next_s())
            return
        except CloudRefused as error:
            if str(error).startswith(UNPROVEN):
                await self._prove_again(report, error)
                return
            state = from_wire(request.state)
            # A refused report will not be accepted later either. Keeping it in the outbox would block all reports behind it.
            _log.warning("job %s: the cloud refused the report of %s: %s", report.job_id, state, error)
            self._trace.emit(
                "cloud.refused", job_id=report.job_id, state=str(state), reason=str(error), code=error.code
            )
            self._store.remove_report(report.number)
            await self._fetch_state(report.job_id)
            return
        self._backoff.reset()
        self._store.remove_report(report.number)
        self._pass_on(request.job_id, answer.state, answer.cancel_requested)

    async def _prove(self, job_id: str) -> bytes:
        """Return the version report for the job's end; empty if there cannot be one."""
        # Not when the transition was queued: the cloud may have been away since, and its nonce be of no use any more.
        if self._version_reports.can_sign and not self._cloud.report_nonce:
            await self._fetch_state(job_id)
        return await self._version_reports.make(self._cloud.report_nonce, job_id=job_id)

    async def _prove_again(self, report: Report, error: CloudRefused) -> None:
        """Fetch another nonce after a success that the cloud considers unproven. The cloud limits how often that is tried."""
        _log.warning("job %s: %s; reporting again", report.job_id, error)
        self._trace.emit("cloud.unproven", job_id=report.job_id, reason=str(error))
        await asyncio.sleep(self._backoff.next_s())
        await self._fetch_state(report.job_id)

    async def _send_progress(self, job: JobRecord) -> None:
        self._has_progress = False
        request = status_request(self._vin, job, progress=self._progress)
        try:
            answer = await self._cloud.update_status(request)
        except CloudUnreachable:
            await asyncio.sleep(self._backoff.next_s())
        except CloudRefused:
            await self._fetch_state(job.job_id)
            await asyncio.sleep(self._heartbeat_s)
        else:
            self._backoff.reset()
            self._pass_on(job.job_id, answer.state, answer.cancel_requested)

    async def _fetch_state(self, job_id: str) -> None:
        """Fetch the job's state after a refusal. The cloud may have ended the job, and reports that only at check-in."""
        try:
            answer = await self._cloud.check_in(self._version_reports.identities, job_id=job_id)
        except (CloudUnreachable, CloudRefused):
            return
        if answer.job_id == job_id:
            self._pass_on(job_id, answer.job_state, False)

    def _pass_on(self, job_id: str, state: int, cancel_requested: bool) -> None:
        try:
            known = from_wire(state)
        except ValueError:
            # A state of a later protocol version. This gateway cannot act on it.
            return
        self._on_answer(job_id, known, cancel_requested)


async def _wait(event: asyncio.Event, *, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass
