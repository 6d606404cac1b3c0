"""Tables of what an ECU's refusal means and what to do about it: negative response codes, and statuses of routines.

ISO 14229-1 leaves the statuses of routines to the manufacturer. Those here are this project's own (docs/contracts.md). The names of
the codes are in ``names``.
"""

from __future__ import annotations

from typing import Final

from otabench.bench.uds.names import NEGATIVE_RESPONSES

SERVICE_NOT_SUPPORTED: Final = 0x11
SUB_FUNCTION_NOT_SUPPORTED: Final = 0x12
BUSY_REPEAT_REQUEST: Final = 0x21
CONDITIONS_NOT_CORRECT: Final = 0x22
REQUEST_SEQUENCE_ERROR: Final = 0x24
REQUEST_OUT_OF_RANGE: Final = 0x31
SECURITY_ACCESS_DENIED: Final = 0x33
INVALID_KEY: Final = 0x35
REQUIRED_TIME_DELAY_NOT_EXPIRED: Final = 0x37
UPLOAD_DOWNLOAD_NOT_ACCEPTED: Final = 0x70
TRANSFER_DATA_SUSPENDED: Final = 0x71
GENERAL_PROGRAMMING_FAILURE: Final = 0x72
WRONG_BLOCK_SEQUENCE_COUNTER: Final = 0x73
RESPONSE_PENDING: Final = 0x78
SUB_FUNCTION_NOT_SUPPORTED_IN_ACTIVE_SESSION: Final = 0x7E
SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION: Final = 0x7F

NOT_IN_THIS_SESSION: Final = frozenset(
    {SUB_FUNCTION_NOT_SUPPORTED_IN_ACTIVE_SESSION, SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION}
)
NOT_SUPPORTED: Final = NOT_IN_THIS_SESSION | {
    SERVICE_NOT_SUPPORTED,
    SUB_FUNCTION_NOT_SUPPORTED,
    REQUEST_OUT_OF_RANGE,
}
"""The codes with which a bootloader refuses a request that only an application supports."""
WRONG_SESSION_FOR_ROUTINE: Final = NOT_IN_THIS_SESSION | {REQUEST_OUT_OF_RANGE}
"""31 is included because an ECU may treat a routine that the active session does not support as out of range."""

SESSION_LOST: Final = NOT_IN_THIS_SESSION | {REQUEST_SEQUENCE_ERROR, SECURITY_ACCESS_DENIED}
"""Between two steps these codes mean that the ECU was reset, or fell back to the default session."""

FORGOTTEN: Final = NOT_IN_THIS_SESSION | {
    REQUEST_SEQUENCE_ERROR,
    SECURITY_ACCESS_DENIED,
    TRANSFER_DATA_SUSPENDED,
    WRONG_BLOCK_SEQUENCE_COUNTER,
}
"""During a transfer these codes mean that the ECU lost session, security or transfer: start the sequence again."""

