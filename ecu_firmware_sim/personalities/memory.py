"""Flash and RAM of an ECU with one or two banks: the applications, and the marks that make them valid.

Rules:

* The last sector of a bank holds the mark: start, length and CRC of the application. Without a mark that agrees, there is no application.
* The first erase takes the mark away, before a byte of the application goes. A power cut in the middle leaves an ECU that waits in
  its bootloader, or runs its other bank, and never one that runs half an application.
* Of two banks, the one that was activated last runs, until it is given up. Programming writes the other one.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from otabench.ecu_firmware_sim.flash.layout import SECTOR_BYTES
from otabench.ecu_firmware_sim.flash.nor import ERASED, NorFlash
from otabench.ecu_firmware_sim.personalities.personality import FLASH_BASE, RAM_BASE, SECTORS

BANK_BYTES: Final = SECTORS * SECTOR_BYTES
FLASH_BYTES: Final = 2 * BANK_BYTES
"""An ECU with a single bank leaves the second half alone."""
APPLICATION_BYTES: Final = BANK_BYTES - SECTOR_BYTES
"""The last sector holds the mark of a valid application."""
RAM_BYTES: Final = 0x4000
VERSION_OFFSET: Final = 0x20
VERSION_BYTES: Final = 16
# Magic, start, length, CRC-32 of the application.
_MARK: Final = struct.Struct(">4sIII")
_MAGIC: Final = b"VALD"
# Behind the mark: when the bank was activated, counted up from 1, and whether it was given up. Each is programmed by itself.
_ACTIVATED: Final = struct.Struct(">I")
_ACTIVATED_OFFSET, _GIVEN_UP_OFFSET = 0x20, 0x40
_NEVER: Final = 0xFFFF_FFFF


def new_flash(application: bytes = b"") -> NorFlash:
    """Return the flash of a new ECU, with a valid application in its first bank if one is given."""
    flash = NorFlash(bytearray([ERASED]) * FLASH_BYTES)
    if application:
        flash.program(0, application)
        _mark_valid(flash, 0, len(application))
        flash.program(APPLICATION_BYTES + _ACTIVATED_OFFSET, _ACTIVATED.pack(1))
    return flash


class Memory:
    """The memory of one ECU from one boot to the next.

    Args:
        flash: of ``FLASH_BYTES``.
        is_dual: whether it has two banks.

    Attributes:
        active: the bank that runs, or that would if it were valid.
    """

    def __init__(self, flash: NorFlash, *, is_dual: bool = False) -> None:
        self.is_erased = False
        """Whether an erase has taken the mark away since this boot."""
        self.written_end = 0
        """The end of what was programmed since then."""
        self._flash = flash
        self._ram = bytearray(RAM_BYTES)
        self._is_dual = is_dual
        self.active = self._last_activated() if is_dual else 0
        self._target = 1 - self.active if is_dual and self.is_valid else self.active

    def _last_activated(self) -> int:
        running = [bank for bank in (0, 1) if self.holds_valid(bank) and self._may_run(bank)]
        return max(running, key=self._activated, default=0)

    def _activated(self, bank: int) -> int:
        at = bank * BANK_BYTES + APPLICATION_BYTES + _ACTIVATED_OFFSET
        return int(_ACTIVATED.unpack(bytes(self._flash.memory[at : at + _ACTIVATED.size]))[0])

    def _may_run(self, bank: int) -> bool:
        return self._activated(bank) != _NEVER and not self.is_given_up(bank)

    def is_given_up(self, bank: int) -> bool:
        """Return whether the bank was reverted."""
        return self._flash.memory[bank * BANK_BYTES + APPLICATION_BYTES + _GIVEN_UP_OFFSET] != ERASED

    def holds_valid(self, bank: int) -> bool:
        """Return whether a bank holds a complete application."""
        base = bank * BANK_BYTES
        mark = bytes(self._flash.memory[base + APPLICATION_BYTES : base + APPLICATION_BYTES + _MARK.size])
        magic, start, length, crc = _MARK.unpack(mark)
        # The length is not trusted before it is compared: an erased or torn mark may name any.
        if magic != _MAGIC or start + length > APPLICATION_BYTES:
            return False
        return bool(zlib.crc32(self._flash.memory[base + start : base + start + length]) == crc)

    @property
    def is_valid(self) -> bool:
        """Whether the active bank holds a complete application."""
        return self.holds_valid(self.active)

    @property
    def version(self) -> str:
        """The text in the header of the active application; empty without a valid one."""
        return self.version_in(self.active)

    def version_in(self, bank: int) -> str:
        """Return the text in the header of a bank's application; empty without a valid one."""
        if not self.holds_valid(bank):
            return ""
        at = bank * BANK_BYTES + VERSION_OFFSET
        text = bytes(self._flash.memory[at : at + VERSION_BYTES])
        return text.rstrip(b"\x00\xff").decode("ascii", "replace")

    def state_of(self, bank: int) -> str:
        """Return a bank's state, in the words of slot tables."""
        if not self.holds_valid(bank):
            return "INVALID" if bank == self.active else "EMPTY"
        if self.is_given_up(bank):
            return "INVALID"
        # A single bank runs as soon as it is valid.
        return "STAGED" if self._is_dual and self._activated(bank) == _NEVER else "CONFIRMED"

    def activate(self) -> bool:
        """Let the other bank run from the next boot on; return False if it holds nothing new. Raises PowerLost."""
        if self._target == self.active and self.is_valid and self._activated(self._target) != _NEVER:
            return False
        if not self.holds_valid(self._target) or self.is_given_up(self._target):
            return False
        if self._activated(self._target) == _NEVER:
            last = max((self._activated(bank) for bank in (0, 1) if self._may_run(bank)), default=0)
            at = self._target * BANK_BYTES + APPLICATION_BYTES + _ACTIVATED_OFFSET
            # A torn number is larger than the whole one, as programming only clears bits: the bank is activated all the same.
            self._flash.program(at, _ACTIVATED.pack(last + 1))
        return True

    def give_up(self) -> bool:
        """Let the other bank run from the next boot on, and never this one again; return False if it cannot. Raises PowerLost."""
        other = 1 - self.active
        if not self.is_valid or self.is_given_up(self.active) or not (self.holds_valid(other) and self._may_run(other)):
            return False
        self._flash.program(self.active * BANK_BYTES + APPLICATION_BYTES + _GIVEN_UP_OFFSET, b"\0")
        return True

    def erase(self, offset: int, length: int) -> None:
        """Erase whole sectors of the application. Raises PowerLost."""
        if not self.is_erased:
            self._flash.erase(self._target * BANK_BYTES + APPLICATION_BYTES, SECTOR_BYTES)
            self.is_erased, self.written_end = True, 0
        self._flash.erase(self._target * BANK_BYTES + offset, length)

    def store(self, address: int, data: bytes) -> None:
        """Write to RAM or to erased flash. Raises FlashError, PowerLost."""
        # RAM holds the driver. It is kept and never executed: that it was loaded is what personalities ask for.
        if address >= RAM_BASE:
            self._ram[address - RAM_BASE : address - RAM_BASE + len(data)] = data
            return
        offset = address - FLASH_BASE
        self._flash.program(self._target * BANK_BYTES + offset, data)
        self.written_end = max(self.written_end, offset + len(data))

    def mark_valid(self) -> None:
        """Mark what was programmed as a valid application. Raises PowerLost."""
        _mark_valid(self._flash, self._target, self.written_end)
        self.is_erased = False


def is_in_ram(address: int, size: int) -> bool:
    """Return whether a range is wholly in RAM."""
    return address >= RAM_BASE and address + size <= RAM_BASE + RAM_BYTES


def is_in_flash(address: int, size: int) -> bool:
    """Return whether a range is wholly in the application's flash."""
    return address >= FLASH_BASE and address + size <= FLASH_BASE + APPLICATION_BYTES


def _mark_valid(flash: NorFlash, bank: int, length: int) -> None:
    crc = zlib.crc32(flash.read(bank * BANK_BYTES, length))
    flash.program(bank * BANK_BYTES + APPLICATION_BYTES, _MARK.pack(_MAGIC, 0, length, crc))
