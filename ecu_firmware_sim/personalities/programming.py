"""Programming by a bootloader: routines (31) and transfers (34, 36, 37), as its personality has them.

Rules:

* Flash is written only after an erase, and with a driver in RAM where the personality needs one.
* Only ``commit`` makes the application valid, and only if everything since the erase was checked.
* A wrong counter, too many bytes, or 37 before all bytes have arrived end the transfer. A repeated block is acknowledged and not written
  again.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any, Final

import anycrc

from otabench.ecu_firmware_sim.flash.layout import SECTOR_BYTES
from otabench.ecu_firmware_sim.personalities.memory import APPLICATION_BYTES, Memory, is_in_flash, is_in_ram
from otabench.ecu_firmware_sim.personalities.personality import (
    FLASH_BASE,
    RAM_BASE,
    Check,
    DownloadForm,
    EraseOption,
    Personality,
)
from otabench.ecu_firmware_sim.personalities.refusal import Refused
from otabench.ecu_firmware_sim.uds.codes import Nrc

# dataFormatIdentifier of compressed data; a convention of the personalities.
_ZLIB: Final = 0xAA
# SID and block sequence counter.
_BLOCK_HEAD: Final = 2
ERASE: Final = 0xFF00
_CHECK, _CHECK_SECTIONS = 0x0202, 0xFF02


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


class Programming:
    """The programming of one ECU from one boot to the next.

    ``bootloader`` checks that the ECU is unlocked before routines and 34; 36 and 37 need a transfer, which is that of an unlocked ECU.
    """

    def __init__(self, personality: Personality, memory: Memory) -> None:
        self.fingerprint_written = False
        self._personality = personality
        self._memory = memory
        self._driver_loaded = self._driver_started = False
        self._transfer: _Transfer | None = None
        self._unchecked: list[bytes] = []
        """Contents of the blocks since the last check."""
        self._erase_polls = 0

    def end_transfer(self) -> None:
        """Forget a transfer in progress, and the blocks that were not checked yet: the next update starts with an erase."""
        self._transfer = None
        self._drop_unchecked()

    def _drop_unchecked(self) -> None:
        if self._personality.check is not None and self._unchecked:
            self._unchecked = []
            self._memory.is_erased = False

    # -- routines

    def perform_routine(self, identifier: int, option: bytes, *, asks_for_results: bool) -> bytes:
        """Return the status record of a routine; ``asks_for_results`` is sub-function 03. Raises Refused, FlashError, PowerLost."""
        own = self._personality
        if identifier == ERASE:
            return self._erase_step(option, asks_for_results=asks_for_results)
        if identifier == _CHECK and own.check is not None:
            return self._check(own.check, option)
        if identifier == own.start_driver:
            if not self._driver_loaded or len(option) != 4:
                raise Refused(Nrc.REQUEST_SEQUENCE_ERROR)
            self._driver_started = True
            return b""
        if identifier == own.commit:
            return self._commit()
        if identifier in (own.activate, own.revert):
            if not (self._memory.activate() if identifier == own.activate else self._memory.give_up()):
                raise Refused(Nrc.CONDITIONS_NOT_CORRECT)
            return b"\x00"
        if identifier == _CHECK_SECTIONS and self._memory.is_valid:
            return b"\x00"
        raise Refused(Nrc.REQUEST_OUT_OF_RANGE)

    def _erase_step(self, option: bytes, *, asks_for_results: bool) -> bytes:
        statuses = self._personality.erase_statuses
        # A routine that reports its progress erases once: while it is polled, a repeated start must not erase again.
        if not asks_for_results and (not self._erase_polls or len(statuses) < 2):
            self._require_driver()
            self._memory.erase(*self._area(option))
        if not statuses:
            return b""
        status = statuses[min(self._erase_polls, len(statuses) - 1)]
        is_done = self._erase_polls >= len(statuses) - 1
        self._erase_polls = 0 if is_done else self._erase_polls + 1
        return bytes((status,))

    def _area(self, option: bytes) -> tuple[int, int]:
        """Return offset and length to erase, in whole sectors."""
        match self._personality.erase:
            case EraseOption.NONE:
                if option:
                    raise Refused(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
                return 0, APPLICATION_BYTES
            case EraseOption.ZONE:
                if option[1:] != b"\xf0\x5a":
                    raise Refused(Nrc.REQUEST_OUT_OF_RANGE)
                return 0, APPLICATION_BYTES
            case EraseOption.BLOCK:
                if len(option) != 2 or option[1] not in self._personality.blocks:
                    raise Refused(Nrc.REQUEST_OUT_OF_RANGE)
                address, size = self._personality.blocks[option[1]]
            # Address and length, with or without the format identifier in front.
            case form:
                if form is EraseOption.ALFI:
                    if option[:1] != b"\x44":
                        raise Refused(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
                    option = option[1:]
                if len(option) != 8:
                    raise Refused(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
                address, size = struct.unpack(">II", option)
        offset = address - FLASH_BASE
        if offset % SECTOR_BYTES or size <= 0 or offset < 0 or offset + size > APPLICATION_BYTES:
            raise Refused(Nrc.REQUEST_OUT_OF_RANGE)
        return offset, -(-size // SECTOR_BYTES) * SECTOR_BYTES

    def _check(self, check: Check, option: bytes) -> bytes:
        # The CRC is of the data as they were before compression: it checks what is in memory.
        counted = self._unchecked if check.is_running else self._unchecked[-1:]
        crc = _crc(check.crc, b"".join(counted)).to_bytes(check.width, "big")
        given = option[4:] if check.with_block else option
        if len(given) != check.width:
            raise Refused(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        if given != crc:
            self._drop_unchecked()
            if not check.status:
                raise Refused(Nrc.REQUEST_OUT_OF_RANGE)
            return b"\x01"
        self._unchecked = []
        if self._driver_loaded and self._personality.start_driver is None:
            self._driver_started = True
        return b"\x00" if check.status else b""

    def _commit(self) -> bytes:
        """Mark the application as valid. Return the status record."""
        own, memory = self._personality, self._memory
        is_unchecked = own.check is not None and bool(self._unchecked)
        needs_fingerprint = own.fingerprint is not None and not self.fingerprint_written
        if not memory.is_erased or not memory.written_end or is_unchecked or needs_fingerprint:
            if own.commit_done is None:
                raise Refused(Nrc.CONDITIONS_NOT_CORRECT)
            return b"\x05"
        memory.mark_valid()
        return b"" if own.commit_done is None else bytes((own.commit_done,))

    # -- transfers

    def request_download(self, request: bytes) -> bytes:
        """Return the positive response to 34. Raises Refused."""
        own = self._personality
        # The transfer is dropped all the same, so that a tester that starts over succeeds with its second attempt.
        if self._transfer is not None:
            self._transfer = None
            raise Refused(Nrc.CONDITIONS_NOT_CORRECT)
        transfer = self._named_memory(request)
        if own.download is not DownloadForm.ZONE and transfer.data_format not in own.data_formats:
            raise Refused(Nrc.REQUEST_OUT_OF_RANGE)
        in_flash = is_in_flash(transfer.address, transfer.size)
        if not in_flash and not is_in_ram(transfer.address, transfer.size):
            raise Refused(Nrc.REQUEST_OUT_OF_RANGE)
        if in_flash:
            self._require_driver()
            if not self._memory.is_erased:
                raise Refused(Nrc.CONDITIONS_NOT_CORRECT)
        if transfer.data_format == _ZLIB:
            transfer.unpack = zlib.decompressobj()
        self._transfer = transfer
        if not own.max_block:
            return b"\x74\x10\x00"
        return b"\x74\x20" + own.max_block.to_bytes(2, "big")

    def _named_memory(self, request: bytes) -> _Transfer:
        own = self._personality
        try:
            match own.download:
                case DownloadForm.ADDRESS:
                    data_format, form, address, size = struct.unpack(">BBII", request[1:])
                    expected = 0x44
                case DownloadForm.BLOCK:
                    data_format, form, block, size = struct.unpack(">BBBI", request[1:])
                    expected = 0x41
                    if block not in own.blocks or size > own.blocks[block][1]:
                        raise Refused(Nrc.REQUEST_OUT_OF_RANGE)
                    return _Transfer(own.blocks[block][0], size, data_format, block)
                # The records of the data name addresses: the transfer may reach all of the application.
                case DownloadForm.ZONE:
                    data_format, form, address, size = struct.unpack(">BBBB", request[1:])
                    expected, address, size = 0x11, FLASH_BASE, APPLICATION_BYTES
        except struct.error as error:
            raise Refused(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT) from error
        if form != expected:
            raise Refused(Nrc.REQUEST_OUT_OF_RANGE)
        return _Transfer(address, size, data_format)

    def transfer_data(self, request: bytes) -> bytes:
        """Return the positive response to 36. Raises Refused, FlashError, PowerLost."""
        transfer, own = self._transfer, self._personality
        if transfer is None or len(request) < _BLOCK_HEAD:
            raise Refused(Nrc.REQUEST_SEQUENCE_ERROR)
        counter = request[1]
        answer = bytes((0x76, counter))
        # A repeated block: acknowledged as at the first time.
        if transfer.received and counter == transfer.counter:
            return answer + (b"\x02" if own.download is DownloadForm.ZONE else own.stray_bytes)
        if counter != (transfer.counter + 1) & 0xFF:
            self._transfer = None
            raise Refused(Nrc.WRONG_BLOCK_SEQUENCE_COUNTER)
        if own.download is DownloadForm.ZONE:
            if not self._write_record(request):
                return answer + b"\x0a"
            transfer.counter, transfer.received = counter, transfer.received + 1
            return answer + b"\x02"
        data = request[2:]
        if len(data) > own.max_block - _BLOCK_HEAD:
            self._transfer = None
            raise Refused(Nrc.TRANSFER_DATA_SUSPENDED)
        try:
            # One byte more than announced is enough to see that it is too much; a small block may expand to gigabytes.
            plain = transfer.unpack.decompress(data, transfer.size + 1) if transfer.unpack else data
        except zlib.error as error:
            self._transfer = None
            raise Refused(Nrc.GENERAL_PROGRAMMING_FAILURE) from error
        if len(transfer.plain) + len(plain) > transfer.size:
            self._transfer = None
            raise Refused(Nrc.TRANSFER_DATA_SUSPENDED)
        self._memory.store(transfer.address + len(transfer.plain), plain)
        transfer.plain += plain
        transfer.counter, transfer.received = counter, transfer.received + 1
        return answer + own.stray_bytes

    def _write_record(self, request: bytes) -> bool:
        """Write the data of one record: low address, data, length, CRC-16/X-25 of the message. Return whether it is right."""
        body, crc = request[:-2], int.from_bytes(request[-2:], "big")
        data = body[4:-1]
        if len(body) < 6 or len(data) != body[-1] or _crc("X-25", body) != crc:
            return False
        low = int.from_bytes(body[2:4], "big")
        self._memory.store(FLASH_BASE + low, data)
        return True

    def transfer_exit(self) -> bytes:
        """Return the positive response to 37. Raises Refused."""
        transfer, own = self._transfer, self._personality
        if transfer is None:
            raise Refused(Nrc.REQUEST_SEQUENCE_ERROR)
        self._transfer = None
        if own.download is not DownloadForm.ZONE and len(transfer.plain) != transfer.size:
            raise Refused(Nrc.REQUEST_SEQUENCE_ERROR)
        if transfer.address >= RAM_BASE:
            self._driver_loaded = True
        # Records have a CRC each, which was compared when they came.
        if own.download is not DownloadForm.ZONE:
            self._unchecked.append(bytes(transfer.plain))
        if own.exit_crc is None:
            return b"\x77"
        return b"\x77" + _crc(own.exit_crc, bytes(transfer.plain)).to_bytes(2, "big")

    def _require_driver(self) -> None:
        if self._personality.needs_driver and not self._driver_started:
            raise Refused(Nrc.REQUEST_SEQUENCE_ERROR)


def _crc(which: str | tuple[int, int, int, bool, int], data: bytes) -> int:
    # By name from the catalogue, or by its parameters where no catalogue has it.
    if isinstance(which, str):
        return int(anycrc.Model(which).calc(data))
    width, polynomial, init, reflected, final_xor = which
    return int(anycrc.CRC(width, polynomial, init, reflected, reflected, final_xor).calc(data))