_REMEDIES: Final[dict[int, str]] = {
    0x10: "look at the ECU's own log",
    0x11: "the flash profile does not fit this ECU: leave the step out",
    0x12: "the flash profile does not fit this ECU",
    0x13: "the flash profile does not fit this ECU (lengths, identifiers)",
    0x14: "the ECU cannot send its response by this transport",
    0x21: "the ECU stayed busy: try again later",
    0x22: "check standstill, ignition and supply voltage; a trial may not be confirmed yet",
    0x24: "the ECU expected another step first: compare the profile's sequence",
    0x25: "a device behind the ECU does not answer: check its connection",
    0x26: "read the ECU's DTCs (19 02)",
    0x31: "the ECU has no such address, length or identifier: compare the profile; the image may be larger than the slot",
    0x33: "the ECU is locked: the profile unlocks too late or at another level",
    0x34: "the ECU requires authentication (29): the profile authenticates too late, or not at all",
    0x35: "the secret in the bench file (security_secret) is not this ECU's",
    0x36: "wrong keys were sent before: wait for the ECU's delay, then check security_secret",
    0x37: "the ECU makes testers wait after wrong keys: try again later",
    0x50: "the tester's certificate is not valid yet, or has expired; the ECU's clock may be wrong",
    0x51: "the signature of the tester's certificate is wrong: it was damaged, or changed",
    0x52: "the ECU does not trust the issuer of the tester's certificate",
    0x53: "the tester's certificate is of another type, such as that of a certification authority",
    0x54: "the ECU cannot read the tester's certificate: it may expect another format or curve",
    0x55: "the ECU rejects the content of the tester's certificate: compare its fields with the ECU's document",
    0x56: "the tester's certificate is not for this ECU or purpose",
    0x57: "the tester's certificate was revoked: use another one",
    0x58: "the proof does not fit the certificate: compare the key, and which bytes the profile signs (signed)",
    0x59: "the ECU could not make its challenge: try again later",
    0x5A: "the ECU could not grant the rights of the certificate: look at its own log",
    0x5B: "the ECU could not make a session key: compare communication in the profile",
    0x5C: "the ECU cannot use the configuration: compare communication in the profile",
    0x5D: "the ECU stays authenticated: reset it",
    0x70: "check the profile's data format, whether the slot is erased, and the patch's base and length",
    0x71: "the amount of data differs from that of RequestDownload (34)",
    0x72: "erasing or programming failed: read the ECU's DTCs (19 02); the flash may be worn",
    0x73: "a block was lost or counted twice: try again",
    0x78: "the ECU never finished: look at its own log",
    0x7E: "the ECU has left the session, or the profile does not enter it",
    0x7F: "the ECU has left the session, or the profile does not enter it",
    0x81: "switch the engine off",
    0x83: "switch the engine off",
    0x88: "stop the vehicle",
    0x92: "check the supply",
    0x93: "connect a charger",
}
"""By negative response code; the codes' names are in ``names.NEGATIVE_RESPONSES``."""

CHECK_MEMORY: Final[dict[int, str]] = {
    0x01: "the slot holds no complete image: the transfer was cut short",
    0x02: "the image's SHA-256 differs from the manifest: it was damaged on its way, or is another file",
    0x03: "the image is for another ECU (hardware id or class id): check the campaign's assignment",
    0x04: "the image's signature is wrong: it was not signed with the key this ECU trusts",
    0x05: "the image's security counter is lower than the ECU's: older releases are refused (anti-rollback)",
    0x06: "the manifest's signature is wrong or it is not for this ECU: compare the pinned Director Root",
    0x07: "the manifest is older than one the ECU accepted before (replay)",
    0x08: "the patch was refused: wrong base, damaged, or larger than the ECU's RAM",
    0x09: "decryption failed: damaged, or encrypted for another ECU: compare the public key registered for it",
    0x0A: "the metadata had expired at the attested time: create the campaign again",
}
PATCH_REFUSED: Final = frozenset({0x01, 0x02, 0x08})
"""After a patch, a missing or different image means that the patch did not fit its base. The full image may still work."""
REFUSED_ON_ARRIVAL: Final = frozenset({0x08, 0x09})
"""Faults that an ECU finds while data arrive. It answers the transfer with 72, and reports the cause in check memory afterwards."""

PRECONDITIONS: Final[dict[int, str]] = {
    0x01: "the vehicle is moving: stop it",
    0x02: "the engine is running: switch it off",
    0x03: "the supply voltage is out of range: connect a charger",
    0x04: "a trial image is not yet confirmed: confirm or revert it first",
}


def nrc_label(nrc: int) -> str:
    """Return a negative response code with its name, as "NRC 22 conditionsNotCorrect"."""
    return f"NRC {nrc:02X} {NEGATIVE_RESPONSES.get(nrc, '(no name known here)')}"


def nrc_remedy(nrc: int) -> str:
    """Return what to do about a negative response code."""
    return _REMEDIES.get(nrc, "see the ECU's documentation")


def check_memory_text(status: int) -> str:
    """Return what a status of 31 01 0202 means."""
    return f"status {status:02X}: {CHECK_MEMORY.get(status, 'unknown: see the documentation of the ECU')}"


def preconditions_text(codes: bytes) -> str:
    """Return what the codes of 31 01 0203 mean, joined by semicolons."""
    return "; ".join(PRECONDITIONS.get(code, f"unknown precondition {code:02X}") for code in codes)
