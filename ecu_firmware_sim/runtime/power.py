"""The flash of one ECU with its power supply."""

from __future__ import annotations

from threading import Event

from otabench.ecu_firmware_sim.errors import PowerLost
from otabench.ecu_firmware_sim.flash.layout import FlashLayout
from otabench.ecu_firmware_sim.flash.nor import FileBacking, NorFlash


class PoweredFlash:
    """A flash with a power supply, which is off at first.

    Args:
        backing: the state file.
        layout: of the flash; operations on its data flash take no time.
    """

    def __init__(self, backing: FileBacking, layout: FlashLayout) -> None:
        self._gone = Event()
        self.flash = NorFlash(
            backing.load(), backing=backing, timed_from=layout.metadata_offset, wait=self._wait_for_operation
        )

    def switch_on(self) -> None:
        self.flash.powered = True
        self._gone.clear()

    def switch_off(self) -> None:
        """Switch the power off. A flash operation that waits on another thread ends at once, with PowerLost."""
        # In this order: an operation that wakes up must find the flash without power.
        self.flash.powered = False
        self._gone.set()

    def _wait_for_operation(self, seconds: float) -> None:
        # An event instead of ``sleep``: a slow erase takes seconds, and power must be able to go in the middle of them.
        if self._gone.wait(seconds):
            raise PowerLost("power went during a flash operation")
