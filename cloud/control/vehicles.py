"""``ota.v1.ControlPlane``: the service for vehicles' gateways.

Every call needs the certificate of its vehicle. The changes of a call are committed first, then announced, then answered: a vehicle must
not read an answer that a crash could undo. ``campaigns.check_in`` and ``campaigns.status_update`` make the decisions.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final

from sqlalchemy.orm import Session

from otabench.cloud.campaigns import check_in, inventory, jobs, manifests, outbox, status_update
from otabench.cloud.campaigns.announcer import Announcer
from otabench.cloud.campaigns.check_in import REFUSED, CheckInOutcome
from otabench.cloud.campaigns.check_in_reader import CheckInReader
from otabench.cloud.campaigns.manifest_maker import ManifestMaker
from otabench.cloud.campaigns.publication import Publication
from otabench.cloud.campaigns.status_update import UpdateOutcome
from otabench.cloud.campaigns.status_writer import StatusWriter
from otabench.cloud.campaigns.version_reports import ReportNotes
from otabench.cloud.control.answering import EVERYBODY, Context, peer_of, vehicle_call
from otabench.cloud.control.auditing import Auditor
from otabench.cloud.errors import InvalidRequest, NotAllowed, RequestError
from otabench.cloud.store.database import Database
from otabench.cloud.trust.director import Director
from otabench.proto import ota_pb2, ota_pb2_grpc
from otabench.proto.job_states import from_wire, to_wire

_log = logging.getLogger(__name__)
_PREPARE_WAIT_S: Final = 2.0
"""How long a check-in waits for its manifest. After that the answer asks the vehicle to check in again."""
_PREPARE_POLL_S: Final = 1.0
"""When such a vehicle is to check in again. It is woken earlier if the manifest is ready earlier."""


class ControlPlane(ota_pb2_grpc.ControlPlaneServicer):
    """The service. Every answer to GetManifest contains the Director's chain of Roots."""

    def __init__(
        self,
        *,
        database: Database,
        manifest_maker: ManifestMaker,
        announcer: Announcer,
        director: Director,
        publication: Publication,
        artifact_base_url: str,
        poll_interval_s: float,
        tls: bool,
        auditor: Auditor,
    ) -> None:
        self._database = database
        self._check_ins = CheckInReader(database, director)
        self._reports = StatusWriter(database)
        self._manifest_maker = manifest_maker
        self._announcer = announcer
        self._director = director
        self._publication = publication
        self._artifact_base_url = artifact_base_url
        self._poll_interval_s = poll_interval_s
        self._tls = tls
        self._auditor = auditor
        self._waking: set[asyncio.Task[None]] = set()

    async def CheckIn(self, request: ota_pb2.CheckInRequest, context: Context) -> ota_pb2.CheckInResponse:
        async with self._call(context, request.vin):
            outcome = await self._judge(request)
            poll_interval_s = self._poll_interval_s
            # Not inside the transaction: making patches takes time, and other vehicles must be answered meanwhile.
            notes = outcome.notes
            if outcome.prepare:
                # Judged once: the same report would be dropped twice.
                request.ClearField("version_report")
                outcome = await self._prepare(request, outcome)
                poll_interval_s = _PREPARE_POLL_S if outcome.prepare else poll_interval_s
            if outcome.transition is not None:
                self._announcer.job_moved(outcome.transition)
            self._announcer.checked_in(request, outcome)
            await self._announce_notes(request.vin, notes, context)
            return ota_pb2.CheckInResponse(
                decision=outcome.decision,
                job_id=outcome.job_id,
                job_state=to_wire(outcome.job_state) if outcome.job_state else ota_pb2.JOB_STATE_UNSPECIFIED,
                reason=outcome.reason,
                poll_interval_s=poll_interval_s,
                report_nonce=outcome.nonce,
            )

    async def GetManifest(self, request: ota_pb2.GetManifestRequest, context: Context) -> ota_pb2.GetManifestResponse:
        def load(session: Session) -> dict[str, bytes]:
            job = jobs.load_job(session, vin=request.vin, job_id=request.job_id)
            row = manifests.latest_manifest(session, job)
            if row is None:
                raise NotAllowed(f"job {job.job_id} has no manifest yet: check in first")
            return manifests.by_role(row)

        async with self._call(context, request.vin):
            files = await self._database.run(load)
            return ota_pb2.GetManifestResponse(
                metadata={
                    **self._director.root_files_for(files),
                    **{f"{role}.json": content for role, content in files.items()},
                },
                image_metadata=await self._publication.files(),
                artifact_base_url=self._artifact_base_url,
            )

    async def AttestTime(self, request: ota_pb2.AttestTimeRequest, context: Context) -> ota_pb2.AttestTimeResponse:
        async with self._call(context, request.vin):
            try:
                attestation = self._director.attest_time(request.nonce, now=time.time())
            except ValueError as error:
                raise InvalidRequest(f"nonce: {error}") from error
            if attestation is None:
                raise NotAllowed("this cloud's Root lists no time key: `otabench keys rotate director/time` makes one")
            return ota_pb2.AttestTimeResponse(attestation=attestation)

    async def UpdateStatus(
        self, request: ota_pb2.UpdateStatusRequest, context: Context
    ) -> ota_pb2.UpdateStatusResponse:
        async with self._call(context, request.vin):
            try:
                reported = from_wire(request.state)
            except ValueError as error:
                # Enumerations of proto3 are open: any number may arrive.
                raise InvalidRequest(f"state {request.state} is not a job state of this cloud") from error

            def apply(session: Session) -> UpdateOutcome:
                # The operator sees all ECUs of a report, so their number is limited here and not by the rules for check-ins.
                inventory.check_count(session, request.vin, ecus=len(request.ecus), progress=len(request.progress))
                return status_update.apply(session, request, reported=reported, now=time.time())

            outcome = await self._reports.apply(request, reported=reported)
            if outcome is None:
                outcome = await self._database.run(apply)
            if outcome.transition is not None:
                self._announcer.job_moved(outcome.transition)
            else:
                self._announcer.campaign_changed(outcome.campaign_id, job_id=request.job_id)
            await self._announce_notes(request.vin, outcome.notes, context)
            # Not inside the transaction, which keeps that the claim was made.
            if outcome.refusal:
                raise NotAllowed(outcome.refusal)
            return ota_pb2.UpdateStatusResponse(
                state=to_wire(outcome.state), cancel_requested=outcome.cancel_requested, report_nonce=outcome.nonce
            )

    async def _announce_notes(self, vin: str, notes: ReportNotes, context: Context) -> None:
        """Trace and audit what the operator should know of a version report."""
        if not notes.dropped and not notes.attacks:
            return
        who = str(peer_of(context, tls=self._tls) or EVERYBODY)
        if notes.dropped:
            self._announcer.report_dropped(vin, notes.dropped)
            await self._auditor.record_dropped_report(vin, who=who, reason=notes.dropped)
        for ecu, attack in notes.attacks.items():
            if await self._auditor.record_attack(vin, ecu, attack, who=who):
                self._announcer.attack_reported(vin, ecu, attack)

    def _call(self, context: Context, vin: str) -> AbstractAsyncContextManager[None]:
        return vehicle_call(context, vin, tls=self._tls)

    async def _judge(self, request: ota_pb2.CheckInRequest) -> CheckInOutcome:
        if (outcome := await self._check_ins.judge(request)) is not None:
            return outcome
        is_signed_now = self._director.has_signed_with_present_keys
        return await self._database.run(
            lambda session: check_in.judge(session, request, is_signed_now=is_signed_now, now=time.time())
        )

    async def _prepare(self, request: ota_pb2.CheckInRequest, outcome: CheckInOutcome) -> CheckInOutcome:
        """Make the manifest and judge again. If that takes too long, ask the vehicle to check in again."""
        making = asyncio.ensure_future(self._manifest_maker.prepare(outcome.job_id, vin=request.vin))
        # ``wait_for`` would cancel the task at the end of the time. With ``wait`` it continues.
        done, _ = await asyncio.wait({making}, timeout=_PREPARE_WAIT_S)
        if not done:
            waking = asyncio.create_task(self._wake_when_made(making, request.vin, outcome))
            # The event loop itself holds tasks weakly only.
            self._waking.add(waking)
            waking.add_done_callback(self._waking.discard)
            return replace(outcome, reason="the manifest is being made: check in again")
        try:
            making.result()
        # NotReady is not caught here. It becomes UNAVAILABLE, and the gateway tries again.
        except NotAllowed as error:
            return replace(outcome, decision=REFUSED, reason=str(error), prepare=False)
        return await self._judge(request)

    async def _wake_when_made(self, making: asyncio.Future[None], vin: str, outcome: CheckInOutcome) -> None:
        """Wake the vehicle when its manifest was made. If that fails, its next check-in tries again."""
        waiting = [(vin, outcome.job_id, outcome.campaign_id)]
        try:
            await making
            await self._database.run(lambda session: outbox.add_wake_ups(session, waiting, now=time.time()))
        except RequestError as error:
            _log.warning("vehicle %s is not woken for job %s: %s", vin, outcome.job_id, error)
            return
        self._announcer.notify_outbox()
