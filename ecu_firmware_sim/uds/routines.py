"""Service 31 RoutineControl, sub-function 01 start: the routines of the profile. Layouts are in docs/contracts.md.

Rules, after the general ones, in this order: routine supported in this session 31 (7F in the default session), security 33, length 13,
then conditions 22 and range 31. Erase memory, check memory and version report may take longer than P2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from otabench.ecu_firmware_sim.boot.image import CheckStatus
from otabench.ecu_firmware_sim.programming.permission import NotNow, OutOfRange
from otabench.ecu_firmware_sim.uds.codes import ADDRESS_AND_LENGTH_FORMAT, Nrc, RoutineId, Session, Sid
from otabench.ecu_firmware_sim.uds.dtc import Dtc
from otabench.ecu_firmware_sim.uds.rules import (
    ALL_SESSIONS,
    NOT_DEFAULT,
    ONLY_PROGRAMMING,
    Later,
    Negative,
    Request,
    Service,
    SubFunction,
)
from otabench.proto.version_report import NONCE_BYTES

START: Final = 0x01
_HEADER_BYTES: Final = 4
_DONE: Final = b"\x00"
_NOT_MET: Final = b"\x01"


@dataclass(frozen=True)
class Routine:
    """One routine. ``run`` returns its status record; the rest are the rules under which it may be started."""

    run: Callable[[Request], bytes]
    sessions: frozenset[Session]
    unlocked: bool = False
    option_bytes: int = 0
    may_take_long: bool = False


def routine_control(request: Request) -> bytes | Later:
    routine = ROUTINES.get(int.from_bytes(request.data[2:4], "big"))
    # To a tester in the default session, which has one routine only, all others look as if the service were not there.
    if request.dialogue.session is Session.DEFAULT and (routine is None or Session.DEFAULT not in routine.sessions):
        raise Negative(Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION)
    # 31 and not 7F for another session: the standard has no NRC for a routine that this session does not have.
    if routine is None or request.dialogue.session not in routine.sessions:
        raise Negative(Nrc.REQUEST_OUT_OF_RANGE)
    if routine.unlocked and not request.dialogue.unlocked:
        raise Negative(Nrc.SECURITY_ACCESS_DENIED)
    if len(request.data) != _HEADER_BYTES + routine.option_bytes:
        raise Negative(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    if routine.may_take_long:
        return Later(lambda: _answer(request, routine))
    return _answer(request, routine)


def _answer(request: Request, routine: Routine) -> bytes:
    try:
        status = routine.run(request)
    except NotNow as error:
        raise Negative(Nrc.CONDITIONS_NOT_CORRECT) from error
    except OutOfRange as error:
        raise Negative(Nrc.REQUEST_OUT_OF_RANGE) from error
    return bytes((0x71, START)) + request.data[2:4] + status


def _erase_memory(request: Request) -> bytes:
    supply = request.device.conditions.supply_nrc()
    if supply is not None:
        raise Negative(supply)
    option = request.data[_HEADER_BYTES:]
    if option[0] != ADDRESS_AND_LENGTH_FORMAT:
        raise OutOfRange(f"addressAndLengthFormatIdentifier {option[0]:02X}")
    address, length = int.from_bytes(option[1:5], "big"), int.from_bytes(option[5:9], "big")
    request.device.firmware.check_erase(address, length)
    # Not before the check: a refused request changes nothing.
    request.dialogue.transfer = None
    request.device.firmware.erase(address, length)
    return _DONE


def _check_memory(request: Request) -> bytes:
    # The image is incomplete: its check would fail, and the tester would look for the mistake in the image.
    if request.dialogue.transfer is not None:
        raise NotNow("a transfer is under way")
    result = request.device.firmware.check()
    if result.status is not CheckStatus.CORRECT:
        request.device.dtcs.set(Dtc.IMAGE_REFUSED, result.text)
    return bytes((result.status,))


def _check_programming_dependencies(request: Request) -> bytes:
    # FF01 reports by its status and not by an NRC: without a staged image there is nothing whose dependencies are met.
    try:
        unmet = request.device.firmware.unmet_dependency()
    except NotNow:
        return _NOT_MET
    if unmet:
        request.device.dtcs.set(Dtc.IMAGE_REFUSED, unmet)
    return _NOT_MET if unmet else _DONE


def _check_programming_preconditions(request: Request) -> bytes:
    unmet = request.device.conditions.unmet() + request.device.firmware.unmet_preconditions()
    return bytes((len(unmet), *unmet))


def _activate(request: Request) -> bytes:
    request.device.firmware.activate()
    return _DONE


def _confirm(request: Request) -> bytes:
    request.device.firmware.confirm()
    return _DONE


def _revert(request: Request) -> bytes:
    dtcs = request.device.dtcs
    # The code comes first: a power cut between the two reports a revert that did not happen, and never hides one that did.
    request.device.firmware.revert(before_leaving=lambda text: dtcs.set(Dtc.ROLLED_BACK, text))
    return _DONE


def _version_report(request: Request) -> bytes:
    reporter = request.device.reporter
    if reporter is None:
        raise OutOfRange("there is no key to sign with")
    return reporter.report(request.data[_HEADER_BYTES:])


ROUTINES: Final[dict[int, Routine]] = {
    RoutineId.ERASE_MEMORY: Routine(_erase_memory, ONLY_PROGRAMMING, True, option_bytes=9, may_take_long=True),
    RoutineId.CHECK_MEMORY: Routine(_check_memory, ONLY_PROGRAMMING, True, may_take_long=True),
    RoutineId.CHECK_PROGRAMMING_DEPENDENCIES: Routine(_check_programming_dependencies, NOT_DEFAULT),
    RoutineId.CHECK_PROGRAMMING_PRECONDITIONS: Routine(_check_programming_preconditions, NOT_DEFAULT),
    RoutineId.ACTIVATE: Routine(_activate, NOT_DEFAULT, True),
    RoutineId.CONFIRM: Routine(_confirm, NOT_DEFAULT, True),
    RoutineId.REVERT: Routine(_revert, NOT_DEFAULT, True),
    # In every session: it changes nothing, and a gateway asks for it where it reads an ECU's identity.
    RoutineId.VERSION_REPORT: Routine(_version_report, ALL_SESSIONS, option_bytes=NONCE_BYTES, may_take_long=True),
}

SERVICES: Final = {
    Sid.ROUTINE_CONTROL: Service(routine_control, shortest=_HEADER_BYTES, sub_functions={START: SubFunction(None)})
}
