"""The layout of an ECU's flash, and the UDS addresses of its windows.

    boot control record A | record B | NVM bank A | NVM bank B | metadata window | slot 0 | slot 1

Boot control and NVM represent a data flash: its operations are counted and can be cut, but take no time. The metadata window and the
slots are code flash. All sizes are whole sectors, so that erasing one area never touches another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from otabench.ecu_firmware_sim.errors import ConfigError

# Usual sizes of serial NOR parts and of many controllers' internal flash: 4 KiB to erase, 256 bytes to program.
SECTOR_BYTES: Final = 4096
PAGE_BYTES: Final = 256

# The windows are far enough apart for any slot size that a bench file allows: an address shows which window is meant.
SLOT_WINDOW: Final = 0x0010_0000
"""UDS address at which the inactive slot appears."""
METADATA_WINDOW: Final = 0x00F0_0000
"""UDS address of the Director's Targets."""


@dataclass(frozen=True)
class FlashLayout:
    """Offsets and sizes in bytes."""

    slot_bytes: int = 0x100000
    metadata_bytes: int = 0x10000
    nvm_bank_bytes: int = 2 * SECTOR_BYTES

    def __post_init__(self) -> None:
        # A part of a sector cannot be erased: two areas in one sector would be lost together.
        for name in ("slot_bytes", "metadata_bytes", "nvm_bank_bytes"):
            size = getattr(self, name)
            if size <= 0 or size % SECTOR_BYTES:
                raise ConfigError(f"{name} is {size}: it must be a multiple of the {SECTOR_BYTES}-byte sector")

    @property
    def boot_control_offsets(self) -> tuple[int, int]:
        return 0, SECTOR_BYTES

    @property
    def nvm_offsets(self) -> tuple[int, int]:
        return 2 * SECTOR_BYTES, 2 * SECTOR_BYTES + self.nvm_bank_bytes

    @property
    def metadata_offset(self) -> int:
        """The start of the metadata window, and of the code flash: from here on operations take time."""
        return 2 * SECTOR_BYTES + 2 * self.nvm_bank_bytes

    def slot_offset(self, slot: int) -> int:
        return self.metadata_offset + self.metadata_bytes + slot * self.slot_bytes

    @property
    def total_bytes(self) -> int:
        return self.slot_offset(2)
