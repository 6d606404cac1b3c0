"""The server: one request in, its response out; sessions end by S3; what takes long comes out as ``PendingResponse``.

The rules (``rules``) and the services' own checks give the response to a request, and whether it is sent at all: the
suppress-positive-response bit, and the codes with which a functional request is not answered. The server sends nothing itself: its
caller sends 78 while a ``PendingResponse`` is worked on, and reports when that is done. In the meantime every request is answered with 21,
functional ones too, except 3E 80.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from otabench.ecu_firmware_sim.errors import FlashError
from otabench.ecu_firmware_sim.flash.nvm import MAX_SECURITY_ATTEMPTS
from otabench.ecu_firmware_sim.uds import data, routines, rules, security, sessions, transfer, trouble
from otabench.ecu_firmware_sim.uds.codes import (
    NEGATIVE,
    SILENT_WHEN_FUNCTIONAL,
    SUPPRESS_POSITIVE_RESPONSE,
    Nrc,
    ResetType,
    Session,
    Sid,
    negative,
)
from otabench.ecu_firmware_sim.uds.dtc import Dtc
from otabench.ecu_firmware_sim.uds.rules import Later, Negative, Request, Service
from otabench.ecu_firmware_sim.uds.state import Device, Dialogue

KEEP_ALIVE: Final = bytes((Sid.TESTER_PRESENT, SUPPRESS_POSITIVE_RESPONSE))
"""TesterPresent that wants no answer: the only request that is taken while another one is worked on."""
RECEPTION_CHECK_S: Final = 0.05
"""How often it is looked whether a request that outlasts S3 is still being received."""
_GROUPS: Final = (sessions, security, data, trouble, routines, transfer)
SERVICES: Final[dict[int, Service]] = {sid: service for group in _GROUPS for sid, service in group.SERVICES.items()}


@dataclass(frozen=True)
class PendingResponse:
    """An answer that takes work. ``work`` gives the response, suppressed or not; it raises PowerLost only."""

    sid: int
    work: Callable[[], bytes]
    functional: bool
    suppressed: bool

    @property
    def announcement(self) -> bytes:
        """The negative response 78 that keeps the tester waiting."""
        return negative(self.sid, Nrc.RESPONSE_PENDING)

    def final(self, response: bytes, *, announced: bool) -> bytes | None:
        """Return what is sent in the end: after a 78 always the response."""
        return response if announced else _audible(response, functional=self.functional, suppressed=self.suppressed)


class UdsServer:
    """One ECU's server from one boot to the next.

    Args:
        device: the ECU.
        in_bootloader: no application runs: only the programming session exists.
        now_s: monotonic time of the boot; a security delay not yet served starts here.
    """

    def __init__(self, device: Device, *, in_bootloader: bool, now_s: float) -> None:
        self.device = device
        self.dialogue = Dialogue(Session.PROGRAMMING if in_bootloader else Session.DEFAULT)
        self._s3_deadline_s: float | None = None
        self._s3_stands_still = False
        self._busy = False
        if device.nvm.current.security_attempts >= MAX_SECURITY_ATTEMPTS:
            self.dialogue.delay_until_s = now_s + device.timing.security_delay_s

    @property
    def reset_due(self) -> ResetType | None:
        """The reset that follows the last response, if one was asked for."""
        return self.dialogue.reset_due

    @property
    def next_deadline_s(self) -> float | None:
        """When ``tick`` is due."""
        return self._s3_deadline_s

    def handle(self, request: bytes, *, functional: bool, now_s: float) -> bytes | PendingResponse | None:
        """Answer a request. None: nothing is sent.

        Raises:
            PowerLost: power went while it was performed.
        """
        self.tick(now_s)
        if not request:
            return None
        if self._busy:
            return None if request == KEEP_ALIVE else negative(request[0], Nrc.BUSY_REPEAT_REQUEST)
        answer = self._perform(Request(request, now_s, self.device, self.dialogue), functional=functional)
        if isinstance(answer, PendingResponse):
            self._busy = True
            self._s3_deadline_s = None
        else:
            self._restart_s3(now_s)
        return answer

    def reject(self, request: bytes, *, now_s: float) -> bytes:
        """generalReject, for a request that could not be performed for an unforeseen reason."""
        self.completed(now_s=now_s)
        return negative(request[0], Nrc.GENERAL_REJECT)

    def completed(self, *, now_s: float) -> None:
        """The work of the last PendingResponse is done and answered."""
        self._busy = False
        self._restart_s3(now_s)

    def tick(self, now_s: float, *, receiving: bool = False) -> None:
        """End the session if S3 is over: locked, transfer ended, communication and DTC setting on.

        Args:
            now_s: monotonic time.
            receiving: the first frame of a request was in time, its last one is still to come. S3 stands still (ISO 14229-2),
                and runs anew if the reception fails.
        """
        if self._s3_deadline_s is None or now_s < self._s3_deadline_s:
            return
        if receiving:
            self._s3_stands_still, self._s3_deadline_s = True, now_s + RECEPTION_CHECK_S
        elif self._s3_stands_still:
            self._restart_s3(now_s)
        else:
            self._s3_deadline_s = None
            self.dialogue.enter(self.dialogue.home)
            self.device.dtcs.setting_on = True

    def check_supply(self) -> None:
        """Store the trouble code of a supply that is out of range; what was out of range and is not any more has passed."""
        dtcs, conditions = self.device.dtcs, self.device.conditions
        found = conditions.supply_dtc()
        for dtc in (Dtc.SUPPLY_LOW, Dtc.SUPPLY_HIGH):
            if dtc is not found:
                dtcs.passed(dtc)
        if found is not None:
            dtcs.set(found, f"the supply has {conditions.supply_v:g} V")

    def _restart_s3(self, now_s: float) -> None:
        self._s3_stands_still = False
        idle = self.dialogue.session is Session.DEFAULT
        self._s3_deadline_s = None if idle else now_s + self.device.timing.s3_server_s

    def _perform(self, request: Request, *, functional: bool) -> bytes | PendingResponse | None:
        sid = request.data[0]
        suppressed = _asks_for_silence(request.data)
        verdict = rules.judge(request, SERVICES)
        if isinstance(verdict, Nrc):
            return _audible(negative(sid, verdict), functional=functional, suppressed=suppressed)
        service = verdict
        try:
            answer = service.perform(request)
        except (Negative, FlashError) as error:
            return _audible(self._refusal(sid, error), functional=functional, suppressed=suppressed)
        if isinstance(answer, Later):
            work = answer.work
            return PendingResponse(sid, lambda: self._work(sid, work), functional, suppressed)
        return _audible(answer, functional=functional, suppressed=suppressed)

    def _work(self, sid: int, work: Callable[[], bytes]) -> bytes:
        try:
            return work()
        except (Negative, FlashError) as error:
            return self._refusal(sid, error)

    def _refusal(self, sid: int, error: Negative | FlashError) -> bytes:
        if isinstance(error, Negative):
            return negative(sid, error.nrc)
        self.device.dtcs.set(Dtc.FLASH_ERROR, str(error))
        return negative(sid, Nrc.GENERAL_PROGRAMMING_FAILURE)


def _asks_for_silence(request: bytes) -> bool:
    service = SERVICES.get(request[0])
    has_sub_function = service is not None and service.sub_functions is not None and len(request) > 1
    return has_sub_function and bool(request[1] & SUPPRESS_POSITIVE_RESPONSE)


def _audible(response: bytes, *, functional: bool, suppressed: bool) -> bytes | None:
    if response[0] != NEGATIVE:
        return None if suppressed else response
    return None if functional and response[2] in SILENT_WHEN_FUNCTIONAL else response
