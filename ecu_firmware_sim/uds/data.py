"""Services 22 ReadDataByIdentifier and 2E WriteDataByIdentifier; layouts in docs/contracts.md.

Rules:

* Several identifiers in one request are answered together. Unknown ones, and those that were never written (F184, F190), are
  left out. If none is left, the answer is 31.
* F1A2 returns another nonce each time, and the one before no longer counts.
* F184 (fingerprint) is written in the programming session, F190 (VIN) once, while it is empty. Both need an unlocked ECU and are
  kept in NVM.
* A write is judged by its identifier, in this order: 31 where it cannot be written in this session, 33 while the ECU is locked, 13,
  then conditions. So a scan for writable identifiers finds those that exist. F1A0 (RXSWIN) is readable in every session and cannot be
  written (UN R156, 7.1.2.3 and 7.2.1.2.3): only an image brings another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from otabench.ecu_firmware_sim.programming.memory import SlotEntry
from otabench.ecu_firmware_sim.uds.codes import MAX_RESPONSE_BYTES, Did, Nrc, Session, Sid
from otabench.ecu_firmware_sim.uds.rules import NOT_DEFAULT, ONLY_PROGRAMMING, Negative, Request, Service

VIN_BYTES: Final = 17
# A fingerprint is the date of programming in BCD, then the tester's serial number in ASCII.
_DATE_BYTES: Final = 3
_MAX_TESTER_SERIAL_BYTES: Final = 32


def _slot(entry: SlotEntry) -> bytes:
    image = entry.image
    if image is None:
        # As long as with an image, so that a tester finds the second slot at a fixed place.
        return bytes((entry.state,)) + bytes(12)
    version = image.version
    return (
        bytes((entry.state, version.major, version.minor))
        + version.revision.to_bytes(2, "big")
        + version.build.to_bytes(4, "big")
        + (image.security_counter or 0).to_bytes(4, "big")
    )


def _slot_table(request: Request) -> bytes:
    firmware = request.device.firmware
    first, second = firmware.slot_table()
    return bytes((firmware.active, firmware.boots_left)) + _slot(first) + _slot(second)


READERS: Final[dict[int, Callable[[Request], bytes]]] = {
    Did.BOOT_SOFTWARE_ID: lambda request: request.device.identity.boot_software_id.encode(),
    Did.APPLICATION_FINGERPRINT: lambda request: request.device.nvm.current.fingerprint,
    Did.ACTIVE_SESSION: lambda request: bytes((request.dialogue.session,)),
    Did.PART_NUMBER: lambda request: request.device.identity.part_number.encode(),
    Did.SOFTWARE_VERSION: lambda request: request.device.identity.software_version.encode(),
    Did.SERIAL_NUMBER: lambda request: request.device.nvm.current.serial.encode(),
    Did.VIN: lambda request: request.device.nvm.current.vin.encode(),
    Did.HARDWARE_ID: lambda request: request.device.identity.hardware_id.encode(),
    Did.SUPPLIER_SOFTWARE_VERSION: lambda request: request.device.identity.supplier_software_version.encode(),
    Did.RXSWIN: lambda request: request.device.identity.rxswin.encode(),
    Did.SLOT_TABLE: _slot_table,
    Did.ROOT_VERSION: lambda request: request.device.firmware.root_version.to_bytes(4, "big"),
    Did.TIME_NONCE: lambda request: request.device.firmware.new_nonce(),
    Did.ENGINE_SPEED: lambda request: request.device.conditions.engine_speed_record(),
    Did.VEHICLE_SPEED: lambda request: request.device.conditions.speed_record(),
    Did.SUPPLY_VOLTAGE: lambda request: request.device.conditions.supply_record(),
}


def read_data_by_identifier(request: Request) -> bytes:
    # SID and whole identifiers of two bytes: the length must be odd.
    if len(request.data) % 2 == 0:
        raise Negative(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    response = b"\x62"
    for position in range(1, len(request.data), 2):
        identifier = request.data[position : position + 2]
        reader = READERS.get(int.from_bytes(identifier, "big"))
        record = b"" if reader is None else reader(request)
        # ISO 14229-1 leaves out what the ECU does not support, as long as it supports one of them. An empty record is treated alike.
        if record:
            response += identifier + record
        # Within the loop: 2047 identifiers fit into a request, and their records must not all be collected first.
        if len(response) > MAX_RESPONSE_BYTES:
            raise Negative(Nrc.RESPONSE_TOO_LONG)
    if len(response) == 1:
        raise Negative(Nrc.REQUEST_OUT_OF_RANGE)
    return response


def write_data_by_identifier(request: Request) -> bytes:
    identifier = int.from_bytes(request.data[1:3], "big")
    writable = _WRITABLE.get(identifier)
    # 31 and not 7F for another session: the standard has no NRC for an identifier that this session does not have.
    if writable is None or request.dialogue.session not in writable.sessions:
        raise Negative(Nrc.REQUEST_OUT_OF_RANGE)
    if writable.unlocked and not request.dialogue.unlocked:
        raise Negative(Nrc.SECURITY_ACCESS_DENIED)
    writable.write(request, request.data[3:])
    return b"\x6e" + request.data[1:3]


def _write_fingerprint(request: Request, record: bytes) -> None:
    if not _DATE_BYTES < len(record) <= _DATE_BYTES + _MAX_TESTER_SERIAL_BYTES:
        raise Negative(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    date, tester = record[:_DATE_BYTES], record[_DATE_BYTES:]
    # BCD in hexadecimal has digits only.
    if not date.hex().isdigit() or not _is_printable(tester):
        raise Negative(Nrc.REQUEST_OUT_OF_RANGE)
    request.device.nvm.update(fingerprint=record)


def _write_vin(request: Request, record: bytes) -> None:
    if len(record) != VIN_BYTES:
        raise Negative(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    # Written once: an ECU that could be given another VIN would accept another vehicle's Targets.
    if request.device.nvm.current.vin:
        raise Negative(Nrc.CONDITIONS_NOT_CORRECT)
    if not record.isalnum():
        raise Negative(Nrc.REQUEST_OUT_OF_RANGE)
    request.device.nvm.update(vin=record.decode("ascii"))


def _is_printable(data: bytes) -> bool:
    return all(0x20 <= byte < 0x7F for byte in data)


@dataclass(frozen=True)
class Writable:
    """An identifier that can be written. ``write`` keeps the record; the rest are the rules under which it may be called."""

    write: Callable[[Request, bytes], None]
    sessions: frozenset[Session]
    unlocked: bool = True


_WRITABLE: Final[dict[int, Writable]] = {
    Did.APPLICATION_FINGERPRINT: Writable(_write_fingerprint, ONLY_PROGRAMMING),
    Did.VIN: Writable(_write_vin, NOT_DEFAULT),
}

SERVICES: Final = {
    Sid.READ_DATA_BY_IDENTIFIER: Service(read_data_by_identifier, shortest=3),
    Sid.WRITE_DATA_BY_IDENTIFIER: Service(write_data_by_identifier, NOT_DEFAULT, shortest=4),
}
