"""Names of UDS services, identifiers, routines and negative response codes, for messages, reports, traces and Wireshark.

This is the only such table on the bench's side. The names are those of ISO 14229-1. Names of this project's own identifiers end in
"(OEM)". The simulated ECU has its own table on purpose: if both used one table, a wrong entry would go unnoticed.
"""

from __future__ import annotations

from typing import Final

SERVICES: Final[dict[int, str]] = {
    0x10: "DiagnosticSessionControl",
    0x11: "ECUReset",
    0x14: "ClearDiagnosticInformation",
    0x19: "ReadDTCInformation",
    0x22: "ReadDataByIdentifier",
    0x27: "SecurityAccess",
    0x28: "CommunicationControl",
    0x29: "Authentication",
    0x2E: "WriteDataByIdentifier",
    0x31: "RoutineControl",
    0x34: "RequestDownload",
    0x36: "TransferData",
    0x37: "RequestTransferExit",
    0x3E: "TesterPresent",
    0x85: "ControlDTCSetting",
}
DATA_IDENTIFIERS: Final[dict[int, str]] = {
    0xF180: "bootSoftwareIdentification",
    0xF184: "applicationSoftwareFingerprint",
    0xF186: "activeDiagnosticSession",
    0xF187: "vehicleManufacturerSparePartNumber",
    0xF189: "vehicleManufacturerECUSoftwareVersionNumber",
    0xF18C: "ECUSerialNumber",
    0xF190: "VIN",
    0xF191: "vehicleManufacturerECUHardwareNumber",
    0xF195: "systemSupplierECUSoftwareVersionNumber",
    0xF1A0: "RXSWIN (OEM)",
    0xF1A1: "slotTable (OEM)",
    0xF1A2: "timeNonce (OEM)",
    0xF1A3: "directorRootVersion (OEM)",
    0xF40C: "engineSpeed",
    0xF40D: "vehicleSpeed",
    0xF442: "controlModuleVoltage",
}
ROUTINES: Final[dict[int, str]] = {
    0x0202: "checkMemory (OEM)",
    0x0203: "checkProgrammingPreconditions (OEM)",
    0x0210: "activateStagedSlot (OEM)",
    0x0211: "confirmRunningSlot (OEM)",
    0x0212: "revertToOtherSlot (OEM)",
    0x0220: "versionReport (OEM)",
    0xFF00: "eraseMemory",
    0xFF01: "checkProgrammingDependencies",
}
NEGATIVE_RESPONSES: Final[dict[int, str]] = {
    0x10: "generalReject",
    0x11: "serviceNotSupported",
    0x12: "subFunctionNotSupported",
    0x13: "incorrectMessageLengthOrInvalidFormat",
    0x14: "responseTooLong",
    0x21: "busyRepeatRequest",
    0x22: "conditionsNotCorrect",
    0x24: "requestSequenceError",
    0x25: "noResponseFromSubnetComponent",
    0x26: "failurePreventsExecutionOfRequestedAction",
    0x31: "requestOutOfRange",
    0x33: "securityAccessDenied",
    0x34: "authenticationRequired",
    0x35: "invalidKey",
    0x36: "exceededNumberOfAttempts",
    0x37: "requiredTimeDelayNotExpired",
    0x50: "certificateVerificationFailed-invalidTimePeriod",
    0x51: "certificateVerificationFailed-invalidSignature",
    0x52: "certificateVerificationFailed-invalidChainOfTrust",
    0x53: "certificateVerificationFailed-invalidType",
    0x54: "certificateVerificationFailed-invalidFormat",
    0x55: "certificateVerificationFailed-invalidContent",
    0x56: "certificateVerificationFailed-invalidScope",
    0x57: "certificateVerificationFailed-invalidCertificate",
    0x58: "ownershipVerificationFailed",
    0x59: "challengeCalculationFailed",
    0x5A: "settingAccessRightsFailed",
    0x5B: "sessionKeyCreationDerivationFailed",
    0x5C: "configurationDataUsageFailed",
    0x5D: "deAuthenticationFailed",
    0x70: "uploadDownloadNotAccepted",
    0x71: "transferDataSuspended",
    0x72: "generalProgrammingFailure",
    0x73: "wrongBlockSequenceCounter",
    0x78: "requestCorrectlyReceived-ResponsePending",
    0x7E: "subFunctionNotSupportedInActiveSession",
    0x7F: "serviceNotSupportedInActiveSession",
    0x81: "rpmTooHigh",
    0x83: "engineIsRunning",
    0x88: "vehicleSpeedTooHigh",
    0x92: "voltageTooHigh",
    0x93: "voltageTooLow",
}


def describe(request: bytes) -> str:
    """Return a request in words, e.g. "ReadDataByIdentifier VIN". Return an empty text for an unknown service."""
    service = SERVICES.get(request[0]) if request else None
    if service is None:
        return ""
    names, at = {0x22: (DATA_IDENTIFIERS, 1), 0x2E: (DATA_IDENTIFIERS, 1), 0x31: (ROUTINES, 2)}.get(
        request[0], ({}, len(request))
    )
    subject = names.get(int.from_bytes(request[at : at + 2], "big"), "")
    return f"{service} {subject}".rstrip()
