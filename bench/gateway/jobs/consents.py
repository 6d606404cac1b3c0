"""The driver's consents: made and signed when the driver decides, judged before anything is downloaded and before anything is installed.

The record and its rules are in ``proto.consent``. An envelope holds the record, the signature and a time attestation, as JSON. It is an
event of the trace, so that it becomes part of the evidence of the update.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from otabench.bench.gateway.cloud.time_source import TimeSource
from otabench.bench.gateway.errors import StartError
from otabench.bench.gateway.hmi.model import Choice, ConditionView, Decision
from otabench.bench.gateway.jobs.appointments import Appointment
from otabench.bench.gateway.jobs.driver_records import DriverRecords
from otabench.bench.gateway.store import JobRecord
from otabench.bench.gateway.trust.manifest import Plan
from otabench.proto import metadata_window
from otabench.proto.consent import (
    VALID_FOR,
    Answer,
    ConditionThen,
    Consent,
    Facts,
    Question,
    Shown,
    Who,
    canonical,
    manifest_digest,
    nonce_of,
    offer_id,
    problem,
    texts_shown,
)
from otabench.proto.driver_texts import DriverTexts
from otabench.proto.process_config import TlsConfig
from otabench.proto.trace import TraceWriter
from otabench.proto.vehicle_signature import Signer

_ATTESTED_WITHIN_S: Final = 1.0
"""The driver waits for the answer meanwhile."""


class Consents:
    """The consents to the jobs of one vehicle.

    Args:
        records: where they are kept.
        signer: None: the gateway has no key, and its consents are not signed (a gateway on loopback without TLS).
        time_source: attests when a consent was there.
        trace: receives each consent.
    """

    def __init__(
        self, records: DriverRecords, *, signer: Signer | None, time_source: TimeSource, trace: TraceWriter
    ) -> None:
        self.records = records
        self._time_source = time_source
        self._signer = signer
        self._trace = trace

    async def give(
        self,
        job: JobRecord,
        plan: Plan,
        choice: Choice,
        *,
        question: Question,
        facts: Facts,
        conditions: Sequence[ConditionView],
        appointment: Appointment | None = None,
    ) -> None:
        """Record, sign and trace the driver's consent. Have its time attested, if the cloud is there."""
        digest = manifest_digest(targets_of(job))
        now = datetime.now(UTC)
        consent = Consent(
            vin=plan.custom.vin,
            job_id=job.job_id,
            who=Who(session=choice.session, pairing=choice.pairing),
            manifest_sha256=digest,
            offer=offer_id(digest, question, facts),
            shown=Shown(
                question=question,
                language=choice.language,
                texts=texts_shown(plan.custom, choice.language) or DriverTexts(),
                facts=facts,
            ),
            conditions=tuple(_then(text, conditions) for text in plan.custom.conditions),
            given_at=now,
            start_from=None if appointment is None else appointment.start_from.astimezone(UTC),
            start_by=None if appointment is None else appointment.start_by.astimezone(UTC),
            valid_until=(appointment.start_by.astimezone(UTC) if appointment else now) + VALID_FOR,
        )
        envelope: dict[str, Any] = {
            "consent": consent.model_dump(mode="json"),
            "attestation": (await self._attestation(consent)).hex(),
        }
        if self._signer is not None:
            envelope["signature"] = json.loads(self._signer.sign(canonical(consent)))
        self.records.keep(job.job_id, question, json.dumps(envelope).encode(), appointment)
        self._trace.emit("driver.consent", job_id=job.job_id, **envelope)

    def record_answer(self, job: JobRecord, plan: Plan, choice: Choice, *, question: Question) -> None:
        """Sign and trace that the driver did not consent: Later or Decline. Nothing is carried out by it, so it is not kept on disk."""
        answer = Answer(
            vin=plan.custom.vin,
            job_id=job.job_id,
            who=Who(session=choice.session, pairing=choice.pairing),
            manifest_sha256=manifest_digest(targets_of(job)),
            question=question,
            decision="decline" if choice.decision is Decision.DECLINE else "later",
            reason=choice.reason,
            given_at=datetime.now(UTC),
        )
        envelope: dict[str, Any] = {"answer": answer.model_dump(mode="json")}
        if self._signer is not None:
            envelope["signature"] = json.loads(self._signer.sign(canonical(answer)))
        self._trace.emit("driver.answer", job_id=job.job_id, **envelope)

    async def _attestation(self, consent: Consent) -> bytes:
        """Return a time attestation for the consent; empty: there is none. A vehicle without a network may consent, too."""
        try:
            async with asyncio.timeout(_ATTESTED_WITHIN_S):
                return await self._time_source.ask(nonce_of(consent), job_id=consent.job_id)
        except TimeoutError:
            return b""

    def download_problem(self, job: JobRecord, plan: Plan) -> str:
        """Return why the driver's consent does not allow the download; empty if it does."""
        return self._problem(job, plan, [each for each in Question if each.covers_download])

    def install_problem(self, job: JobRecord, plan: Plan) -> str:
        """Return why the driver's consent does not allow the installation; empty if it does."""
        return self._problem(job, plan, [each for each in Question if each.covers_install])

    def _problem(self, job: JobRecord, plan: Plan, questions: Sequence[Question]) -> str:
        found = "there is no consent of the driver"
        for question in questions:
            envelope = self.records.consent(job.job_id, question)
            if envelope is None:
                continue
            try:
                consent = Consent.model_validate(json.loads(envelope)["consent"])
            except (ValueError, KeyError, TypeError, ValidationError) as error:
                found = f"the consent on disk cannot be read ({error})"
                continue
            found = problem(consent, manifest=targets_of(job), custom=plan.custom, at=datetime.now(UTC))
            if not found:
                return ""
        return found


def vehicle_signer(tls: TlsConfig | None) -> Signer | None:
    """Return the gateway's signer: its key towards the cloud is the one that names the vehicle. None: it has no key (loopback, no TLS).

    Raises:
        StartError: a file cannot be read.
    """
    if tls is None:
        return None
    try:
        return Signer(tls.certificate.read_bytes(), tls.key.read_bytes())
    except OSError as error:
        raise StartError(f"tls: {error.filename}: {(error.strerror or str(error)).lower()}") from error


def targets_of(job: JobRecord) -> bytes:
    """Return the Director's Targets of a job, which the driver's consent is about. The record may hold Roots beside them."""
    return metadata_window.parse(job.manifest or b"").targets


def _then(text: str, views: Sequence[ConditionView]) -> ConditionThen:
    """Return a condition as it was read last."""
    view = next((each for each in views if f"{each.quantity}{each.sign}{each.limit:.10g}" == text), None)
    return ConditionThen(
        condition=text, value=None if view is None else view.value, is_met=view is not None and view.is_met
    )
