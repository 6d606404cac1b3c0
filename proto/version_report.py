"""Version reports: what an ECU signs about the image that it runs, and a gateway about all ECUs of its vehicle.

    sealed = seal(EcuVersionReport(vin=…, nonce=…, …), key)      # in the ECU
    report = open_ecu_report(sealed, public_key)                 # in the cloud
    vehicle = seal(VehicleVersionReport(ecus=[EcuEntry(…)], …), gateway_key)

A sealed report is an Ed25519 signature (64 bytes) followed by the signed JSON, with sorted keys and without spaces. The bytes travel as
they were signed: serialized again they might not verify.

Rules:

* The signature covers the kind of the report, too. An ECU's report is never taken for a vehicle's, nor either of them for metadata.
* The nonce is the cloud's. The gateway hands the same one to every ECU, so that a report cannot be made beforehand or kept for later.
* A reader verifies the signature before it looks at a field.

Which reports a cloud accepts is judged in ``cloud.trust.reports``. Uptane names these reports ECU version report and vehicle version
manifest; here "manifest" is the Director's.
"""

from __future__ import annotations

import json
from typing import Annotated, Final, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

NONCE_BYTES: Final = 16
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
MAX_ECU_REPORT_BYTES: Final = 2048
"""A response of UDS has 4095 bytes at most, and the reports of a vehicle's ECUs must fit one message to the cloud."""
UNPROVEN: Final = "unproven"
"""The first word of the cloud's answer to a SUCCEEDED that no acceptable report proves. The gateway reports again, with a new nonce."""

_Hex = Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$", max_length=128)]
_Text = Annotated[str, Field(max_length=128)]


class ReportUnreadable(ValueError):
    """A report that is malformed, or not signed by the key. The message states which."""


class SignatureWrong(ReportUnreadable):
    """A report whose signature is not that of the key."""


class _Report(BaseModel):
    # Unknown fields are ignored, because a later version may add some.
    model_config = ConfigDict(frozen=True, extra="ignore")


class EcuVersionReport(_Report):
    """What one ECU states about itself."""

    vin: _Text
    """Empty if the ECU was never given one."""
    serial: _Text
    hardware_id: _Text
    version: _Text
    """Of the running image, as DID F189."""
    state: _Text
    """Of the running image's slot: CONFIRMED, TRIAL; NONE if no image runs."""
    length: int = Field(ge=0)
    """Of the running image in bytes."""
    hashes: dict[str, _Hex] = Field(max_length=8)
    """Digests of the running image by algorithm; empty if no image runs."""
    counter: int = Field(ge=1, lt=2**63)
    """Higher than in any report of this ECU before."""
    nonce: _Hex
    attested_time_s: int = Field(default=0, ge=0)
    """The last attested time that the ECU has, in s since 1970; 0: none."""
    attack: _Text = ""
    """The name of what the ECU refused last, if it has accepted nothing since."""


class EcuEntry(_Report):
    """One ECU in a vehicle's report: its own report if it can sign, else what the gateway has read."""

    serial: _Text
    hardware_id: _Text
    version: _Text
    report: Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$", max_length=2 * MAX_ECU_REPORT_BYTES)] = ""
    """The ECU's sealed report in hexadecimal; empty if it cannot sign."""


class VehicleVersionReport(_Report):
    """What the gateway states about its vehicle."""

    vin: _Text
    primary: _Text = ""
    """The Primary's identifier: the public half of the key that signs, as hexadecimal digits. Empty in reports of earlier versions."""
    nonce: _Hex
    ecus: tuple[EcuEntry, ...] = Field(max_length=256)


_R = TypeVar("_R", EcuVersionReport, VehicleVersionReport)
_KINDS: Final = {EcuVersionReport: b"ecu", VehicleVersionReport: b"vehicle"}


def seal(report: EcuVersionReport | VehicleVersionReport, key: Ed25519PrivateKey) -> bytes:
    """Return the report, signed."""
    body = json.dumps(report.model_dump(), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return key.sign(_signed(type(report), body)) + body


def open_ecu_report(sealed: bytes, key: Ed25519PublicKey) -> EcuVersionReport:
    """Return an ECU's report.

    Raises:
        SignatureWrong: the key has not signed it.
        ReportUnreadable: it is malformed.
    """
    return _open(sealed, key, EcuVersionReport)


def open_vehicle_report(sealed: bytes, key: Ed25519PublicKey) -> VehicleVersionReport:
    """Return a vehicle's report. Raises as ``open_ecu_report``."""
    return _open(sealed, key, VehicleVersionReport)


def parse_private_key(text: str) -> Ed25519PrivateKey:
    """Return the key of a key file: 64 hexadecimal digits and white space. Raises ValueError."""
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text.strip()))


def _open(sealed: bytes, key: Ed25519PublicKey, kind: type[_R]) -> _R:
    signature, body = sealed[:SIGNATURE_BYTES], sealed[SIGNATURE_BYTES:]
    try:
        key.verify(signature, _signed(kind, body))
    except InvalidSignature as error:
        raise SignatureWrong("it is not signed by the registered key") from error
    try:
        return kind.model_validate_json(body)
    # Pydantic's parser limits the depth itself. The text would repeat the whole input, so it is not quoted.
    except ValidationError as error:
        raise ReportUnreadable(f"it is signed, but malformed in {_place(error)}") from error


def _place(error: ValidationError) -> str:
    return ".".join(str(part) for part in error.errors()[0]["loc"]) or "its JSON"


def _signed(kind: type[EcuVersionReport] | type[VehicleVersionReport], body: bytes) -> bytes:
    return b"otabench version report 1: " + _KINDS[kind] + b"\0" + body
