"""Services of the dialogue itself: 10 DiagnosticSessionControl, 11 ECUReset, 28 CommunicationControl, 3E TesterPresent, 85
ControlDTCSetting.

Communication control is a state that is kept here, separately for normal messages and those of network management. ``Ecu`` stops and
starts the application's periodic frames by the former. There is one network: the subnet is all (0) or this one (F).
"""

from __future__ import annotations

from typing import Final

from otabench.ecu_firmware_sim.uds.codes import Nrc, ResetType, Session, Sid
from otabench.ecu_firmware_sim.uds.rules import NOT_DEFAULT, Negative, Request, Service, SubFunction
from otabench.ecu_firmware_sim.uds.state import MessageKind

_DTC_SETTING_ON: Final = 0x01
_NOT_PROGRAMMING: Final = frozenset({Session.DEFAULT, Session.EXTENDED})
"""A soft reset restarts the application. While it is being programmed, only a hard reset leaves a known state."""


def diagnostic_session_control(request: Request) -> bytes:
    """Answer with P2 in ms and P2* in units of 10 ms."""
    dialogue, timing = request.dialogue, request.device.timing
    session = Session(request.sub_function)
    if dialogue.in_bootloader and session is not Session.PROGRAMMING:
        raise Negative(Nrc.SUB_FUNCTION_NOT_SUPPORTED)  # the bootloader has this session only
    # Not while the session lasts: a tester may enter it again, and an update in progress is not stopped by a wheel that turns.
    refusal = request.device.conditions.programming_session_nrc()
    if session is Session.PROGRAMMING and dialogue.session is not session and refusal is not None:
        raise Negative(refusal)
    dialogue.enter(session)
    if session is Session.DEFAULT:
        request.device.dtcs.setting_on = True
    p2_ms = round(timing.p2_server_max_s * 1000)
    p2_star_10ms = round(timing.p2_star_server_max_s * 100)
    return bytes((0x50, session)) + p2_ms.to_bytes(2, "big") + p2_star_10ms.to_bytes(2, "big")


def ecu_reset(request: Request) -> bytes:
    """Request the reset, which follows the response."""
    request.dialogue.reset_due = ResetType(request.sub_function)
    return bytes((0x51, request.sub_function))


def communication_control(request: Request) -> bytes:
    # communicationType (ISO 14229-1, annex B): the kinds of messages in bits 0 and 1, the subnet in bits 4 to 7.
    subnet, kinds = request.data[2] >> 4, request.data[2] & 0x0F
    if subnet not in (0x0, 0xF) or kinds not in (0x01, 0x02, 0x03):
        raise Negative(Nrc.REQUEST_OUT_OF_RANGE)
    request.dialogue.communication.control(MessageKind(kinds), request.sub_function)
    return bytes((0x68, request.sub_function))


def tester_present(_request: Request) -> bytes:
    """Do nothing but restart S3, as any request does."""
    return b"\x7e\x00"


def control_dtc_setting(request: Request) -> bytes:
    request.device.dtcs.setting_on = request.sub_function == _DTC_SETTING_ON
    return bytes((0xC5, request.sub_function))


SERVICES: Final = {
    Sid.DIAGNOSTIC_SESSION_CONTROL: Service(
        diagnostic_session_control, sub_functions={session: SubFunction(2) for session in Session}
    ),
    Sid.ECU_RESET: Service(
        ecu_reset, sub_functions={ResetType.HARD: SubFunction(2), ResetType.SOFT: SubFunction(2, _NOT_PROGRAMMING)}
    ),
    Sid.COMMUNICATION_CONTROL: Service(
        communication_control, NOT_DEFAULT, sub_functions={kind: SubFunction(3) for kind in range(4)}
    ),
    Sid.TESTER_PRESENT: Service(tester_present, sub_functions={0x00: SubFunction(2)}),
    Sid.CONTROL_DTC_SETTING: Service(
        control_dtc_setting, NOT_DEFAULT, sub_functions={0x01: SubFunction(2), 0x02: SubFunction(2)}
    ),
}
