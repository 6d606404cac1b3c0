"""The server: one request in, its response out. Sessions end by S3. A response that takes long comes out as ``PendingResponse``.

The rules (``rules``) and the services' own checks determine the response to a request. Whether it is sent depends on the
suppress-positive-response bit, and on the NRCs that are not sent to functional requests. The server sends nothing itself: its caller
sends 78 until the work of a ``PendingResponse`` has ended, and calls ``completed`` then. In the meantime every request is answered with
21, functional ones too, except 3E 80.
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
"""TesterPresent without a response: the only request that is accepted while another one is being performed."""
RECEPTION_CHECK_S: Final = 0.05
"""The interval at which S3 is judged again while a request is being received."""
_GROUPS: Final = (sessions, security, data, trouble, routines, transfer)
SERVICES: Final[dict[int, Service]] = {sid: service for group in _GROUPS for sid, service in group.SERVICES.items()}


@dataclass(frozen=True)
class PendingResponse:
    """A response that takes work. ``work`` returns it, suppressed or not; it raises PowerLost only."""

    sid: int
    work: Callable[[], bytes]
    functional: bool
    suppressed: bool

    @property
    def announcement(self) -> bytes:
        """The negative response 78 that keeps the tester waiting."""
        return negative(self.sid, Nrc.RESPONSE_PENDING)

    def final(self, response: bytes, *, announced: bool) -> bytes | None:
        """Return what is sent in the end."""
        # After a 78 the tester waits for a response, so that it is sent in spite of the suppress bit (ISO 14229-1).
        return response if announced else _audible(response, functional=self.functional, suppressed=self.suppressed)


class UdsServer:
    """One ECU's server from one boot to the next.

    Args:
        device: the ECU.
        in_bootloader: whether no application runs; then only the programming session exists.
        now_s: monotonic time of the boot. A security delay that is not over starts again here.
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
        """The reset that follows the last response, if one was requested."""
        return self.dialogue.reset_due

    @property
    def next_deadline_s(self) -> float | None:
        """The time at which ``tick`` is due."""
        return self._s3_deadline_s

    def handle(self, request: bytes, *, functional: bool, now_s: float) -> bytes | PendingResponse | None:
        """Return the response to a request; None: nothing is sent.

        Raises:
            PowerLost: power was lost while it was performed.
        """
        # S3 may have ended since the last tick: the request must not find a session that is over.
        self.tick(now_s)
        if not request:
            return None
        # Functional ones, too: a tester that waits for this ECU's 78 learns that its broadcast was not performed.
        if self._busy:
            return None if request == KEEP_ALIVE else negative(request[0], Nrc.BUSY_REPEAT_REQUEST)
        answer = self._perform(Request(request, now_s, self.device, self.dialogue), functional=functional)
        if isinstance(answer, PendingResponse):
            self._busy = True
            # S3 runs between a response and the next request, not while a request is performed (ISO 14229-2).
            self._s3_deadline_s = None
        else:
            self._restart_s3(now_s)
        return answer

    def reject(self, request: bytes, *, now_s: float) -> bytes:
        """Return generalReject, for a request that could not be performed for an unforeseen reason."""
        # The request may have left the server busy, and every later one would be answered with 21.
        self.completed(now_s=now_s)
        return negative(request[0], Nrc.GENERAL_REJECT)

    def completed(self, *, now_s: float) -> None:
        """Accept requests again: the work of the last PendingResponse has ended, and its response was sent."""
        self._busy = False
        self._restart_s3(now_s)

    def tick(self, now_s: float, *, receiving: bool = False) -> None:
        """End the session if S3 is over: lock, end the transfer, switch communication and DTC setting on.

        Args:
            now_s: monotonic time.
            receiving: whether the first frame of a request came in time and its last one is still missing. S3 stands still then
                (ISO 14229-2), and starts again if the reception fails.
        """
        if self._s3_deadline_s is None or now_s < self._s3_deadline_s:
            return
        if receiving:
            self._s3_stands_still, self._s3_deadline_s = True, now_s + RECEPTION_CHECK_S
        elif self._s3_stands_still:
            # The reception failed: no request came of it, but the tester was there until now.
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
        # The default session does not end. In the bootloader the home session does: that locks the ECU again.
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
    # Where a service has no sub-function, the second byte is data, and its top bit means nothing.
    service = SERVICES.get(request[0])
    has_sub_function = service is not None and service.sub_functions is not None and len(request) > 1
    return has_sub_function and bool(request[1] & SUPPRESS_POSITIVE_RESPONSE)


def _audible(response: bytes, *, functional: bool, suppressed: bool) -> bytes | None:
    # The suppress bit is for positive responses only; a refusal is always sent to a physical request.
    if response[0] != NEGATIVE:
        return None if suppressed else response
    return None if functional and response[2] in SILENT_WHEN_FUNCTIONAL else response
