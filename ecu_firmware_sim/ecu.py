"""The ECU: power, boot, watchdog, and the server between them, in one loop on one thread.

Power comes and goes, a boot takes its time, a trial image is watched, a pending operation is announced by 78. ``bootloader`` chooses what
is booted, ``uds`` what is answered. All deadlines are in one table.

Without power, and while it boots, the ECU has no transport: it is deaf and mute as a real one. Other threads (control port) come
in by ``call``, which runs a function on this loop.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from enum import StrEnum
from threading import Event
from typing import Final, TypeVar

from otabench.ecu_firmware_sim import faults, unforeseen
from otabench.ecu_firmware_sim.boot.boot_control import BootControlStore
from otabench.ecu_firmware_sim.boot.bootloader import BootOutcome
from otabench.ecu_firmware_sim.boot.slots import SlotState
from otabench.ecu_firmware_sim.bus.application import Application
from otabench.ecu_firmware_sim.bus.opening import open_transport
from otabench.ecu_firmware_sim.bus.transport import NoTransport, Received, Transport, TransportDown, Waker
from otabench.ecu_firmware_sim.errors import BusUnavailable, PowerLost
from otabench.ecu_firmware_sim.factory import Provision
from otabench.ecu_firmware_sim.faults import Fault, FaultKind, Faults
from otabench.ecu_firmware_sim.flash.layout import FlashLayout
from otabench.ecu_firmware_sim.flash.nor import Cut, FileBacking, NorFlash, Operation
from otabench.ecu_firmware_sim.programming.memory import FirmwareMemory
from otabench.ecu_firmware_sim.startup import Startup
from otabench.ecu_firmware_sim.uds.codes import Nrc, Session, Sid, negative
from otabench.ecu_firmware_sim.uds.conditions import NOMINAL_SUPPLY_V
from otabench.ecu_firmware_sim.uds.dtc import Dtc, DtcMemory
from otabench.ecu_firmware_sim.uds.pending import Job
from otabench.ecu_firmware_sim.uds.server import Pending, UdsServer
from otabench.ecu_firmware_sim.uds.state import MessageKind
from otabench.proto.process_config import EcuConfig
from otabench.proto.trace import TraceWriter

log = logging.getLogger(__name__)
_T = TypeVar("_T")

SINGLE_FRAME_BYTES: Final = 7
"""A longer request came, or may have come, in several frames."""
HANG_WATCHDOG_S: Final = 1.0
REOPEN_S: Final = 0.5
FAULT_OFF_S: Final = 0.5
NOMINAL_ERASE_SECTOR_S: Final = 0.001
NOMINAL_PROGRAM_PAGE_S: Final = 0.0001
"""What slow-flash multiplies where the configuration has no times."""


class Mode(StrEnum):
    """What the ECU is doing."""

    OFF = "off"
    BOOTING = "booting"
    APPLICATION = "application"
    BOOTLOADER = "bootloader"


class Due(StrEnum):
    """What the ECU has a deadline for."""

    POWER_ON = "power on"
    BOOT = "boot"
    TRIAL_WATCHDOG = "trial watchdog"
    HANG = "hang"
    HANG_WATCHDOG = "hang watchdog"
    TRIAL_CRASH = "trial crash"
    CRASH = "crash"
    REOPEN = "reopen"
    ANNOUNCE = "announce"
    SUPPLY = "supply"


class Ecu:
    """One ECU over its flash.

    Args:
        config: its configuration.
        given: what is pinned in it.
        backing: its state file.
        trace: where its events go.
    """

    def __init__(self, config: EcuConfig, given: Provision, backing: FileBacking, trace: TraceWriter) -> None:
        self.config = config
        self.mode = Mode.OFF
        self.faults = Faults()
        self._trace = trace
        self.layout = FlashLayout(slot_bytes=config.slot_size_bytes)
        self._waker = Waker()
        self._power_gone = Event()
        self.flash = NorFlash(
            backing.load(), backing=backing, timed_from=self.layout.metadata_offset, wait=self._wait_flash
        )
        self.flash.on_operation = self._before_flash_operation
        self._cut_at: int | None = None
        self._startup = Startup(config, given, self.flash, self.layout, trace)
        self._transport: Transport = NoTransport(self._waker)
        self._application = Application(config)
        self._server: UdsServer | None = None
        self.firmware: FirmwareMemory | None = None
        self._dtcs: DtcMemory | None = None
        self._job: Job | None = None
        self._deadlines: dict[Due, float] = {}
        self._calls: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._actions: dict[Due, Callable[[], None]] = {
            Due.POWER_ON: lambda: self.power_on("back after a fault"),
            Due.BOOT: self._boot,
            Due.TRIAL_WATCHDOG: self._trial_timed_out,
            Due.HANG: self._hang,
            Due.HANG_WATCHDOG: self._hang_watchdog,
            Due.TRIAL_CRASH: self._trial_crash,
            Due.CRASH: self._crash,
            Due.REOPEN: self._open,
            Due.ANNOUNCE: self._announce,
            Due.SUPPLY: self._watch_supply,
        }
        self.boot_control.load()
        for text in config.faults:
            self.set_fault(faults.parse_short(text))

    @property
    def boot_control(self) -> BootControlStore:
        return self._startup.boot_control

    # -- from other threads

    def stop(self) -> None:
        """End ``run``; safe from any thread and from a signal handler."""
        self._stopping = True
        self._waker.set()

    def call(self, function: Callable[[], _T], *, timeout_s: float = 10.0) -> _T:
        """Run a function on the loop and give its result or exception. Raises TimeoutError."""
        future: Future[_T] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except Exception as error:  # noqa: BLE001 - handed to the caller
                future.set_exception(error)

        self._calls.append(run)
        self._waker.set()
        return future.result(timeout_s)

    # -- the loop

    def run(self) -> None:
        """Until ``stop``. Ends without power, its flash as it is."""
        self.power_on("start")
        while not self._stopping:
            try:
                self._turn()
            except PowerLost as lost:
                self._lost_by_fault(str(lost))
            except TransportDown as down:
                log.warning("%s: bus: %s; opening it again", self.config.name, down)
                self._silence()
                self._deadlines[Due.REOPEN] = time.monotonic() + REOPEN_S
            except Exception as error:  # noqa: BLE001 - the ECU goes on
                self._go_on_after(error)
        self.power_off("stop")

    def _go_on_after(self, error: Exception) -> None:
        """Handle an unforeseen error that no request has caused: pause, so that it does not become a busy loop, then go on."""
        unforeseen.report(error, ecu=self.config.name, doing=f"in its loop, {self.mode}")
        self._silence()
        due = Due.BOOT if self.mode is Mode.BOOTING else Due.REOPEN
        self._deadlines[due] = time.monotonic() + REOPEN_S

    def _turn(self) -> None:
        received = self._transport.receive(self._wait_s())
        while self._calls:
            self._calls.popleft()()
        if self._job is not None and self._job.done:
            self._finish_job(self._job)
        self._run_due()
        if self._server is not None:
            self._tick(self._server, received)
        if received is not None and self._server is not None and self.mode is not Mode.OFF:
            request, functional = received
            self._serve(self._server, request, functional=functional)
        self._application.talk(self._may_talk())

    def _may_talk(self) -> bool:
        """Return whether the application runs, and is allowed to send its normal messages (28)."""
        if self._server is None or self.mode is not Mode.APPLICATION or isinstance(self._transport, NoTransport):
            return False
        dialogue = self._server.dialogue
        return dialogue.session is not Session.PROGRAMMING and dialogue.communication.sends(MessageKind.NORMAL)

    def _wait_s(self) -> float | None:
        if self._calls or self._stopping:
            return 0.0
        deadlines = list(self._deadlines.values())
        if self._server is not None and self._server.next_deadline_s is not None:
            deadlines.append(self._server.next_deadline_s)
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _run_due(self) -> None:
        now_s = time.monotonic()
        for due in sorted(self._deadlines, key=self._deadlines.__getitem__):
            if self._deadlines.get(due, now_s + 1) <= now_s:
                del self._deadlines[due]
                self._actions[due]()

    def _tick(self, server: UdsServer, received: Received | None) -> None:
        """S3, unless a request came or is still coming whose first frame was in time."""
        now_s = time.monotonic()
        if server.next_deadline_s is None or now_s < server.next_deadline_s:
            return
        came_in_parts = received is not None and len(received[0]) > SINGLE_FRAME_BYTES
        server.tick(now_s, receiving=came_in_parts or self._transport.is_receiving())

    # -- requests

    def _serve(self, server: UdsServer, request: bytes, *, functional: bool) -> None:
        if self._disturbed(server, request):
            return
        try:
            answer = server.handle(request, functional=functional, now_s=time.monotonic())
        except PowerLost:
            raise
        except Exception as error:  # noqa: BLE001 - the ECU goes on
            unforeseen.report(error, ecu=self.config.name, doing=f"request {request[:16].hex(' ')}")
            answer = server.reject(request, now_s=time.monotonic())
        if isinstance(answer, Pending):
            self._start_job(answer)
            return
        if answer is not None:
            self._transport.send(answer)
        self._after_answer(server)

    def _disturbed(self, server: UdsServer, request: bytes) -> bool:
        if self.faults.act(FaultKind.SILENT) is not None:
            return True
        fault = self.faults.act(FaultKind.NRC, service=request[0]) if request else None
        if fault is not None:
            self._transport.send(negative(request[0], int(fault.values["nrc"])))
            return True
        cycle, transfer = self.faults.find(FaultKind.POWER_CYCLE_AT), server.dialogue.transfer
        if cycle is None or transfer is None or request[0] != Sid.TRANSFER_DATA:
            return False
        arrived = transfer.download.received_bytes + len(request) - 2
        if arrived < cycle.values["bytes"]:
            return False
        self.faults.drop(FaultKind.POWER_CYCLE_AT)
        self.power_off(f"power-cycle-at: {arrived} bytes had arrived", off_s=float(cycle.values["off_s"]))
        return True

    def _after_answer(self, server: UdsServer) -> None:
        if Due.TRIAL_WATCHDOG in self._deadlines and self.firmware is not None and not self.firmware.on_trial:
            del self._deadlines[Due.TRIAL_WATCHDOG]
            crash = self.faults.act(FaultKind.CRASH_AFTER_CONFIRM)
            if crash is not None:
                self._deadlines[Due.CRASH] = time.monotonic() + float(crash.values["after_s"])
        if server.reset_due is not None:
            self._restart()

    def _start_job(self, pending: Pending) -> None:
        job = Job(pending, on_done=self._waker.set)
        if job.wait(self.config.timing.p2_server_max_s / 2):
            self._job = job
            self._finish_job(job)
            return
        self._job = job
        self._announce()

    def _announce(self) -> None:
        if self._job is not None and not self._job.done:
            self._job.announced = True
            self._deadlines[Due.ANNOUNCE] = time.monotonic() + self.config.timing.p2_star_server_max_s / 2
            self._transport.send(self._job.pending.announcement)

    def _finish_job(self, job: Job) -> None:
        self._job = None
        self._deadlines.pop(Due.ANNOUNCE, None)
        response = job.pending.final(self._result_of(job), announced=job.announced)
        if self._server is None:
            return
        if response is not None:
            self._transport.send(response)
        self._server.completed(now_s=time.monotonic())
        self._after_answer(self._server)

    def _result_of(self, job: Job) -> bytes:
        try:
            return job.result()
        except PowerLost:
            raise
        except Exception as error:  # noqa: BLE001 - the ECU goes on
            unforeseen.report(error, ecu=self.config.name, doing=f"service {job.pending.sid:02X}")
            return negative(job.pending.sid, Nrc.GENERAL_REJECT)

    # -- power and boot

    def power_on(self, reason: str) -> None:
        """Power comes; the bootloader runs after ``boot_s``."""
        if self.mode is not Mode.OFF:
            return
        self._deadlines.pop(Due.POWER_ON, None)
        self.flash.powered = True
        self._power_gone.clear()
        self._trace.emit("ecu.power", ecu=self.config.name, state="on", reason=reason)
        self._restart()

    def power_off(self, reason: str, *, off_s: float | None = None) -> None:
        """Power goes, at once; it comes back after ``off_s``, if given."""
        was_on = self.mode is not Mode.OFF
        self.flash.powered = False
        self._power_gone.set()
        if self._job is not None:
            self._job.wait(None)
            self._job = None
        self._stop_server()
        self._deadlines.clear()
        self.mode = Mode.OFF
        if was_on:
            self._trace.emit("ecu.power", ecu=self.config.name, state="off", reason=reason)
        if off_s is not None:
            self._deadlines[Due.POWER_ON] = time.monotonic() + off_s

    def _lost_by_fault(self, reason: str) -> None:
        cut = self.faults.find(FaultKind.POWER_CUT)
        self.faults.drop(FaultKind.POWER_CUT)
        if cut is not None and cut.values["mode"] == Cut.GARBAGE:
            reason = f"{reason}, seed {cut.values['seed']}"
        self.power_off(reason, off_s=float(cut.values["off_s"]) if cut is not None else FAULT_OFF_S)

    def _restart(self) -> None:
        self._stop_server()
        self._deadlines.clear()
        self.mode = Mode.BOOTING
        self._deadlines[Due.BOOT] = time.monotonic() + self.config.timing.boot_s

    def _stop_server(self) -> None:
        self._silence()
        self._server = None
        self.firmware = None

    def _boot(self) -> None:
        outcome, dtcs = self._startup.boot()
        self._dtcs = dtcs
        on_trial = outcome.slot is not None and self.boot_control.current.states[outcome.slot] is SlotState.TRIAL
        if on_trial and self.faults.act(FaultKind.BOOT_FAIL) is not None:
            self._boot_failed(dtcs, "the image did not come up")
            return
        self._start_server(outcome, dtcs)
        if on_trial:
            now_s = time.monotonic()
            self._deadlines[Due.TRIAL_WATCHDOG] = now_s + self.config.timing.trial_confirm_timeout_s
            hang = self.faults.find(FaultKind.HANG)
            if hang is not None:
                self._deadlines[Due.HANG] = now_s + float(hang.values["after_s"])
            crash = self.faults.act(FaultKind.CRASH)
            if crash is not None:
                self._deadlines[Due.TRIAL_CRASH] = now_s + float(crash.values["after_s"])

    def _start_server(self, outcome: BootOutcome, dtcs: DtcMemory) -> None:
        self._apply_flash_times()
        device = self._startup.device(outcome, dtcs)
        self.firmware = device.firmware
        in_bootloader = outcome.slot is None
        self._server = UdsServer(device, in_bootloader=in_bootloader, now_s=time.monotonic())
        self.mode = Mode.BOOTLOADER if in_bootloader else Mode.APPLICATION
        self._startup.report_running(outcome, mode=str(self.mode))
        self._watch_supply()
        self._open()

    def _boot_failed(self, dtcs: DtcMemory, reason: str, *, is_last: bool = False) -> None:
        """``is_last``: the trial has no boots left. The code comes first: no power cut loses it."""
        dtcs.set(Dtc.BOOT_FAILED, reason)
        if is_last and self.firmware is not None:
            self.firmware.end_trial()
        control = self.boot_control.current
        self._startup.emit("ecu.boot_failed", slot=control.trial, reason=reason, boots_left=control.boots_left)
        self._restart()

    def _trial_timed_out(self) -> None:
        if self.firmware is None or self._dtcs is None or not self.firmware.on_trial:
            return
        self._abandon_job()
        reason = f"not confirmed within {self.config.timing.trial_confirm_timeout_s} s"
        self._boot_failed(self._dtcs, reason, is_last=True)

    def _hang(self) -> None:
        if self.firmware is None or not self.firmware.on_trial:
            return
        self._silence()
        self._deadlines[Due.HANG_WATCHDOG] = time.monotonic() + HANG_WATCHDOG_S

    def _hang_watchdog(self) -> None:
        self._abandon_job()
        if self._dtcs is not None:
            self._boot_failed(self._dtcs, "the image hung: the watchdog reset it")

    def _trial_crash(self) -> None:
        if self.firmware is None or self._dtcs is None or not self.firmware.on_trial:
            return
        self._abandon_job()
        self._boot_failed(self._dtcs, "the image crashed")

    def _crash(self) -> None:
        self._abandon_job()
        self._startup.emit("ecu.crash", slot=self.boot_control.current.preferred, reason="the confirmed image crashed")
        self._restart()

    def _abandon_job(self) -> None:
        if self._job is not None:
            self._job.wait(None)
            self._job = None

    # -- transport

    def _open(self) -> None:
        if self._server is None:
            return
        try:
            self._transport = open_transport(self.config, self._waker)
        except BusUnavailable as error:
            log.warning("%s: %s", self.config.name, error)
            self._deadlines[Due.REOPEN] = time.monotonic() + REOPEN_S

    def _silence(self) -> None:
        self._application.stop()
        self._transport.close()
        self._transport = NoTransport(self._waker)

    # -- faults

    def set_fault(self, fault: Fault) -> None:
        """Set a fault; bit rot happens at once. Raises FaultError, FlashError."""
        if fault.kind is FaultKind.POWER_CUT:
            self.flash.seed_noise(fault.values.setdefault("seed", secrets.randbits(32)))
        self._trace.emit("ecu.fault", ecu=self.config.name, **fault.shown())
        if fault.kind is FaultKind.BIT_ROT:
            values = fault.values
            self.flash.flip_bit(
                self.layout.slot_offset(int(values["slot"])) + int(values["offset"]), int(values["bit"])
            )
            return
        self.faults.set(fault)
        if fault.kind is FaultKind.POWER_CUT:
            self._cut_at = self.flash.operations + max(1, int(fault.values["flash_operation"]))
        self._apply_flash_times()
        self._apply_conditions()

    def clear_faults(self) -> None:
        self.faults.clear()
        self._cut_at = None
        self._apply_flash_times()
        self._apply_conditions()

    def _apply_conditions(self) -> None:
        conditions, find = self._startup.conditions, self.faults.find
        voltage, speed = find(FaultKind.VOLTAGE), find(FaultKind.SPEED)
        conditions.supply_v = NOMINAL_SUPPLY_V if voltage is None else float(voltage.values["volts"])
        conditions.speed_km_h = 0.0 if speed is None else float(speed.values["km_h"])
        conditions.engine_running = find(FaultKind.ENGINE_RUNNING) is not None
        if self._server is not None:
            self._deadlines[Due.SUPPLY] = time.monotonic()

    def _watch_supply(self) -> None:
        """At every start, and when it changes."""
        dtcs, conditions = self._dtcs, self._startup.conditions
        if dtcs is None or self._server is None:
            return
        found = conditions.supply_dtc()
        for dtc in (Dtc.SUPPLY_LOW, Dtc.SUPPLY_HIGH):
            if dtc is not found:
                dtcs.passed(dtc)
        if found is not None:
            dtcs.set(found, f"the supply has {conditions.supply_v:g} V")

    def _apply_flash_times(self) -> None:
        timing, slow = self.config.timing, self.faults.find(FaultKind.SLOW_FLASH)
        erase_s, page_s, factor = timing.erase_sector_s, timing.program_page_s, 1.0
        if slow is not None:
            factor = float(slow.values["factor"])
            erase_s, page_s = erase_s or NOMINAL_ERASE_SECTOR_S, page_s or NOMINAL_PROGRAM_PAGE_S
        self.flash.erase_sector_s, self.flash.program_page_s = erase_s * factor, page_s * factor

    def _before_flash_operation(self, operation: Operation) -> Cut | None:
        cut = self.faults.find(FaultKind.POWER_CUT)
        if cut is None or self._cut_at is None or operation.number < self._cut_at:
            return None
        return Cut(str(cut.values["mode"]))

    def _wait_flash(self, seconds: float) -> None:
        if self._power_gone.wait(seconds):
            raise PowerLost("power went during a flash operation")
