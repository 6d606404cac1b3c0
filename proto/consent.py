"""The record of a driver's consent: who agreed, to what, as it was shown, under which conditions, and when.

The gateway writes and signs it (``bench.gateway.jobs.consents``). The gateway judges it again before it downloads and before it installs;
``bench.evidence`` judges it once more, on another machine.

A consent is worth something only for the manifest whose hash it names, until it expires, and only if the driver was shown what the manifest
says. ``problem`` judges all three. It does not judge the signature (``proto.vehicle_signature``).
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from otabench.proto.driver_texts import DriverTexts
from otabench.proto.time_attestation import NONCE_BYTES
from otabench.proto.uptane import ManifestCustom

FORMAT: Final = "otabench-consent-1"
VALID_FOR: Final = timedelta(hours=24)
"""How long after the consent, or after the end of its appointment, the update may still be begun."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Question(StrEnum):
    """What the driver is asked."""

    DOWNLOAD = "download"
    INSTALL = "install"
    """After a download that the driver was asked about before."""
    BOTH = "download and install"

    @property
    def covers_download(self) -> bool:
        """Whether a consent to it allows the download."""
        return self is not Question.INSTALL

    @property
    def covers_install(self) -> bool:
        """Whether a consent to it allows the installation."""
        return self is not Question.DOWNLOAD


class Facts(_Model):
    """The facts that the driver was shown beside the campaign's texts."""

    download_bytes: int
    duration_min_s: int
    duration_max_s: int
    stops_working: bool
    is_kept_parked: bool
    has_no_way_back: bool


class Shown(_Model):
    """What the driver was shown."""

    question: Question
    language: str
    """Of the texts; empty: the campaign's own name and notes, which have no language."""
    texts: DriverTexts
    facts: Facts


class Who(_Model):
    """The party that agreed: not a person, but the paired display or program."""

    session: str
    """The digest of the session; "bearer": a program that sent the pairing code."""
    pairing: str
    """The fingerprint of the pairing code."""


class ConditionThen(_Model):
    """A condition as it was at the moment of the consent."""

    condition: str
    value: float | None
    is_met: bool


class Consent(_Model):
    """The record."""

    format: Literal["otabench-consent-1"] = FORMAT
    vin: str
    job_id: str
    who: Who
    manifest_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the Director's Targets, as the bytes that were signed."""
    offer: str
    """``offer_id`` of what was shown; the display sent it back with the decision."""
    shown: Shown
    conditions: tuple[ConditionThen, ...]
    given_at: AwareDatetime
    """By the gateway's own clock, UTC. A time attestation may vouch for it (``nonce_of``)."""
    start_from: AwareDatetime | None = None
    """The beginning of the appointment; None: the driver wanted it at once."""
    start_by: AwareDatetime | None = None
    valid_until: AwareDatetime


class Answer(_Model):
    """The record of a driver who did not consent."""

    format: Literal["otabench-answer-1"] = "otabench-answer-1"
    vin: str
    job_id: str
    who: Who
    manifest_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    question: Question
    decision: Literal["later", "decline"]
    reason: str = ""
    given_at: AwareDatetime
    """By the gateway's own clock, UTC."""


def canonical(consent: Consent | Answer) -> bytes:
    """Return the bytes that are signed."""
    return _canonical(consent.model_dump(mode="json"))


def nonce_of(consent: Consent) -> bytes:
    """Return the nonce by which a time attestation belongs to a consent: it proves that the consent was there at that time."""
    return hashlib.sha256(canonical(consent)).digest()[:NONCE_BYTES]


def manifest_digest(manifest: bytes) -> str:
    """Return the hash by which a consent names its manifest."""
    return hashlib.sha256(manifest).hexdigest()


def offer_id(manifest_sha256: str, question: Question, facts: Facts) -> str:
    """Return the name of an offer. It changes with the manifest and with everything that is shown beside it."""
    content = {"manifest": manifest_sha256, "question": question, "facts": facts.model_dump(mode="json")}
    return hashlib.sha256(_canonical(content)).hexdigest()


def texts_shown(custom: ManifestCustom, language: str) -> DriverTexts | None:
    """Return the texts that a display shows in a language; None: the campaign does not have the language.

    The empty language is that of the campaign's own name and notes. They also replace a name or notes that a language does not have.
    """
    plain = DriverTexts(name=custom.campaign_name, release_notes=custom.release_notes)
    if not language:
        return plain
    texts = custom.texts.get(language)
    if texts is None:
        return None
    return texts.model_copy(
        update={"name": texts.name or plain.name, "release_notes": texts.release_notes or plain.release_notes}
    )


def problem(consent: Consent, *, manifest: bytes, custom: ManifestCustom, at: datetime) -> str:
    """Return why a consent is worth nothing for a manifest; empty if it is good.

    Args:
        consent: the record.
        manifest: the Director's Targets that are to be carried out, as signed.
        custom: the part of these Targets about vehicle and job.
        at: the moment at which the update is begun, with a time zone.
    """
    if (consent.vin, consent.job_id) != (custom.vin, custom.job_id):
        return f"the consent is for job {consent.job_id} of {consent.vin}"
    digest = manifest_digest(manifest)
    if consent.manifest_sha256 != digest:
        return f"the consent is for another manifest ({consent.manifest_sha256[:16]}, this is {digest[:16]})"
    if consent.offer != offer_id(digest, consent.shown.question, consent.shown.facts):
        return "the consent is for an offer that was shown differently"
    if consent.shown.texts != texts_shown(custom, consent.shown.language):
        return "the driver was shown other texts than those of the manifest"
    if [each.condition for each in consent.conditions] != list(custom.conditions):
        return "the driver was shown other conditions than those of the manifest"
    if at < consent.given_at:
        return f"the consent was given later, at {consent.given_at.isoformat(timespec='seconds')}"
    if consent.start_from is not None and at < consent.start_from:
        return f"the consent is for a start from {consent.start_from.isoformat(timespec='seconds')} on"
    if at > consent.valid_until:
        return f"the consent expired at {consent.valid_until.isoformat(timespec='seconds')}"
    return ""


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
