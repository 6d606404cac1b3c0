"""Services 14 ClearDiagnosticInformation and 19 ReadDTCInformation (02 by status mask, 0A supported)."""

from __future__ import annotations

from typing import Final

from ecu_firmware_sim.dtc import STATUS_AVAILABILITY_MASK
from ecu_firmware_sim.uds.codes import Nrc, Sid
from ecu_firmware_sim.uds.rules import Negative, Request, Service, SubFunction

BY_STATUS_MASK: Final = 0x02
SUPPORTED: Final = 0x0A


def clear_diagnostic_information(request: Request) -> bytes:
    if not request.device.dtcs.clear(int.from_bytes(request.data[1:4], "big")):
        raise Negative(Nrc.REQUEST_OUT_OF_RANGE)
    return b"\x54"


def read_dtc_information(request: Request) -> bytes:
    dtcs = request.device.dtcs
    entries = dtcs.with_status(request.data[2]) if request.sub_function == BY_STATUS_MASK else dtcs.supported()
    body = b"".join(code.to_bytes(3, "big") + bytes((status,)) for code, status in entries)
    return bytes((0x59, request.sub_function, STATUS_AVAILABILITY_MASK)) + body


SERVICES: Final = {
    Sid.CLEAR_DIAGNOSTIC_INFORMATION: Service(clear_diagnostic_information, shortest=4, longest=4),
    Sid.READ_DTC_INFORMATION: Service(
        read_dtc_information, sub_functions={BY_STATUS_MASK: SubFunction(3), SUPPORTED: SubFunction(2)}
    ),
}
