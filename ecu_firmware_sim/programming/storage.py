"""What an ECU keeps through a reset, as one value: the flash, and the records in it."""

from __future__ import annotations

from dataclasses import dataclass

from otabench.ecu_firmware_sim.boot.boot_control import BootControlStore, SlotListener
from otabench.ecu_firmware_sim.flash.layout import FlashLayout
from otabench.ecu_firmware_sim.flash.nor import NorFlash
from otabench.ecu_firmware_sim.flash.nvm import NvmStore


@dataclass(frozen=True)
class Storage:
    """The flash of one ECU with its records. They are loaded by whoever boots."""

    flash: NorFlash
    layout: FlashLayout
    boot_control: BootControlStore
    nvm: NvmStore

    @classmethod
    def on(cls, flash: NorFlash, layout: FlashLayout, slot_listener: SlotListener | None = None) -> Storage:
        """Return the storage on a flash. ``slot_listener`` is called after each change of a slot's state."""
        return cls(flash, layout, BootControlStore(flash, layout, slot_listener), NvmStore(flash, layout))
