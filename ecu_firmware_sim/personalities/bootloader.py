"""A bootloader with one bank of flash: the rules that all personalities share.

Pure but for the flash: requests in, responses out, no clock and no bus. Whoever hosts it gives it power, and asks ``boot`` for what it
sends after a reset.

Rules:

* Boot: the application runs if the last sector says that it is valid, and its CRC agrees. Else the bootloader waits: it lies in
  memory that nothing here can erase, so that an ECU can always be flashed again.
* The first erase takes the validity away, before a byte of the application goes.
* Only ``commit`` gives it back, and only if everything since the erase was checked.
* A wrong counter, too many bytes, or 37 before all bytes arrived end the transfer; a repeated block is acknowledged, not written again.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import anycrc

from otabench.ecu_firmware_sim.errors import FlashError
from otabench.ecu_firmware_sim.flash.layout import SECTOR_BYTES
from otabench.ecu_firmware_sim.flash.nor import ERASED, NorFlash
from otabench.ecu_firmware_sim.personalities.personality import (
    FLASH_BASE,
    RAM_BASE,
    SECTORS,
    Check,
    DownloadForm,
    EraseOption,
    Personality,
)
from otabench.ecu_firmware_sim.uds.codes import Nrc, Session, Sid

FLASH_BYTES: Final = SECTORS * SECTOR_BYTES
APPLICATION_BYTES: Final = FLASH_BYTES - SECTOR_BYTES
"""The last sector holds the mark of a valid application."""
RAM_BYTES: Final = 0x4000
VERSION_OFFSET: Final = 0x20
VERSION_BYTES: Final = 16
_MARK: Final = struct.Struct(">4sIII")
_MAGIC: Final = b"VALD"
_SERIAL: Final = b"SIM-0001"
_ZLIB: Final = 0xAA
_SUPPRESS: Final = 0x80
_RECORD_HEAD: Final = 2
_ERASE, _CHECK, _PRECONDITIONS, _CHECK_SECTIONS = 0xFF00, 0x0202, 0x0203, 0xFF02


@dataclass(frozen=True)
class Reply:
    """What the bootloader sends to one request: responses in order, 78 first. ``resets``: it restarts afterwards."""

    responses: tuple[bytes, ...] = ()
    resets: bool = False


class _Refused(Exception):
    def __init__(self, nrc: Nrc) -> None:
        super().__init__(nrc.name)
        self.nrc = nrc


@dataclass
class _Transfer:
    """One download between 34 and 37."""

    address: int
    size: int
    data_format: int
    block: int = 0
    counter: int = 0
    received: int = 0
    plain: bytearray = field(default_factory=bytearray)
    unpack: Any = None


def new_flash(application: bytes = b"") -> NorFlash:
    """Return the flash of a new ECU, with a valid application if one is given."""
    flash = NorFlash(bytearray([ERASED]) * FLASH_BYTES)
    if application:
        flash.program(0, application)
        _mark_valid(flash, len(application))
    return flash


class Bootloader:
    """One ECU: application or bootloader, whatever its flash says.

    Args:
        personality: how it differs from others.
        flash: its memory, of ``FLASH_BYTES``.
        random_bytes: source of seeds.
    """

    def __init__(self, personality: Personality, flash: NorFlash, *, random_bytes: Callable[[int], bytes]) -> None:
        self.personality = personality
        self.flash = flash
        self._random_bytes = random_bytes
        self._stay = False
        """Whether the next boot stays in the bootloader: 10 02 was requested."""
        self._late: tuple[bytes, ...] = ()
        self._start()

    def _start(self) -> None:
        self.in_bootloader = self._stay or not self.is_valid
        self.session = Session.PROGRAMMING if self._stay else Session.DEFAULT
        self._stay = False
        self._ram = bytearray(RAM_BYTES)
        self._driver_loaded = self._driver_started = False
        self._unlocked: set[int] = set()
        self._seeds: dict[int, bytes] = {}
        self._transfer: _Transfer | None = None
        self._unchecked: list[bytes] = []
        """Contents of the blocks since the last check."""
        self._written_end = 0
        self._erased = self._fingerprint_written = False
        self._erase_polls = 0

    def boot(self) -> tuple[bytes, ...]:
        """Start after a reset or when power comes; return what the ECU sends by itself."""
        self._start()
        late, self._late = self._late, ()
        return late

    def lose_power(self) -> None:
        """Forget everything that is not in flash."""
        self._stay, self._late = False, ()

    @property
    def is_valid(self) -> bool:
        """Whether the flash holds a complete application."""
        mark = bytes(self.flash.memory[APPLICATION_BYTES : APPLICATION_BYTES + _MARK.size])
        magic, start, length, crc = _MARK.unpack(mark)
        if magic != _MAGIC or start + length > APPLICATION_BYTES:
            return False
        return bool(zlib.crc32(self.flash.memory[start : start + length]) == crc)

    @property
    def version(self) -> str:
        """The text in the application's header; empty without a valid application."""
        if not self.is_valid:
            return ""
        text = bytes(self.flash.memory[VERSION_OFFSET : VERSION_OFFSET + VERSION_BYTES])
        return text.rstrip(b"\x00\xff").decode("ascii", "replace")

    def handle(self, request: bytes) -> Reply:
        """Answer one request.

        Raises:
            PowerLost: power went in a flash operation.
        """
        if not request:
            return Reply()
        sid, resets = request[0], False
        try:
            service = _SERVICES.get(sid)
            if service is None:
                raise _Refused(Nrc.SERVICE_NOT_SUPPORTED)
            answer, resets = service(self, request)
        except _Refused as refused:
            return Reply((bytes((0x7F, sid, refused.nrc)),))
        except FlashError:
            return Reply((bytes((0x7F, sid, Nrc.GENERAL_PROGRAMMING_FAILURE)),))
        if sid in _WITH_SUB_FUNCTION and len(request) > 1 and request[1] & _SUPPRESS:
            return Reply((), resets)
        if resets and self._late:
            return Reply((bytes((0x7F, sid, Nrc.RESPONSE_PENDING)),), resets)
        is_long = sid == Sid.ROUTINE_CONTROL and self.personality.long_routines_pending
        return Reply((bytes((0x7F, sid, Nrc.RESPONSE_PENDING)), answer) if is_long else (answer,), resets)

    # -- sessions, reset, identifiers

    def _session(self, request: bytes) -> tuple[bytes, bool]:
        own, session = self.personality, _sub_function(request)
        if session not in (Session.DEFAULT, Session.EXTENDED, Session.PROGRAMMING):
            raise _Refused(Nrc.SUB_FUNCTION_NOT_SUPPORTED)
        is_leaving = session == Session.PROGRAMMING and not self.in_bootloader
        if is_leaving and not self._unlocked.issuperset(own.session_needs_levels):
            raise _Refused(Nrc.SECURITY_ACCESS_DENIED)
        times = bytes.fromhex("13880032" if own.odd_times else "003201F4")
        answer = bytes((0x50, session)) + (b"" if own.bare_session_answer else times)
        if session == Session.PROGRAMMING and not self.in_bootloader and own.resets_into_bootloader:
            self._stay = True
            if own.answers_late:
                self._late = (answer,)
            return answer, True
        if session == Session.DEFAULT and self.in_bootloader and self.is_valid:
            return answer, True
        if session != self.session:
            self._unlocked.clear()
            self._transfer = None
        self.session = Session(session)
        if session == Session.PROGRAMMING:
            self.in_bootloader = True
        return answer, False

    def _reset(self, request: bytes) -> tuple[bytes, bool]:
        kind = _sub_function(request)
        answer = bytes((0x51, kind))
        if self.personality.late_reset_answer:
            self._late = (answer,)
        return answer, True

    def _read(self, request: bytes) -> tuple[bytes, bool]:
        identifier = int.from_bytes(request[1:3], "big")
        records: dict[int, bytes] = {0xF18C: _SERIAL, 0xF186: bytes((self.session,)), 0xF15B: bytes(10)}
        if not self.in_bootloader:
            records[0xF189] = self.version.encode("ascii")
            records[0xF190] = b"SIMULATEDVIN00001"
        if identifier not in records:
            raise _Refused(Nrc.REQUEST_OUT_OF_RANGE)
        return b"\x62" + request[1:3] + records[identifier], False

    def _write(self, request: bytes) -> tuple[bytes, bool]:
        self._need_bootloader()
        if int.from_bytes(request[1:3], "big") != self.personality.fingerprint or len(request) < 4:
            raise _Refused(Nrc.REQUEST_OUT_OF_RANGE)
        self._fingerprint_written = True
        return b"\x6e" + request[1:3], False

    def _accept(self, request: bytes) -> tuple[bytes, bool]:
        """TesterPresent, CommunicationControl, ControlDTCSetting: nothing here depends on them."""
        return bytes((request[0] | 0x40, _sub_function(request))), False

    # -- security

    def _security(self, request: bytes) -> tuple[bytes, bool]:
        sub = _sub_function(request)
        level = sub if sub % 2 else sub - 1
        rule = self.personality.levels.get(level)
        if rule is None:
            raise _Refused(Nrc.SUB_FUNCTION_NOT_SUPPORTED)
        if self.session == Session.DEFAULT or (rule.session is not None and rule.session != self.session):
            raise _Refused(Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION)
        if sub % 2:
            if level in self._unlocked:
                return bytes((0x67, sub)) + bytes(rule.seed_bytes), False
            # a seed of zeros means "unlocked already"
            self._seeds[level] = self._random_bytes(rule.seed_bytes - 1) + b"\x01"
            return bytes((0x67, sub)) + self._seeds[level], False
        seed = self._seeds.pop(level, None)
        if seed is None:
            raise _Refused(Nrc.REQUEST_SEQUENCE_ERROR)
        if request[2:] != bytes(each ^ rule.key_xor for each in seed):
            raise _Refused(Nrc.INVALID_KEY)
        self._unlocked.add(level)
        return bytes((0x67, sub)), False

    def _need_bootloader(self) -> None:
        if not self.in_bootloader or self.session != Session.PROGRAMMING:
            raise _Refused(Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION)

    def _need_unlocked(self) -> None:
        self._need_bootloader()
        if not self._unlocked.issuperset(self.personality.needed_levels):
            raise _Refused(Nrc.SECURITY_ACCESS_DENIED)

    # -- routines

    def _routine(self, request: bytes) -> tuple[bytes, bool]:
        act, identifier, option = _sub_function(request), int.from_bytes(request[2:4], "big"), request[4:]
        if len(request) < 4:
            raise _Refused(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        if act not in (1, 3) or (act == 3 and identifier != _ERASE):
            raise _Refused(Nrc.SUB_FUNCTION_NOT_SUPPORTED)
        head = b"\x71" + bytes((act,)) + request[2:4]
        own = self.personality
        if identifier == _PRECONDITIONS:
            return head + b"\x00", False
        self._need_unlocked()
        if identifier == _ERASE:
            return head + self._erase_step(option, asks_for_results=act == 3), False
        if identifier == _CHECK and own.check is not None:
            return head + self._check(own.check, option), False
        if identifier == own.start_driver:
            if not self._driver_loaded or len(option) != 4:
                raise _Refused(Nrc.REQUEST_SEQUENCE_ERROR)
            self._driver_started = True
            return head, False
        if identifier == own.commit:
            return head + bytes((self._commit(),)), False
        if identifier == _CHECK_SECTIONS and self.is_valid:
            return head + b"\x00", False
        raise _Refused(Nrc.REQUEST_OUT_OF_RANGE)

    def _erase_step(self, option: bytes, *, asks_for_results: bool) -> bytes:
        statuses = self.personality.erase_statuses
        if not asks_for_results and (not self._erase_polls or len(statuses) < 2):
            self._need_driver()
            start, length = self._area(option)
            self._invalidate()
            self.flash.erase(start, length)
        if not statuses:
            return b""
        status = statuses[min(self._erase_polls, len(statuses) - 1)]
        is_done = self._erase_polls >= len(statuses) - 1
        self._erase_polls = 0 if is_done else self._erase_polls + 1
        return bytes((status,))

    def _area(self, option: bytes) -> tuple[int, int]:
        """Return offset and length to erase, in whole sectors."""
        match self.personality.erase:
            case EraseOption.NONE:
                if option:
                    raise _Refused(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
                return 0, APPLICATION_BYTES
            case EraseOption.ZONE:
                if option[1:] != b"\xf0\x5a":
                    raise _Refused(Nrc.REQUEST_OUT_OF_RANGE)
                return 0, APPLICATION_BYTES
            case EraseOption.BLOCK:
                if len(option) != 2 or option[1] not in self.personality.blocks:
                    raise _Refused(Nrc.REQUEST_OUT_OF_RANGE)
                address, size = self.personality.blocks[option[1]]
            case form:
                if form is EraseOption.ALFI:
                    if option[:1] != b"\x44":
                        raise _Refused(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
                    option = option[1:]
                if len(option) != 8:
                    raise _Refused(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
                address, size = struct.unpack(">II", option)
        offset = address - FLASH_BASE
        if offset % SECTOR_BYTES or size <= 0 or offset < 0 or offset + size > APPLICATION_BYTES:
            raise _Refused(Nrc.REQUEST_OUT_OF_RANGE)
        return offset, -(-size // SECTOR_BYTES) * SECTOR_BYTES

    def _invalidate(self) -> None:
        if not self._erased:
            self.flash.erase(APPLICATION_BYTES, SECTOR_BYTES)
            self._erased, self._written_end = True, 0

    def _check(self, check: Check, option: bytes) -> bytes:
        counted = self._unchecked if check.is_running else self._unchecked[-1:]
        crc = _crc(check.crc, b"".join(counted)).to_bytes(check.width, "big")
        given = option[4:] if check.with_block else option
        if len(given) != check.width:
            raise _Refused(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        if given != crc:
            if not check.status:
                raise _Refused(Nrc.REQUEST_OUT_OF_RANGE)
            return b"\x01"
        self._unchecked = []
        if self._driver_loaded and self.personality.start_driver is None:
            self._driver_started = True
        return b"\x00" if check.status else b""

    def _commit(self) -> int:
        """Mark the application as valid; return the status byte."""
        needs_check = self.personality.check is not None or self.personality.exit_crc is None
        is_unchecked = needs_check and bool(self._unchecked)
        lacks_fingerprint = self.personality.fingerprint is not None and not self._fingerprint_written
        if not self._erased or not self._written_end or is_unchecked or lacks_fingerprint:
            return 0x05
        _mark_valid(self.flash, self._written_end)
        self._erased = False
        return self.personality.commit_done

    # -- transfers

    def _request_download(self, request: bytes) -> tuple[bytes, bool]:
        self._need_unlocked()
        own = self.personality
        if self._transfer is not None:
            self._transfer = None
            raise _Refused(Nrc.CONDITIONS_NOT_CORRECT)
        transfer = self._named_memory(request)
        if own.download is not DownloadForm.ZONE and transfer.data_format not in own.data_formats:
            raise _Refused(Nrc.REQUEST_OUT_OF_RANGE)
        in_ram = transfer.address >= RAM_BASE and transfer.address + transfer.size <= RAM_BASE + RAM_BYTES
        in_flash = transfer.address >= FLASH_BASE and transfer.address + transfer.size <= FLASH_BASE + APPLICATION_BYTES
        if not in_ram and not in_flash:
            raise _Refused(Nrc.REQUEST_OUT_OF_RANGE)
        if in_flash:
            self._need_driver()
            if not self._erased:
                raise _Refused(Nrc.CONDITIONS_NOT_CORRECT)
        if transfer.data_format == _ZLIB:
            transfer.unpack = zlib.decompressobj()
        self._transfer = transfer
        if not own.max_block:
            return b"\x74\x10\x00", False
        return b"\x74\x20" + own.max_block.to_bytes(2, "big"), False

    def _named_memory(self, request: bytes) -> _Transfer:
        own = self.personality
        try:
            match own.download:
                case DownloadForm.ADDRESS:
                    data_format, form, address, size = struct.unpack(">BBII", request[1:])
                    expected = 0x44
                case DownloadForm.BLOCK:
                    data_format, form, block, size = struct.unpack(">BBBI", request[1:])
                    expected = 0x41
                    if block not in own.blocks or size > own.blocks[block][1]:
                        raise _Refused(Nrc.REQUEST_OUT_OF_RANGE)
                    return _Transfer(own.blocks[block][0], size, data_format, block)
                case DownloadForm.ZONE:
                    data_format, form, address, size = struct.unpack(">BBBB", request[1:])
                    expected, address, size = 0x11, FLASH_BASE, APPLICATION_BYTES
        except struct.error as error:
            raise _Refused(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT) from error
        if form != expected:
            raise _Refused(Nrc.REQUEST_OUT_OF_RANGE)
        return _Transfer(address, size, data_format)

    def _transfer_data(self, request: bytes) -> tuple[bytes, bool]:
        transfer, own = self._transfer, self.personality
        if transfer is None or len(request) < _RECORD_HEAD:
            raise _Refused(Nrc.REQUEST_SEQUENCE_ERROR)
        counter = request[1]
        answer = bytes((0x76, counter))
        if transfer.received and counter == transfer.counter:
            return answer + (b"\x02" if own.download is DownloadForm.ZONE else own.stray_bytes), False
        if counter != (transfer.counter + 1) & 0xFF:
            self._transfer = None
            raise _Refused(Nrc.WRONG_BLOCK_SEQUENCE_COUNTER)
        if own.download is DownloadForm.ZONE:
            if not self._write_record(request):
                return answer + b"\x0a", False
            transfer.counter, transfer.received = counter, transfer.received + 1
            return answer + b"\x02", False
        data = request[2:]
        if len(data) > own.max_block - _RECORD_HEAD:
            self._transfer = None
            raise _Refused(Nrc.TRANSFER_DATA_SUSPENDED)
        try:
            plain = transfer.unpack.decompress(data, transfer.size + 1) if transfer.unpack else data
        except zlib.error as error:
            self._transfer = None
            raise _Refused(Nrc.GENERAL_PROGRAMMING_FAILURE) from error
        if len(transfer.plain) + len(plain) > transfer.size:
            self._transfer = None
            raise _Refused(Nrc.TRANSFER_DATA_SUSPENDED)
        self._store(transfer.address + len(transfer.plain), plain)
        transfer.plain += plain
        transfer.counter, transfer.received = counter, transfer.received + 1
        return answer + own.stray_bytes, False

    def _write_record(self, request: bytes) -> bool:
        """Write the data of one record: low address, data, length, CRC-16/X-25 of the message. Return whether it is right."""
        body, crc = request[:-2], int.from_bytes(request[-2:], "big")
        data = body[4:-1]
        if len(body) < 6 or len(data) != body[-1] or _crc("X-25", body) != crc:
            return False
        low = int.from_bytes(body[2:4], "big")
        self._store(FLASH_BASE + low, data)
        return True

    def _store(self, address: int, data: bytes) -> None:
        if address >= RAM_BASE:
            self._ram[address - RAM_BASE : address - RAM_BASE + len(data)] = data
            return
        offset = address - FLASH_BASE
        self.flash.program(offset, data)
        self._written_end = max(self._written_end, offset + len(data))

    def _transfer_exit(self, request: bytes) -> tuple[bytes, bool]:
        transfer, own = self._transfer, self.personality
        if transfer is None:
            raise _Refused(Nrc.REQUEST_SEQUENCE_ERROR)
        self._transfer = None
        if own.download is not DownloadForm.ZONE and len(transfer.plain) != transfer.size:
            raise _Refused(Nrc.REQUEST_SEQUENCE_ERROR)
        if transfer.address >= RAM_BASE:
            self._driver_loaded = True
        if own.download is not DownloadForm.ZONE:
            self._unchecked.append(bytes(transfer.plain))
        if own.exit_crc is None:
            return b"\x77", False
        return b"\x77" + _crc(own.exit_crc, bytes(transfer.plain)).to_bytes(2, "big"), False

    def _need_driver(self) -> None:
        if self.personality.needs_driver and not self._driver_started:
            raise _Refused(Nrc.REQUEST_SEQUENCE_ERROR)


_Service = Callable[[Bootloader, bytes], tuple[bytes, bool]]
_SERVICES: Final[Mapping[int, _Service]] = {
    Sid.DIAGNOSTIC_SESSION_CONTROL: Bootloader._session,
    Sid.ECU_RESET: Bootloader._reset,
    Sid.READ_DATA_BY_IDENTIFIER: Bootloader._read,
    Sid.WRITE_DATA_BY_IDENTIFIER: Bootloader._write,
    Sid.SECURITY_ACCESS: Bootloader._security,
    Sid.COMMUNICATION_CONTROL: Bootloader._accept,
    Sid.CONTROL_DTC_SETTING: Bootloader._accept,
    Sid.TESTER_PRESENT: Bootloader._accept,
    Sid.ROUTINE_CONTROL: Bootloader._routine,
    Sid.REQUEST_DOWNLOAD: Bootloader._request_download,
    Sid.TRANSFER_DATA: Bootloader._transfer_data,
    Sid.REQUEST_TRANSFER_EXIT: Bootloader._transfer_exit,
}
_WITH_SUB_FUNCTION: Final = frozenset({0x10, 0x11, 0x27, 0x28, 0x31, 0x3E, 0x85})


def _sub_function(request: bytes) -> int:
    if len(request) < 2:
        raise _Refused(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    return request[1] & ~_SUPPRESS


def _mark_valid(flash: NorFlash, length: int) -> None:
    crc = zlib.crc32(flash.read(0, length))
    flash.program(APPLICATION_BYTES, _MARK.pack(_MAGIC, 0, length, crc))


def _crc(which: str | tuple[int, int, int, bool, int], data: bytes) -> int:
    if isinstance(which, str):
        return int(anycrc.Model(which).calc(data))
    width, polynomial, init, reflected, final_xor = which
    return int(anycrc.CRC(width, polynomial, init, reflected, reflected, final_xor).calc(data))
