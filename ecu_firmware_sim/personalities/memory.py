"""Flash and RAM of an ECU with one bank: the application, and the mark that makes it valid.

Rules:

* The last sector holds the mark: start, length and CRC of the application. Without a mark that agrees, there is no application.
* The first erase takes the mark away, before a byte of the application goes. A power cut in the middle leaves an ECU that waits in
  its bootloader, and never one that runs half an application.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from otabench.ecu_firmware_sim.flash.layout import SECTOR_BYTES
from otabench.ecu_firmware_sim.flash.nor import ERASED, NorFlash
from otabench.ecu_firmware_sim.personalities.personality import FLASH_BASE, RAM_BASE, SECTORS

FLASH_BYTES: Final = SECTORS * SECTOR_BYTES
APPLICATION_BYTES: Final = FLASH_BYTES - SECTOR_BYTES
"""The last sector holds the mark of a valid application."""
RAM_BYTES: Final = 0x4000
VERSION_OFFSET: Final = 0x20
VERSION_BYTES: Final = 16
# Magic, start, length, CRC-32 of the application.
_MARK: Final = struct.Struct(">4sIII")
_MAGIC: Final = b"VALD"


def new_flash(application: bytes = b"") -> NorFlash:
    """Return the flash of a new ECU, with a valid application if one is given."""
    flash = NorFlash(bytearray([ERASED]) * FLASH_BYTES)
    if application:
        flash.program(0, application)
        _mark_valid(flash, len(application))
    return flash


class Memory:
    """The memory of one ECU from one boot to the next.

    Args:
        flash: of ``FLASH_BYTES``.
    """

    def __init__(self, flash: NorFlash) -> None:
        self.is_erased = False
        """Whether an erase has taken the mark away since this boot."""
        self.written_end = 0
        """The end of what was programmed since then."""
        self._flash = flash
        self._ram = bytearray(RAM_BYTES)

    @property
    def is_valid(self) -> bool:
        """Whether the flash holds a complete application."""
        mark = bytes(self._flash.memory[APPLICATION_BYTES : APPLICATION_BYTES + _MARK.size])
        magic, start, length, crc = _MARK.unpack(mark)
        # The length is not trusted before it is compared: an erased or torn mark may name any.
        if magic != _MAGIC or start + length > APPLICATION_BYTES:
            return False
        return bool(zlib.crc32(self._flash.memory[start : start + length]) == crc)

    @property
    def version(self) -> str:
        """The text in the application's header; empty without a valid application."""
        if not self.is_valid:
            return ""
        text = bytes(self._flash.memory[VERSION_OFFSET : VERSION_OFFSET + VERSION_BYTES])
        return text.rstrip(b"\x00\xff").decode("ascii", "replace")

    def erase(self, offset: int, length: int) -> None:
        """Erase whole sectors of the application. Raises PowerLost."""
        if not self.is_erased:
            self._flash.erase(APPLICATION_BYTES, SECTOR_BYTES)
            self.is_erased, self.written_end = True, 0
        self._flash.erase(offset, length)

    def store(self, address: int, data: bytes) -> None:
        """Write to RAM or to erased flash. Raises FlashError, PowerLost."""
        # RAM holds the driver. It is kept and never executed: that it was loaded is what personalities ask for.
        if address >= RAM_BASE:
            self._ram[address - RAM_BASE : address - RAM_BASE + len(data)] = data
            return
        offset = address - FLASH_BASE
        self._flash.program(offset, data)
        self.written_end = max(self.written_end, offset + len(data))

    def mark_valid(self) -> None:
        """Mark what was programmed as a valid application. Raises PowerLost."""
        _mark_valid(self._flash, self.written_end)
        self.is_erased = False


def is_in_ram(address: int, size: int) -> bool:
    """Return whether a range is wholly in RAM."""
    return address >= RAM_BASE and address + size <= RAM_BASE + RAM_BYTES


def is_in_flash(address: int, size: int) -> bool:
    """Return whether a range is wholly in the application's flash."""
    return address >= FLASH_BASE and address + size <= FLASH_BASE + APPLICATION_BYTES


def _mark_valid(flash: NorFlash, length: int) -> None:
    crc = zlib.crc32(flash.read(0, length))
    flash.program(APPLICATION_BYTES, _MARK.pack(_MAGIC, 0, length, crc))
