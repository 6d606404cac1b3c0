"""Numbers of ISO 14229-1 that this server implements, and the identifiers of the profile ``iso14229-ab``."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Sid(IntEnum):
    """Service identifiers."""

    DIAGNOSTIC_SESSION_CONTROL = 0x10
    ECU_RESET = 0x11
    CLEAR_DIAGNOSTIC_INFORMATION = 0x14
    READ_DTC_INFORMATION = 0x19
    READ_DATA_BY_IDENTIFIER = 0x22
    SECURITY_ACCESS = 0x27
    COMMUNICATION_CONTROL = 0x28
    AUTHENTICATION = 0x29
    WRITE_DATA_BY_IDENTIFIER = 0x2E
    ROUTINE_CONTROL = 0x31
    REQUEST_DOWNLOAD = 0x34
    TRANSFER_DATA = 0x36
    REQUEST_TRANSFER_EXIT = 0x37
    TESTER_PRESENT = 0x3E
    CONTROL_DTC_SETTING = 0x85


class Nrc(IntEnum):
    """Negative response codes (ISO 14229-1, annex A)."""

    GENERAL_REJECT = 0x10
    SERVICE_NOT_SUPPORTED = 0x11
    SUB_FUNCTION_NOT_SUPPORTED = 0x12
    INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT = 0x13
    RESPONSE_TOO_LONG = 0x14
    BUSY_REPEAT_REQUEST = 0x21
    CONDITIONS_NOT_CORRECT = 0x22
    REQUEST_SEQUENCE_ERROR = 0x24
    REQUEST_OUT_OF_RANGE = 0x31
    SECURITY_ACCESS_DENIED = 0x33
    AUTHENTICATION_REQUIRED = 0x34
    INVALID_KEY = 0x35
    EXCEEDED_NUMBER_OF_ATTEMPTS = 0x36
    REQUIRED_TIME_DELAY_NOT_EXPIRED = 0x37
    # Of service 29, from the edition of 2020 on; certificateVerificationFailed is left out in front of the first ones.
    CERTIFICATE_INVALID_TIME_PERIOD = 0x50
    CERTIFICATE_INVALID_SIGNATURE = 0x51
    CERTIFICATE_INVALID_CHAIN_OF_TRUST = 0x52
    CERTIFICATE_INVALID_TYPE = 0x53
    CERTIFICATE_INVALID_FORMAT = 0x54
    OWNERSHIP_VERIFICATION_FAILED = 0x58
    UPLOAD_DOWNLOAD_NOT_ACCEPTED = 0x70
    TRANSFER_DATA_SUSPENDED = 0x71
    GENERAL_PROGRAMMING_FAILURE = 0x72
    WRONG_BLOCK_SEQUENCE_COUNTER = 0x73
    RESPONSE_PENDING = 0x78
    SUB_FUNCTION_NOT_SUPPORTED_IN_ACTIVE_SESSION = 0x7E
    SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION = 0x7F
    VOLTAGE_TOO_HIGH = 0x92
    VOLTAGE_TOO_LOW = 0x93


SILENT_WHEN_FUNCTIONAL: Final = frozenset(
    {
        Nrc.SERVICE_NOT_SUPPORTED,
        Nrc.SUB_FUNCTION_NOT_SUPPORTED,
        Nrc.REQUEST_OUT_OF_RANGE,
        Nrc.SUB_FUNCTION_NOT_SUPPORTED_IN_ACTIVE_SESSION,
        Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION,
    }
)
"""Negative responses that are not sent to a functionally addressed request: every ECU that does not have the service would send one."""


class Session(IntEnum):
    """Diagnostic sessions."""

    DEFAULT = 0x01
    PROGRAMMING = 0x02
    EXTENDED = 0x03


# 02 keyOffOnReset is not supported: no ignition key is simulated.
class ResetType(IntEnum):
    """Sub-functions of ECUReset."""

    HARD = 0x01
    SOFT = 0x03


class Did(IntEnum):
    """Data identifiers. F1Ax are the manufacturer's."""

    BOOT_SOFTWARE_ID = 0xF180
    APPLICATION_FINGERPRINT = 0xF184
    ACTIVE_SESSION = 0xF186
    PART_NUMBER = 0xF187
    SOFTWARE_VERSION = 0xF189
    SERIAL_NUMBER = 0xF18C
    VIN = 0xF190
    HARDWARE_ID = 0xF191
    SUPPLIER_SOFTWARE_VERSION = 0xF195
    RXSWIN = 0xF1A0
    SLOT_TABLE = 0xF1A1
    TIME_NONCE = 0xF1A2
    ROOT_VERSION = 0xF1A3
    # F4xx are the parameters xx of OBD (ISO 27145-2, SAE J1979-2).
    ENGINE_SPEED = 0xF40C
    VEHICLE_SPEED = 0xF40D
    SUPPLY_VOLTAGE = 0xF442


class RoutineId(IntEnum):
    """Routine identifiers. Those of 02xx are the manufacturer's, except check memory."""

    CHECK_MEMORY = 0x0202
    CHECK_PROGRAMMING_PRECONDITIONS = 0x0203
    ACTIVATE = 0x0210
    CONFIRM = 0x0211
    REVERT = 0x0212
    VERSION_REPORT = 0x0220
    ERASE_MEMORY = 0xFF00
    CHECK_PROGRAMMING_DEPENDENCIES = 0xFF01


# Bit 7 of a sub-function: suppressPosRspMsgIndicationBit.
SUPPRESS_POSITIVE_RESPONSE: Final = 0x80
POSITIVE: Final = 0x40
NEGATIVE: Final = 0x7F
# Four bytes of memorySize (high nibble), four of memoryAddress (low nibble).
ADDRESS_AND_LENGTH_FORMAT: Final = 0x44
MAX_NUMBER_OF_BLOCK_LENGTH: Final = 0xFFF
"""Of one 36 request, SID and counter included: the maximum of ISO-TP's 12-bit length."""
# The maximum of ISO-TP's 12-bit length, again: classic testers do not support the longer form of ISO 15765-2:2016.
MAX_RESPONSE_BYTES: Final = 4095


def negative(sid: int, nrc: int) -> bytes:
    """Return a negative response."""
    return bytes((NEGATIVE, sid, nrc))
