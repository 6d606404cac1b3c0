"""From power-on to power-off: boot, run, reset.

    OFF -- switch_on --> BOOTING -- boot --> APPLICATION or BOOTLOADER -- restart --> BOOTING
     ^-------------------------------- switch_off, from each --------------------------'

``startup`` boots, ``trial`` watches an unconfirmed image. A reset or loss of power drops everything but the flash.
"""

from __future__ import annotations

import logging
import time
from enum import StrEnum
from typing import Final

from otabench.ecu_firmware_sim.boot.bootloader import BootOutcome
from otabench.ecu_firmware_sim.bus.connection import Connection
from otabench.ecu_firmware_sim.errors import BusUnavailable
from otabench.ecu_firmware_sim.faults import FaultKind, Faults
from otabench.ecu_firmware_sim.flash.nor import Cut
from otabench.ecu_firmware_sim.runtime.deadlines import Deadlines, Due
from otabench.ecu_firmware_sim.runtime.operations import PendingOperations
from otabench.ecu_firmware_sim.runtime.power import PoweredFlash
from otabench.ecu_firmware_sim.runtime.trial import TrialWatch
from otabench.ecu_firmware_sim.startup import Startup
from otabench.ecu_firmware_sim.uds.dtc import DtcMemory
from otabench.ecu_firmware_sim.uds.server import UdsServer
from otabench.proto.process_config import EcuConfig

log = logging.getLogger(__name__)

REOPEN_S: Final = 0.5
"""The pause before a bus that is gone is opened again."""
FAULT_OFF_S: Final = 0.5
"""How long power stays away after a cut whose fault was cleared in the meantime."""


class Mode(StrEnum):
    """The states of the ECU."""

    OFF = "off"
    BOOTING = "booting"
    APPLICATION = "application"
    BOOTLOADER = "bootloader"


class Lifecycle:
    """Power and boots of one ECU.

    Attributes:
        mode: what it is doing.
        server: the UDS server of this boot; None while the ECU is off or booting.
    """

    def __init__(
        self,
        config: EcuConfig,
        power: PoweredFlash,
        startup: Startup,
        *,
        faults: Faults,
        deadlines: Deadlines,
        connection: Connection,
        operations: PendingOperations,
    ) -> None:
        self.mode = Mode.OFF
        self.server: UdsServer | None = None
        self._config = config
        self._power = power
        self._startup = startup
        self._faults = faults
        self._deadlines = deadlines
        self._connection = connection
        self._operations = operations
        self.trial = TrialWatch(
            startup,
            faults,
            deadlines,
            connection=connection,
            operations=operations,
            confirm_timeout_s=config.timing.trial_confirm_timeout_s,
            restart=self.restart,
        )

    def switch_on(self, reason: str) -> None:
        """Switch the power on. The bootloader runs after ``boot_s``."""
        # The control port may give power while a fault's own deadline for it runs: whichever is first wins.
        if self.mode is not Mode.OFF:
            return
        self._deadlines.drop(Due.POWER_ON)
        self._power.switch_on()
        self._startup.trace.emit_external("ecu.power", state="on", reason=reason)
        self.restart()

    def switch_off(self, reason: str, *, off_s: float | None = None) -> None:
        """Switch the power off at once. It comes back after ``off_s``, if given."""
        was_on = self.mode is not Mode.OFF
        # Power first: it ends the flash operation that the pending operation is waiting in, and ``abandon`` waits for that.
        self._power.switch_off()
        self._operations.abandon()
        self._stop()
        self.mode = Mode.OFF
        if was_on:
            self._startup.trace.emit_external("ecu.power", state="off", reason=reason)
        if off_s is not None:
            self._deadlines.set(Due.POWER_ON, time.monotonic() + off_s)

    def lose_power(self, reason: str) -> None:
        """Handle a power cut in a flash operation."""
        # Dropped before power comes back: the same fault would cut the first operation of the next boot as well.
        cut = self._faults.find(FaultKind.POWER_CUT)
        self._faults.drop(FaultKind.POWER_CUT)
        if cut is not None and cut.values["mode"] == Cut.GARBAGE:
            reason = f"{reason}, seed {cut.values['seed']}"
        self.switch_off(reason, off_s=float(cut.values["off_s"]) if cut is not None else FAULT_OFF_S)

    def restart(self) -> None:
        """Reset: the bootloader runs after ``boot_s``."""
        self._stop()
        self.mode = Mode.BOOTING
        self._deadlines.set(Due.BOOT, time.monotonic() + self._config.timing.boot_s)

    def boot(self) -> None:
        """Run the bootloader, and the image that it chooses. Raises PowerLost."""
        outcome, dtcs = self._startup.boot()
        # Before the server starts: its first responses may confirm the trial.
        is_trial = self.trial.is_trial(outcome)
        if is_trial and self.trial.fails_to_boot(dtcs):
            return
        self._start_server(outcome, dtcs)
        if is_trial:
            self.trial.watch()

    def open_connection(self) -> None:
        """Open the bus if a server runs. If the bus is not there, try again later."""
        if self.server is None:
            return
        try:
            self._connection.open()
        except BusUnavailable as error:
            log.warning("%s: %s", self._config.name, error)
            self._deadlines.set(Due.REOPEN, time.monotonic() + REOPEN_S)

    def check_supply(self) -> None:
        """Store or withdraw the trouble code of the supply: at every start, and when a fault changes it. Raises PowerLost."""
        if self.server is not None:
            self.server.check_supply()

    def after_response(self, server: UdsServer) -> None:
        """Do what the last response has caused: end the watch over a trial, reset."""
        self.trial.end_watch(server.device)
        # Last, because it drops the server and closes the connection: the response of 11 has been sent by now.
        if server.reset_due is not None:
            self.restart()

    def _start_server(self, outcome: BootOutcome, dtcs: DtcMemory) -> None:
        device = self._startup.device(outcome, dtcs)
        in_bootloader = outcome.slot is None
        self.server = UdsServer(device, in_bootloader=in_bootloader, now_s=time.monotonic())
        self.mode = Mode.BOOTLOADER if in_bootloader else Mode.APPLICATION
        # The bus is opened last: an ECU that can be reached has reported its boot and judged its supply.
        self._startup.report_running(outcome, mode=str(self.mode))
        self.check_supply()
        self.open_connection()

    def _stop(self) -> None:
        """End everything that a reset or a loss of power ends: server, connection, deadlines."""
        self._connection.close()
        self.server = None
        self._deadlines.clear()
