"""Services 14 ClearDiagnosticInformation and 19 ReadDTCInformation (02 by status mask, 06 extended data, 0A supported).

Extended data records (manufacturer-specific numbers, layouts in docs/contracts.md): 01 the number of occurrences and the time of the last
one, 02 the job that was under way, 03 what had happened. FF requests all of them. A code that was never set has status 00 and no record.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from otabench.ecu_firmware_sim.flash.nvm import StoredDtc
from otabench.ecu_firmware_sim.uds.codes import Nrc, Sid
from otabench.ecu_firmware_sim.uds.dtc import STATUS_AVAILABILITY_MASK
from otabench.ecu_firmware_sim.uds.rules import Negative, Request, Service, SubFunction

BY_STATUS_MASK: Final = 0x02
EXTENDED_DATA: Final = 0x06
SUPPORTED: Final = 0x0A
ALL_RECORDS: Final = 0xFF
# One length byte is in front of each text.
_MAX_TEXT_BYTES: Final = 255


def clear_diagnostic_information(request: Request) -> bytes:
    if not request.device.dtcs.clear(int.from_bytes(request.data[1:4], "big")):
        raise Negative(Nrc.REQUEST_OUT_OF_RANGE)
    return b"\x54"


def read_dtc_information(request: Request) -> bytes:
    if request.sub_function == EXTENDED_DATA:
        return _extended_data(request)
    dtcs = request.device.dtcs
    entries = dtcs.with_status(request.data[2]) if request.sub_function == BY_STATUS_MASK else dtcs.supported()
    body = b"".join(code.to_bytes(3, "big") + bytes((status,)) for code, status in entries)
    return bytes((0x59, request.sub_function, STATUS_AVAILABILITY_MASK)) + body


def _extended_data(request: Request) -> bytes:
    number = request.data[5]
    found = request.device.dtcs.find(int.from_bytes(request.data[2:5], "big"))
    if found is None or number not in (*_RECORDS, ALL_RECORDS):
        raise Negative(Nrc.REQUEST_OUT_OF_RANGE)
    status, stored = found
    response = bytes((0x59, EXTENDED_DATA)) + request.data[2:5] + bytes((status,))
    # Known, and never set: ISO 14229-1 answers positively, without a record.
    if stored is None:
        return response
    wanted = _RECORDS if number == ALL_RECORDS else {number: _RECORDS[number]}
    return response + b"".join(bytes((key,)) + record(stored) for key, record in wanted.items())


def _occurrence(stored: StoredDtc) -> bytes:
    try:
        seconds = int(datetime.fromisoformat(stored.set_at).timestamp())
    except ValueError:
        # A record of an earlier version may have no time: 0 stands for "unknown" (docs/contracts.md).
        seconds = 0
    return bytes((stored.count,)) + max(0, seconds).to_bytes(4, "big")


def _text(text: str) -> bytes:
    data = text.encode()[:_MAX_TEXT_BYTES]
    return bytes((len(data),)) + data


_RECORDS: Final[dict[int, Callable[[StoredDtc], bytes]]] = {
    0x01: _occurrence,
    0x02: lambda stored: _text(stored.job_id),
    0x03: lambda stored: _text(stored.text),
}

SERVICES: Final = {
    Sid.CLEAR_DIAGNOSTIC_INFORMATION: Service(clear_diagnostic_information, shortest=4, longest=4),
    Sid.READ_DTC_INFORMATION: Service(
        read_dtc_information,
        sub_functions={BY_STATUS_MASK: SubFunction(3), EXTENDED_DATA: SubFunction(6), SUPPORTED: SubFunction(2)},
    ),
}
