"""The facts of one update: the contents of evidence.json, and its schema. ``document`` derives them."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from otabench.proto.consent import Answer, Consent
from otabench.proto.driver_texts import DriverTexts

FORMAT: Final = "otabench-evidence-1"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class State(_Model):
    """One transition of the job."""

    at: str
    before: str
    after: str
    reason: str


class Decision(_Model):
    """One decision of the driver."""

    at: str
    decision: str


class SignedConsent(_Model):
    """A consent of the driver, as the gateway recorded it, and the gateway's signature; None: it is not signed."""

    at: str
    consent: Consent
    signature: dict[str, str] | None = None
    attestation: str = ""
    """The time, as the Director's time keys attested it for this consent, in hex; empty: it is not attested."""


class SignedAnswer(_Model):
    """Later or Decline, as the gateway recorded it, and the gateway's signature; None: it is not signed."""

    at: str
    answer: Answer
    signature: dict[str, str] | None = None


class Recorded(_Model):
    """One call to the cloud about campaign or job, from its audit log."""

    at: str
    who: str
    what: str
    outcome: str
    state: str = ""
    """Of the job, if the call reported one."""


class Judgement(_Model):
    """The conditions that were not met at one moment; empty: all were met."""

    at: str
    unmet: tuple[str, ...]


class Image(_Model):
    """What the manifest demands of one ECU."""

    ecu: str
    serial: str
    hardware_id: str
    version: str
    release_counter: int
    path: str
    length: int
    hashes: dict[str, str]
    patch_sha256: str = ""
    is_encrypted: bool = False
    rxswin: str = ""
    """What the image makes the ECU report; empty: it states none."""


class Ecu(_Model):
    """What one ECU reported about itself."""

    at: str
    serial: str
    hardware_id: str
    software_version: str
    rxswin: str = ""
    """Identifier F1A0 (UN R156); empty: the ECU has none."""
    active_slot: int
    slots: tuple[dict[str, Any], ...] = ()


class Step(_Model):
    """One UDS exchange. Long requests and responses are cut; ``frames`` are line numbers of the bus's capture, the first and the last."""

    at: str
    ecu: str
    service: str
    request: str
    response: str
    nrc: int | None = None
    duration_ms: float
    problem: str = ""
    bus: str = ""
    frames: tuple[int, int] | None = None


class Evidence(_Model):
    """The contents of evidence.json."""

    format: str = FORMAT
    vin: str
    job_id: str
    campaign_id: str
    campaign_name: str
    release_notes: str
    manifest_version: int
    manifest_accepted_at: str
    images: tuple[Image, ...]
    texts: dict[str, DriverTexts]
    audit: tuple[Recorded, ...]
    conditions: tuple[str, ...]
    judgements: tuple[Judgement, ...]
    decisions: tuple[Decision, ...]
    consents: tuple[SignedConsent, ...]
    answers: tuple[SignedAnswer, ...]
    course: tuple[State, ...]
    result: str
    reason: str
    before: dict[str, Ecu]
    after: dict[str, Ecu]
    trouble_codes: dict[str, tuple[str, ...]]
    steps: tuple[Step, ...]
