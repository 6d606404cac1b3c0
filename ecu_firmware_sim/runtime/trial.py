"""The watch over a trial image: it is reset if it is not confirmed in time, hangs or crashes.

Faults make it hang or crash. The trouble code of a failure is always stored before the trial loses its boots. So a power cut between
the two may leave a code although the trial goes on, but never a trial that ended without a code.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from otabench.ecu_firmware_sim.boot.bootloader import BootOutcome
from otabench.ecu_firmware_sim.boot.slots import SlotState
from otabench.ecu_firmware_sim.bus.connection import Connection
from otabench.ecu_firmware_sim.faults import FaultKind, Faults
from otabench.ecu_firmware_sim.runtime.deadlines import Deadlines, Due
from otabench.ecu_firmware_sim.runtime.operations import PendingOperations
from otabench.ecu_firmware_sim.startup import Startup
from otabench.ecu_firmware_sim.uds.dtc import Dtc, DtcMemory
from otabench.ecu_firmware_sim.uds.state import Device

HANG_WATCHDOG_S: Final = 1.0
"""How long an image may hang before the hardware's watchdog resets it."""


class TrialWatch:
    """The watch over the trials of one ECU.

    Args:
        startup: has boot control and the trace.
        faults: the set faults, some of which make an image fail.
        deadlines: the ECU's table; the watch adds its own.
        connection: closed while an image hangs.
        operations: abandoned before an image is reset.
        confirm_timeout_s: the time within which a trial image must be confirmed.
        restart: resets the ECU.
    """

    def __init__(
        self,
        startup: Startup,
        faults: Faults,
        deadlines: Deadlines,
        *,
        connection: Connection,
        operations: PendingOperations,
        confirm_timeout_s: float,
        restart: Callable[[], None],
    ) -> None:
        self._startup = startup
        self._faults = faults
        self._deadlines = deadlines
        self._connection = connection
        self._operations = operations
        self._confirm_timeout_s = confirm_timeout_s
        self._restart = restart

    def is_trial(self, outcome: BootOutcome) -> bool:
        """Return whether the slot that the bootloader chose is on trial."""
        slot = outcome.slot
        return slot is not None and self._startup.boot_control.current.states[slot] is SlotState.TRIAL

    def fails_to_boot(self, dtcs: DtcMemory) -> bool:
        """Make the boot fail if a fault requests it. Return whether it failed."""
        if self._faults.act(FaultKind.BOOT_FAIL) is None:
            return False
        self._fail(dtcs, "the image did not come up")
        return True

    def watch(self) -> None:
        """Watch the trial image that runs from now on."""
        now_s = time.monotonic()
        self._deadlines.set(Due.TRIAL_WATCHDOG, now_s + self._confirm_timeout_s)
        # ``find``, not ``act``: this fault has no count, and an image that hangs does so at every boot.
        hang = self._faults.find(FaultKind.HANG)
        if hang is not None:
            self._deadlines.set(Due.HANG, now_s + float(hang.values["after_s"]))
        crash = self._faults.act(FaultKind.CRASH)
        if crash is not None:
            self._deadlines.set(Due.TRIAL_CRASH, now_s + float(crash.values["after_s"]))

    def end_watch(self, device: Device) -> None:
        """End the watch once the image is confirmed, which any response may have done."""
        if Due.TRIAL_WATCHDOG not in self._deadlines or device.firmware.on_trial:
            return
        self._deadlines.drop(Due.TRIAL_WATCHDOG)
        crash = self._faults.act(FaultKind.CRASH_AFTER_CONFIRM)
        if crash is not None:
            self._deadlines.set(Due.CRASH, time.monotonic() + float(crash.values["after_s"]))

    def time_out(self, device: Device) -> None:
        """End a trial that was not confirmed in time: it has no boots left."""
        # Confirmed by a request whose response could not be sent: ``end_watch`` was not called then.
        if not device.firmware.on_trial:
            return
        self._operations.abandon()
        self._fail(
            device.dtcs,
            f"not confirmed within {self._confirm_timeout_s} s",
            before_restart=device.firmware.end_trial,
        )

    def hang(self, device: Device) -> None:
        """Neither send nor receive, until the hardware's watchdog resets the ECU."""
        # The server stays: only the connection is closed, and deadlines go on, as a watchdog in hardware does.
        if device.firmware.on_trial:
            self._connection.close()
            self._deadlines.set(Due.HANG_WATCHDOG, time.monotonic() + HANG_WATCHDOG_S)

    def reset_hanging(self, device: Device) -> None:
        """Reset a hanging image: one boot is lost, not the trial."""
        self._operations.abandon()
        self._fail(device.dtcs, "the image hung: the watchdog reset it")

    def crash(self, device: Device) -> None:
        """Reset a crashed trial image: one boot is lost, not the trial."""
        if device.firmware.on_trial:
            self._operations.abandon()
            self._fail(device.dtcs, "the image crashed")

    def crash_confirmed(self) -> None:
        """Reset a crashed image that is confirmed: it is booted again."""
        self._operations.abandon()
        # A confirmed image is the preferred one, and no trial is left that could be given up.
        slot = self._startup.boot_control.current.preferred
        self._startup.trace.emit("ecu.crash", slot=slot, reason="the confirmed image crashed")
        self._restart()

    def _fail(self, dtcs: DtcMemory, reason: str, *, before_restart: Callable[[], None] = lambda: None) -> None:
        # The code first: see the rule in the module's docstring.
        dtcs.set(Dtc.BOOT_FAILED, reason)
        before_restart()
        control = self._startup.boot_control.current
        self._startup.trace.emit("ecu.boot_failed", slot=control.trial, reason=reason, boots_left=control.boots_left)
        self._restart()
