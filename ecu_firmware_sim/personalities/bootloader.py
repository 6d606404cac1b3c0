"""A bootloader: the requests of all personalities, and what happens at a boot.

Pure but for the flash: requests in, responses out, no clock and no bus. Its host gives it power, and calls ``boot`` for the responses that
it sends after a reset. ``programming`` has routines and transfers, ``security`` the access, ``memory`` the application in flash.

Rules:

* Boot: the application runs if the last sector marks it as valid and its CRC agrees. Otherwise the bootloader waits. It is in memory
  that nothing here can erase, so that an ECU can always be flashed again.
* Everything but the flash is lost by a reset, apart from two things that survive in a real ECU's RAM: that it is to stay in the
  bootloader, and a response that is still to be sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cryptography import x509

from otabench.ecu_firmware_sim.errors import FlashError
from otabench.ecu_firmware_sim.flash.nor import NorFlash
from otabench.ecu_firmware_sim.personalities.authentication import Authentication
from otabench.ecu_firmware_sim.personalities.memory import VERSION_BYTES, Memory
from otabench.ecu_firmware_sim.personalities.personality import BANK_IDENTIFIER, BANKS_IDENTIFIER, Personality
from otabench.ecu_firmware_sim.personalities.programming import ERASE, Programming
from otabench.ecu_firmware_sim.personalities.refusal import SUPPRESS, Refused, sub_function
from otabench.ecu_firmware_sim.personalities.security import SecurityAccess
from otabench.ecu_firmware_sim.uds.codes import Nrc, Session, Sid

_PRECONDITIONS: Final = 0x0203
_ENABLE_RX_AND_TX: Final = 0x00
_STATE_CODES: Final = {"EMPTY": 0x00, "STAGED": 0x5A, "CONFIRMED": 0xA5, "INVALID": 0xEE}


@dataclass(frozen=True)
class Identity:
    """The identity that the ECU reports (22 F18C, F190)."""

    serial: str = "SIM-0001"
    vin: str = "SIMULATEDVIN00001"


@dataclass(frozen=True)
class Trust:
    """Which testers the ECU lets authenticate themselves (29).

    Attributes:
        root: the certificate that has signed the testers' certificates; None: no tester is trusted.
        now: returns the ECU's time (UTC).
    """

    root: x509.Certificate | None = None
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class Reply:
    """The responses to one request, in order, 78 first. ``resets``: the ECU restarts afterwards."""

    responses: tuple[bytes, ...] = ()
    resets: bool = False


class Bootloader:
    """One ECU: its application or its bootloader, depending on its flash.

    Args:
        personality: its differences from others.
        flash: its memory, of ``memory.FLASH_BYTES``.
        random_bytes: source of seeds.
        identity: what it reports about itself.
        key_for: returns the key for a seed and a level. None: each byte of the seed XOR the level's constant.
        trust: which testers may authenticate themselves.
    """

    def __init__(
        self,
        personality: Personality,
        flash: NorFlash,
        *,
        random_bytes: Callable[[int], bytes],
        identity: Identity | None = None,
        key_for: Callable[[bytes, int], bytes] | None = None,
        trust: Trust = Trust(),
    ) -> None:
        self.personality = personality
        self.flash = flash
        self.in_bootloader = False
        self.session = Session.DEFAULT
        self.is_quiet = False
        """Whether the tester has switched normal messages off (28)."""
        self._random_bytes = random_bytes
        self._identity = identity or Identity()
        self._key_for = key_for
        self._trust = trust
        self._stay = False
        """Whether the next boot stays in the bootloader: 10 02 was requested."""
        self._late: tuple[bytes, ...] = ()
        """Responses that the software after the reset sends."""
        self._forget_all()
        self._choose_software()

    def boot(self) -> tuple[bytes, ...]:
        """Start after a reset or when power comes. Return what the ECU sends by itself."""
        self._forget_all()
        self._choose_software()
        late, self._late = self._late, ()
        return late

    def _forget_all(self) -> None:
        self._memory = Memory(self.flash, is_dual=self.personality.is_dual)
        self._programming = Programming(self.personality, self._memory)
        self._security = SecurityAccess(self.personality.levels, self._random_bytes, key_for=self._key_for)
        self._authentication = Authentication(self._trust.root, self._random_bytes, self._trust.now)

    def _choose_software(self) -> None:
        self.is_quiet = False
        self.in_bootloader = self._stay or not self.is_valid
        self.session = Session.PROGRAMMING if self._stay else Session.DEFAULT
        self._stay = False

    def lose_power(self) -> None:
        """Forget everything that is not in flash."""
        self._stay, self._late = False, ()

    def forget_session(self) -> None:
        """Return to the default session, locked, as after S3."""
        self.session, self.is_quiet = Session.DEFAULT, False
        self._security.lock()
        self._authentication.forget()
        self._programming.end_transfer()

    @property
    def lets_application_send(self) -> bool:
        """Whether an application runs, and may send its normal messages."""
        return not (self.in_bootloader or self.is_quiet or self.session == Session.PROGRAMMING)

    def fail_application(self) -> None:
        """Stay in the bootloader in place of an application that did not come up."""
        self.in_bootloader, self.session = True, Session.DEFAULT

    @property
    def is_valid(self) -> bool:
        """Whether the flash holds a complete application."""
        return self._memory.is_valid

    @property
    def slots(self) -> list[tuple[str, str]]:
        """State and version of each bank."""
        banks = (0, 1) if self.personality.is_dual else (0,)
        return [(self._memory.state_of(bank), self._memory.version_in(bank)) for bank in banks]

    @property
    def active_slot(self) -> int:
        """The bank that runs."""
        return self._memory.active

    @property
    def version(self) -> str:
        """The version of the application; empty without a valid one."""
        return self._memory.version

    def handle(self, request: bytes) -> Reply:
        """Return the reply to one request.

        Raises:
            PowerLost: power was lost in a flash operation.
        """
        if not request:
            return Reply()
        sid, resets = request[0], False
        try:
            service = _SERVICES.get(sid)
            if service is None or sid not in self.personality.services:
                raise Refused(Nrc.SERVICE_NOT_SUPPORTED)
            answer, resets = service(self, request)
        except Refused as refused:
            return Reply((bytes((0x7F, sid, refused.nrc)),))
        except FlashError:
            return Reply((bytes((0x7F, sid, Nrc.GENERAL_PROGRAMMING_FAILURE)),))
        if sid in _WITH_SUB_FUNCTION and len(request) > 1 and request[1] & SUPPRESS:
            return Reply((), resets)
        # The response comes after the reset: 78 makes the tester wait for it longer than P2.
        if resets and self._late:
            return Reply((bytes((0x7F, sid, Nrc.RESPONSE_PENDING)),), resets)
        is_long = sid == Sid.ROUTINE_CONTROL and self.personality.long_routines_pending
        return Reply((bytes((0x7F, sid, Nrc.RESPONSE_PENDING)), answer) if is_long else (answer,), resets)

    # -- sessions, reset, identifiers

    def _session(self, request: bytes) -> tuple[bytes, bool]:
        own, session = self.personality, sub_function(request)
        # The extended session is there for what leads to programming: security access, and services that silence the bus.
        has_extended = bool(own.services & {Sid.SECURITY_ACCESS, Sid.COMMUNICATION_CONTROL})
        known = (Session.DEFAULT, Session.PROGRAMMING, *([Session.EXTENDED] if has_extended else []))
        if session not in known:
            raise Refused(Nrc.SUB_FUNCTION_NOT_SUPPORTED)
        # Only the application refuses: in the bootloader, an ECU without an application must be reachable.
        is_leaving = session == Session.PROGRAMMING and not self.in_bootloader
        if is_leaving and not self._security.has_unlocked(own.session_needs_levels):
            raise Refused(Nrc.SECURITY_ACCESS_DENIED)
        times = bytes.fromhex("13880032" if own.odd_times else "003201F4")
        answer = bytes((0x50, session)) + (b"" if own.bare_session_answer else times)
        if session == Session.PROGRAMMING and not self.in_bootloader and own.resets_into_bootloader:
            self._stay = True
            if own.answers_late:
                self._late = (answer,)
            return answer, True
        # Leaving the bootloader is a reset; without a valid application there is nothing to leave it for.
        if session == Session.DEFAULT and self.in_bootloader and self.is_valid:
            return answer, True
        if session != self.session:
            self._security.lock()
            self._programming.end_transfer()
        self.session = Session(session)
        if session == Session.PROGRAMMING and not own.is_dual:
            self.in_bootloader = True
        return answer, False

    def _reset(self, request: bytes) -> tuple[bytes, bool]:
        kind = sub_function(request)
        answer = bytes((0x51, kind))
        if self.personality.late_reset_answer:
            self._late = (answer,)
        return answer, True

    def _read(self, request: bytes) -> tuple[bytes, bool]:
        identifier = int.from_bytes(request[1:3], "big")
        records: dict[int, bytes] = {
            0xF18C: self._identity.serial.encode("ascii"),
            0xF186: bytes((self.session,)),
            0xF15B: bytes(10),
            BANK_IDENTIFIER: b"AB"[self.active_slot :][:1],
            BANKS_IDENTIFIER: b"".join(_bank_record(*bank) for bank in self.slots),
        }
        # Version and VIN are the application's: a tester must be able to do without them while the bootloader runs.
        if not self.in_bootloader:
            records[0xF189] = self.version.encode("ascii")
            records[0xF190] = self._identity.vin.encode("ascii")
        if identifier not in records or identifier not in self.personality.identifiers:
            raise Refused(Nrc.REQUEST_OUT_OF_RANGE)
        return b"\x62" + request[1:3] + records[identifier], False

    def _write(self, request: bytes) -> tuple[bytes, bool]:
        self._require_bootloader()
        if int.from_bytes(request[1:3], "big") != self.personality.fingerprint or len(request) < 4:
            raise Refused(Nrc.REQUEST_OUT_OF_RANGE)
        self._programming.fingerprint_written = True
        return b"\x6e" + request[1:3], False

    def _accept(self, request: bytes) -> tuple[bytes, bool]:
        """Accept TesterPresent, CommunicationControl and ControlDTCSetting. Only the application's own messages depend on them."""
        if request[0] == Sid.COMMUNICATION_CONTROL:
            self.is_quiet = sub_function(request) != _ENABLE_RX_AND_TX
        return bytes((request[0] | 0x40, sub_function(request))), False

    # -- security, routines, transfers

    def _access(self, request: bytes) -> tuple[bytes, bool]:
        return self._security.answer(request, self.session), False

    def _authenticate(self, request: bytes) -> tuple[bytes, bool]:
        return self._authentication.answer(request), False

    def _routine(self, request: bytes) -> tuple[bytes, bool]:
        act, identifier, option = sub_function(request), int.from_bytes(request[2:4], "big"), request[4:]
        if len(request) < 4:
            raise Refused(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        # 01 start, 03 requestRoutineResults; 02 stop has no use here.
        if act not in (1, 3) or (act == 3 and identifier != ERASE):
            raise Refused(Nrc.SUB_FUNCTION_NOT_SUPPORTED)
        head = b"\x71" + bytes((act,)) + request[2:4]
        # A tester asks for the preconditions before it leaves the application.
        if identifier == _PRECONDITIONS and Sid.SECURITY_ACCESS in self.personality.services:
            return head + b"\x00", False
        self._require_unlocked()
        return head + self._programming.perform_routine(identifier, option, asks_for_results=act == 3), False

    def _request_download(self, request: bytes) -> tuple[bytes, bool]:
        self._require_unlocked()
        return self._programming.request_download(request), False

    def _transfer_data(self, request: bytes) -> tuple[bytes, bool]:
        return self._programming.transfer_data(request), False

    def _transfer_exit(self, _request: bytes) -> tuple[bytes, bool]:
        return self._programming.transfer_exit(), False

    def _require_bootloader(self) -> None:
        has_software = self.in_bootloader or self.personality.is_dual
        if not has_software or self.session != Session.PROGRAMMING:
            raise Refused(Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION)

    def _require_unlocked(self) -> None:
        self._require_bootloader()
        if not self._security.has_unlocked(self.personality.needed_levels):
            raise Refused(Nrc.SECURITY_ACCESS_DENIED)
        if self.personality.needs_authentication and not self._authentication.is_complete:
            raise Refused(Nrc.AUTHENTICATION_REQUIRED)


def _bank_record(state: str, version: str) -> bytes:
    return bytes((_STATE_CODES[state],)) + version.encode("ascii")[:VERSION_BYTES].ljust(VERSION_BYTES, b"\xff")


_Service = Callable[[Bootloader, bytes], tuple[bytes, bool]]
_SERVICES: Final[Mapping[int, _Service]] = {
    Sid.DIAGNOSTIC_SESSION_CONTROL: Bootloader._session,
    Sid.ECU_RESET: Bootloader._reset,
    Sid.READ_DATA_BY_IDENTIFIER: Bootloader._read,
    Sid.WRITE_DATA_BY_IDENTIFIER: Bootloader._write,
    Sid.SECURITY_ACCESS: Bootloader._access,
    Sid.AUTHENTICATION: Bootloader._authenticate,
    Sid.COMMUNICATION_CONTROL: Bootloader._accept,
    Sid.CONTROL_DTC_SETTING: Bootloader._accept,
    Sid.TESTER_PRESENT: Bootloader._accept,
    Sid.ROUTINE_CONTROL: Bootloader._routine,
    Sid.REQUEST_DOWNLOAD: Bootloader._request_download,
    Sid.TRANSFER_DATA: Bootloader._transfer_data,
    Sid.REQUEST_TRANSFER_EXIT: Bootloader._transfer_exit,
}
_WITH_SUB_FUNCTION: Final = frozenset({0x10, 0x11, 0x27, 0x28, 0x29, 0x31, 0x3E, 0x85})
