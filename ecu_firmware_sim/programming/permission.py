"""Rules for what may be done with the slots in the present state of an ECU.

Pure: boot control, the running slot and the layout in; an offset or a refusal out. ``verification`` checks the *contents* of a slot or of
the metadata window.

Rules:

* Only the inactive slot can be erased or programmed, and only while the running image is CONFIRMED and will be booted again:
  there is always an image to go back to.
* The slot table (``boot.slots``) defines in which states each of these may happen.
* In the bootloader no image runs, so no slot has to be kept for a way back.
"""

from __future__ import annotations

from dataclasses import dataclass

from otabench.ecu_firmware_sim.boot.boot_control import BootControl
from otabench.ecu_firmware_sim.boot.dependencies import Versions
from otabench.ecu_firmware_sim.boot.slots import SlotEvent, SlotState, is_allowed
from otabench.ecu_firmware_sim.flash.layout import METADATA_WINDOW, SECTOR_BYTES, SLOT_WINDOW, FlashLayout


class NotNow(Exception):
    """The ECU's state does not allow it."""


class OutOfRange(Exception):
    """The address or length is outside what may be touched."""


@dataclass(frozen=True)
class Situation:
    """The state that the rules check. It is valid until boot control changes.

    Attributes:
        control: the boot control record.
        running: the slot that runs; None in the bootloader.
        layout: of the flash.
    """

    control: BootControl
    running: int | None
    layout: FlashLayout

    @property
    def active(self) -> int:
        """The running slot; in the bootloader, where no slot runs, the preferred one.

        The running slot is not always the preferred one: during a trial the slot before is still preferred, and after a revert the
        other slot is, until the reset.
        """
        return self.control.preferred if self.running is None else self.running

    @property
    def target(self) -> int:
        """The inactive slot, which the slot window shows."""
        # Two slots: every rule about "the other one" rests on this.
        return 1 - self.active

    @property
    def target_state(self) -> SlotState:
        return self.control.states[self.target]

    @property
    def target_promises(self) -> Versions:
        """The versions of other ECUs that the image in the inactive slot may rely on."""
        return self.control.promised[self.target]

    @property
    def on_trial(self) -> bool:
        """Whether the running slot is not yet confirmed."""
        return self.running is not None and self.control.states[self.running] is SlotState.TRIAL

    def offset_of(self, address: int, length: int) -> int:
        """Return the offset in flash of a UDS address. Raises OutOfRange: not wholly in one window."""
        # Both ends are checked: a range may begin in a window and end behind it.
        slot, window = self.layout.slot_offset(self.target), self.layout.slot_bytes
        if address >= SLOT_WINDOW and address + length <= SLOT_WINDOW + window:
            return slot + address - SLOT_WINDOW
        if address >= METADATA_WINDOW and address + length <= METADATA_WINDOW + self.layout.metadata_bytes:
            return self.layout.metadata_offset + address - METADATA_WINDOW
        raise OutOfRange(f"0x{length:X} bytes at 0x{address:X} are outside the windows")

    def require_erasable(self, address: int, length: int) -> None:
        """Raise OutOfRange or NotNow, unless the range may be erased."""
        self.offset_of(address, length)
        if address % SECTOR_BYTES or not length:
            raise OutOfRange(f"erase of 0x{length:X} bytes at 0x{address:X}")
        # The metadata window may be erased at any time: no boot depends on it.
        if address < METADATA_WINDOW:
            self.require_free_target()
            self.require_event(SlotEvent.ERASE_STARTED)

    def require_event(self, event: SlotEvent) -> None:
        """Raise NotNow, unless the slot table allows ``event`` for the inactive slot."""
        if not is_allowed(self.target_state, event):
            raise NotNow(f"slot {self.target} is {self.target_state.name}")

    def require_free_target(self) -> None:
        """Raise NotNow where the inactive slot is needed: as the way back of a trial, or as what is booted next."""
        if self.running is None:
            return
        if self.on_trial:
            raise NotNow("the running image is on trial: the other slot is its way back")
        if self.control.preferred != self.running:
            raise NotNow("the other slot is booted at the next reset")
