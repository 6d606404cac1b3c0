"""The ECU: its parts, and the one loop that drives them, on one thread.

Each turn of the loop waits for a request or a wake-up, runs the functions of other threads, and performs the actions that are due. The
parts are in ``runtime``: power and boots (``lifecycle``), trials, requests, pending operations, effects of faults. ``boot`` chooses the
image, ``uds`` the responses.

Other threads (control port) use ``call``, which runs a function on the loop. Only the work of a pending operation is done on another
thread. While it is done, the loop does not write flash: the server refuses requests with 21, and the supply is judged later.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

from otabench.ecu_firmware_sim import faults, unforeseen
from otabench.ecu_firmware_sim.boot.boot_control import BootControlStore
from otabench.ecu_firmware_sim.bus.connection import Connection
from otabench.ecu_firmware_sim.bus.inhibit_listener import InhibitListener
from otabench.ecu_firmware_sim.bus.transport import TransportDown
from otabench.ecu_firmware_sim.errors import PowerLost
from otabench.ecu_firmware_sim.factory import Provision
from otabench.ecu_firmware_sim.faults import Faults
from otabench.ecu_firmware_sim.flash.layout import FlashLayout
from otabench.ecu_firmware_sim.flash.nor import FileBacking
from otabench.ecu_firmware_sim.programming.memory import FirmwareMemory
from otabench.ecu_firmware_sim.runtime.deadlines import Deadlines, Due
from otabench.ecu_firmware_sim.runtime.fault_effects import FaultEffects
from otabench.ecu_firmware_sim.runtime.lifecycle import REOPEN_S, Lifecycle, Mode
from otabench.ecu_firmware_sim.runtime.operations import PendingOperations
from otabench.ecu_firmware_sim.runtime.power import PoweredFlash
from otabench.ecu_firmware_sim.runtime.requests import Requests
from otabench.ecu_firmware_sim.startup import Startup
from otabench.ecu_firmware_sim.uds.codes import Session
from otabench.ecu_firmware_sim.uds.server import UdsServer
from otabench.ecu_firmware_sim.uds.state import Device, MessageKind
from otabench.proto.process_config import EcuConfig
from otabench.proto.trace import TraceWriter

log = logging.getLogger(__name__)
SUPPLY_RETRY_S: Final = 0.02
"""The interval of checks of the supply while a pending operation runs."""
_T = TypeVar("_T")


class Ecu:
    """One ECU over its flash.

    Args:
        config: its configuration.
        given: what is pinned in it.
        backing: its state file.
        writer: where its events go.

    Attributes:
        life: its power and boots.
        inhibit: whether the vehicle may be driven.
        faults: the faults that are set. They are set and cleared through ``fault_effects``.
    """

    def __init__(self, config: EcuConfig, given: Provision, backing: FileBacking, writer: TraceWriter) -> None:
        self.config = config
        self.layout = FlashLayout(slot_bytes=config.slot_size_bytes)
        self.faults = Faults()
        power = PoweredFlash(backing, self.layout)
        self.flash = power.flash
        self.startup = Startup(config, given, self.flash, self.layout, writer)
        self.connection = Connection(config)
        # Not part of the connection: the vehicle stays inhibited while this ECU restarts.
        self.inhibit = InhibitListener(config.inhibit, config.bus)
        self._deadlines = Deadlines()
        self._operations = operations = PendingOperations(config.timing, self.connection, self._deadlines)
        self.life = Lifecycle(
            config,
            power,
            self.startup,
            faults=self.faults,
            deadlines=self._deadlines,
            connection=self.connection,
            operations=operations,
        )
        self.requests = Requests(
            config.name, self.faults, connection=self.connection, operations=operations, life=self.life
        )
        self.fault_effects = FaultEffects(
            self.faults,
            config.timing,
            self.flash,
            self.layout,
            conditions=self.startup.conditions,
            trace=self.startup.trace,
            deadlines=self._deadlines,
            is_inhibited=lambda: self.inhibit.is_inhibited,
        )
        # ``append`` and ``popleft`` of a deque are atomic: other threads need no lock.
        self._calls: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._actions = self._actions_when_due()
        self.boot_control.load()  # the control port shows the slots before the first boot, too
        for text in config.faults:
            self.fault_effects.set(faults.parse_short(text))

    @property
    def boot_control(self) -> BootControlStore:
        return self.startup.boot_control

    @property
    def mode(self) -> Mode:
        return self.life.mode

    @property
    def firmware(self) -> FirmwareMemory | None:
        """The memory that the server serves; None while the ECU is off or booting."""
        return None if self.life.server is None else self.life.server.device.firmware

    # -- from other threads

    def stop(self) -> None:
        """End ``run``. Safe to call from any thread and from a signal handler."""
        self._stopping = True
        self.connection.waker.set()

    def call(self, function: Callable[[], _T], *, timeout_s: float = 10.0) -> _T:
        """Run a function on the loop and return its result or raise its exception. Raise TimeoutError."""
        future: Future[_T] = Future()

        def run() -> None:
            # The caller gets the exception; the loop must not end by it.
            try:
                future.set_result(function())
            except Exception as error:  # noqa: BLE001 - handed to the caller
                future.set_exception(error)

        self._calls.append(run)
        self.connection.waker.set()
        return future.result(timeout_s)

    # -- the loop

    def run(self) -> None:
        """Run until ``stop``. At the end the ECU has no power, and its flash keeps its contents."""
        self.life.switch_on("start")
        while not self._stopping:
            try:
                self._turn()
            except PowerLost as lost:
                self.life.lose_power(str(lost))
            except TransportDown as down:
                log.warning("%s: bus: %s; opening it again", self.config.name, down)
                self._pause(Due.REOPEN)
            except Exception as error:  # noqa: BLE001 - the ECU goes on
                unforeseen.report(error, ecu=self.config.name, doing=f"in its loop, {self.mode}")
                self._pause(Due.BOOT if self.mode is Mode.BOOTING else Due.REOPEN)
        self.life.switch_off("stop")
        self.inhibit.close()

    def _pause(self, then: Due) -> None:
        """Close the connection, and go on a little later: an error that repeats at once must not become a busy loop."""
        self.connection.close()
        self._deadlines.set(then, time.monotonic() + REOPEN_S)

    def _turn(self) -> None:
        # Calls first: a power cut by the control port precedes the request that came in the same turn.
        received = self.connection.receive(self._wait_s())
        while self._calls:
            self._calls.popleft()()
        self.requests.finish_pending()
        self._deadlines.run(self._actions, now_s=time.monotonic())
        if self.life.server is not None:
            self.requests.tick(self.life.server, received)
        # Looked up again, as each step above may have cut the power or reset the ECU; a request that came before is lost then.
        if received is not None and self.life.server is not None:
            request, functional = received
            self.requests.serve(self.life.server, request, functional=functional)
        self.connection.let_application_send(_lets_application_send(self.life.server))

    def _wait_s(self) -> float | None:
        """Return how long the loop may sleep; None: until something comes."""
        if self._calls or self._stopping:
            return 0.0
        s3_s = None if self.life.server is None else self.life.server.next_deadline_s
        deadlines_s = [at_s for at_s in (self._deadlines.next_s, s3_s) if at_s is not None]
        return max(0.0, min(deadlines_s) - time.monotonic()) if deadlines_s else None

    def _actions_when_due(self) -> dict[Due, Callable[[], None]]:
        life, trial = self.life, self.life.trial
        return {
            Due.POWER_ON: lambda: life.switch_on("back after a fault"),
            Due.BOOT: life.boot,
            Due.TRIAL_WATCHDOG: lambda: self._with_device(trial.time_out),
            Due.HANG: lambda: self._with_device(trial.hang),
            Due.HANG_WATCHDOG: lambda: self._with_device(trial.reset_hanging),
            Due.TRIAL_CRASH: lambda: self._with_device(trial.crash),
            Due.CRASH: trial.crash_confirmed,
            Due.REOPEN: life.open_connection,
            Due.ANNOUNCE: self._operations.announce,
            Due.SUPPLY: self._check_supply,
        }

    def _check_supply(self) -> None:
        """Check the supply. While a pending operation runs, do it a little later."""
        # The check may write NVM, and so may the operation: of two threads in one record, one would lose its change.
        if self._operations.is_running:
            self._deadlines.set(Due.SUPPLY, time.monotonic() + SUPPLY_RETRY_S)
            return
        self.life.check_supply()

    def _with_device(self, action: Callable[[Device], None]) -> None:
        """Perform an action of the image, if one runs."""
        if self.life.server is not None:
            action(self.life.server.device)


def _lets_application_send(server: UdsServer | None) -> bool:
    """Return whether an application runs, and may send its normal messages (28)."""
    if server is None or server.dialogue.in_bootloader:
        return False
    dialogue = server.dialogue
    return dialogue.session is not Session.PROGRAMMING and dialogue.communication.sends(MessageKind.NORMAL)
