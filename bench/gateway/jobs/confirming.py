"""CONFIRMING: read the ECUs, get the manifest from the cloud, and accept or refuse it.

The verification itself is in ``trust``.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping

from otabench.bench.deadline import Deadline
from otabench.bench.gateway.cloud.cloud_link import CloudLink, Manifest
from otabench.bench.gateway.cloud.time_source import TimeSource
from otabench.bench.gateway.config import GatewayTiming
from otabench.bench.gateway.errors import CloudRefused, CloudUnreachable, ManifestRefused
from otabench.bench.gateway.hmi.dashboard import Dashboard
from otabench.bench.gateway.hmi.model import Obstacle, ObstacleKind
from otabench.bench.gateway.jobs.conditions import VehicleConditions
from otabench.bench.gateway.jobs.identities import Identities
from otabench.bench.gateway.jobs.job_files import JobFiles
from otabench.bench.gateway.jobs.outcome import Outcome
from otabench.bench.gateway.jobs.states import Event
from otabench.bench.gateway.store import Facts, JobRecord
from otabench.bench.gateway.trust.attested_time import TimeAnswer
from otabench.bench.gateway.trust.primary import Accepted, Primary
from otabench.bench.uds.errors import FlashError
from otabench.bench.uds.identity import EcuIdentity
from otabench.proto.time_attestation import NONCE_BYTES
from otabench.proto.trace import TraceWriter


class ManifestCheck:
    """The action of CONFIRMING."""

    def __init__(
        self,
        *,
        timing: GatewayTiming,
        cloud: CloudLink,
        time_source: TimeSource,
        primary: Primary,
        files: JobFiles,
        identities: Identities,
        dashboard: Dashboard,
        trace: TraceWriter,
        conditions: VehicleConditions,
    ) -> None:
        self._conditions = conditions
        self._timing = timing
        self._cloud = cloud
        self._time_source = time_source
        self._primary = primary
        self._files = files
        self._identities = identities
        self._dashboard = dashboard
        self._trace = trace

    async def check(self, job: JobRecord) -> Outcome:
        """Verify the Director's manifest for this job against the vehicle as it is now. Return MANIFEST_ACCEPTED, or why not."""
        # The ECUs are read first, because the manifest is checked against what they are and what they run.
        try:
            identities = await self._identify()
        except FlashError as error:
            return Outcome(Event.UNABLE, f"the vehicle is not ready: {error}")
        try:
            manifest = await self._get_manifest(job.job_id)
            # After the manifest: the cloud is there, and whoever holds the manifest back cannot make the time older.
            nonce = secrets.token_bytes(NONCE_BYTES)
            attestation = await self._time_source.ask(nonce, job_id=job.job_id)
            accepted = self._primary.accept(
                manifest.metadata,
                image_metadata=manifest.image_metadata,
                job_id=job.job_id,
                identities=identities,
                time=TimeAnswer(nonce, attestation),
            )
        except CloudRefused as error:
            return Outcome(Event.UNABLE, f"the cloud does not provide a manifest: {error}")
        except ManifestRefused as error:
            self._trace.emit("manifest.refused", job_id=job.job_id, reason=str(error), kind=error.kind)
            return Outcome(Event.MANIFEST_REFUSED, f"manifest refused: {error}")
        return self._keep(job, accepted, identities=identities, artifact_base_url=manifest.artifact_base_url)

    def _keep(
        self,
        job: JobRecord,
        accepted: Accepted,
        *,
        identities: Mapping[str, EcuIdentity],
        artifact_base_url: str,
    ) -> Outcome:
        plan = accepted.plan
        if accepted.time_problem:
            self._trace.emit("time.not_attested", job_id=job.job_id, reason=accepted.time_problem)
        from_versions = {each.ecu: identities[each.ecu].software_version for each in plan.ecus}
        self._trace.emit(
            "manifest.accepted",
            job_id=job.job_id,
            versions={each.ecu: [from_versions[each.ecu], each.version] for each in plan.ecus},
        )
        # Check the space now, before the driver is asked. An update that cannot be downloaded should not be offered.
        if problem := self._files.room_problem(plan, from_versions):
            return Outcome(Event.UNABLE, problem)
        # A condition that can never be met would leave the driver with an offer that cannot be accepted.
        if problem := self._conditions.problem(plan):
            return Outcome(Event.MANIFEST_REFUSED, f"manifest refused: {problem}")
        facts = Facts(
            manifest=accepted.window,
            artifact_base_url=artifact_base_url,
            from_versions=from_versions,
            campaign_name=plan.custom.campaign_name,
            asked_at=time.time(),
        )
        return Outcome(Event.MANIFEST_ACCEPTED, facts=facts)

    async def _identify(self) -> Mapping[str, EcuIdentity]:
        """Read the ECUs now. While one is silent, try again for as long as all stage attempts together would wait."""
        deadline = Deadline(self._timing.ecu_lost_timeout_s * self._timing.stage_attempts)
        backoff = self._timing.backoff()
        while True:
            try:
                return await self._identities.refresh()
            except FlashError as error:
                # A refusal, or a response that does not fit, would be the same later.
                if not error.retryable or deadline.has_passed():
                    raise
                self._dashboard.show(obstacle=Obstacle(kind=ObstacleKind.ECU_SILENT, text=str(error)))
            await asyncio.sleep(backoff.next_s())

    async def _get_manifest(self, job_id: str) -> Manifest:
        # There is no time limit here. The cloud's limit for the job ends the wait, or the operator.
        backoff = self._timing.backoff()
        while True:
            try:
                return await self._cloud.get_manifest(job_id)
            except CloudUnreachable:
                await asyncio.sleep(backoff.next_s())
