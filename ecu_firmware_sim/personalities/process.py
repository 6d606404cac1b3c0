"""A bootloader of another kind as a process on a bus: power, boots, requests and faults, driven by one loop on one thread.

It has the control port, flash file, trace and transport of any simulated ECU. Its faults are those that need no second slot. Control port
and flash operations share the thread, so that a slow erase ends before the next operation of the control port is performed.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, closing
from typing import Any, Final, TypeVar

from cryptography import x509

from otabench.ecu_firmware_sim import faults, unforeseen
from otabench.ecu_firmware_sim.bus.connection import Connection
from otabench.ecu_firmware_sim.bus.opening import open_transport
from otabench.ecu_firmware_sim.bus.transport import TransportDown, Waker
from otabench.ecu_firmware_sim.control_port import EcuControlPort
from otabench.ecu_firmware_sim.errors import BusUnavailable, ConfigError, FaultError, PowerLost
from otabench.ecu_firmware_sim.factory import read_file, write_whole
from otabench.ecu_firmware_sim.faults import FaultKind, Faults
from otabench.ecu_firmware_sim.flash.nor import Cut, FileBacking, FlashOperation, NorFlash
from otabench.ecu_firmware_sim.personalities.bootloader import Bootloader, Identity, Reply, Trust
from otabench.ecu_firmware_sim.personalities.memory import APPLICATION_BYTES, FLASH_BYTES, new_flash
from otabench.ecu_firmware_sim.personalities.personality import Personality
from otabench.ecu_firmware_sim.personalities.shipped import PERSONALITIES
from otabench.ecu_firmware_sim.runtime.deadlines import Deadlines, Due
from otabench.ecu_firmware_sim.runtime.lifecycle import FAULT_OFF_S, REOPEN_S, Mode
from otabench.ecu_firmware_sim.uds.codes import Nrc, Session, Sid, negative
from otabench.proto import security_algorithm
from otabench.proto.control_message import Message
from otabench.proto.control_server import require_no_members
from otabench.proto.process_config import EcuConfig
from otabench.proto.security_algorithm import AlgorithmError
from otabench.proto.trace import TraceWriter

log = logging.getLogger(__name__)
_T = TypeVar("_T")
_FAULTS: Final = frozenset(
    {
        FaultKind.BOOT_FAIL,
        FaultKind.NRC,
        FaultKind.SILENT,
        FaultKind.PENDING,
        FaultKind.FORGET_SESSION,
        FaultKind.POWER_CUT,
        FaultKind.SLOW_FLASH,
    }
)
_NOT_SENT_FUNCTIONALLY: Final = frozenset(
    {
        Nrc.SERVICE_NOT_SUPPORTED,
        Nrc.SUB_FUNCTION_NOT_SUPPORTED,
        Nrc.REQUEST_OUT_OF_RANGE,
        Nrc.SUB_FUNCTION_NOT_SUPPORTED_IN_ACTIVE_SESSION,
        Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION,
    }
)
"""Refusals that a functional request is not answered with (ISO 14229-1): it reaches ECUs that do not have the service."""


def run(config: EcuConfig, stop_on_signals: Callable[[Callable[[], None]], None]) -> None:
    """Run the ECU until a signal ends it.

    Raises:
        EcuSimError: it cannot be started.
    """
    personality = PERSONALITIES.get(config.personality or "")
    if personality is None:
        raise ConfigError(f"personality {config.personality!r}: there are {', '.join(sorted(PERSONALITIES))}")
    with ExitStack() as opened:
        control = opened.enter_context(EcuControlPort(config))
        backing = opened.enter_context(closing(_open_flash(config)))
        # At the start an absent bus is an error of the configuration. Later it is a fault, and the ECU tries again until it is back.
        open_transport(config, Waker()).close()
        trace = opened.enter_context(closing(TraceWriter(config.trace, component=f"ecu.{config.name}", vin=config.vin)))
        ecu = PersonalityEcu(config, personality, backing, trace)
        stop_on_signals(ecu.stop)
        control.start(ecu, ecu.perform)
        ecu.run()
        control.stop()


def _open_flash(config: EcuConfig) -> FileBacking:
    """Return the flash file, made with the factory's application if it does not exist. Raises ConfigError."""
    path = config.state_file
    if not path.exists():
        application = read_file("factory_image", config.factory_image)
        if len(application) > APPLICATION_BYTES:
            raise ConfigError(
                f"factory_image {config.factory_image}: {len(application)} bytes; {APPLICATION_BYTES} bytes fit"
            )
        write_whole(path, new_flash(application).memory)
    return FileBacking(path, size_bytes=FLASH_BYTES)


def _root(config: EcuConfig) -> x509.Certificate | None:
    """Return the certificate that the testers' certificates are signed with. Raises ConfigError."""
    path = config.authentication_root
    if path is None:
        return None
    try:
        return x509.load_pem_x509_certificate(read_file("authentication_root", path))
    except ValueError as error:
        raise ConfigError(f"authentication_root {path}: is not a certificate in PEM") from error


class PersonalityEcu:
    """One ECU.

    Args:
        config: its configuration.
        personality: its bootloader.
        backing: its flash file.
        writer: where its events go.

    Raises:
        ConfigError: security algorithm or certificate cannot be used.
    """

    def __init__(self, config: EcuConfig, personality: Personality, backing: FileBacking, writer: TraceWriter) -> None:
        self.config = config
        self.mode = Mode.OFF
        self.faults = Faults()
        self.flash = NorFlash(backing.load(), backing=backing, wait=time.sleep)
        self.flash.on_operation = self._before_flash_operation
        try:
            algorithm = security_algorithm.load(config.security_algorithm, secret=bytes.fromhex(config.security_secret))
        except AlgorithmError as error:
            raise ConfigError(f"security_algorithm: {error}") from error
        self.bootloader = Bootloader(
            personality,
            self.flash,
            random_bytes=secrets.token_bytes,
            identity=Identity(config.serial, config.vin),
            key_for=lambda seed, level: algorithm.key_for(seed, level=level),
            trust=Trust(_root(config)),
        )
        self.connection = Connection(config)
        self._writer = writer
        self._deadlines = Deadlines()
        self._calls: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._cut_at: int | None = None
        self._actions = {
            Due.POWER_ON: lambda: self._switch_on("back after a fault"),
            Due.BOOT: self._boot,
            Due.REOPEN: self._open_connection,
            Due.S3: self._end_session,
        }
        self._apply_flash_times()
        for text in config.faults:
            self._set_fault(faults.parse_short(text))

    # -- from other threads

    def stop(self) -> None:
        """End ``run``; safe from any thread and from a signal handler."""
        self._stopping = True
        self.connection.waker.set()

    def call(self, function: Callable[[], _T], *, timeout_s: float = 10.0) -> _T:
        """Run a function on the loop and return its result or raise its exception. Raise TimeoutError."""
        future: Future[_T] = Future()

        def run_it() -> None:
            try:
                future.set_result(function())
            except Exception as error:  # noqa: BLE001 - handed to the caller
                future.set_exception(error)

        self._calls.append(run_it)
        self.connection.waker.set()
        return future.result(timeout_s)

    # -- the loop

    def run(self) -> None:
        """Run until ``stop``. At the end the ECU has no power, and its flash keeps its contents."""
        self._switch_on("start")
        while not self._stopping:
            try:
                self._turn()
            except PowerLost as lost:
                self._lose_power(str(lost))
            except TransportDown as down:
                log.warning("%s: bus: %s; opening it again", self.config.name, down)
                self._reopen_later()
            except Exception as error:  # noqa: BLE001 - the ECU goes on
                unforeseen.report(error, ecu=self.config.name, doing=f"in its loop, {self.mode}")
                self._reopen_later()
        self._switch_off("stop")

    def _turn(self) -> None:
        received = self.connection.receive(self._wait_s())
        while self._calls:
            self._calls.popleft()()
        self._deadlines.run(self._actions, now_s=time.monotonic())
        if received is not None and self.connection.is_open:
            request, functional = received
            self._serve(request, functional=functional)
        self.connection.let_application_send(self.bootloader.lets_application_send)

    def _wait_s(self) -> float | None:
        if self._calls or self._stopping:
            return 0.0
        at_s = self._deadlines.next_s
        return None if at_s is None else max(0.0, at_s - time.monotonic())

    def _reopen_later(self) -> None:
        self.connection.close()
        self._deadlines.set(Due.REOPEN, time.monotonic() + REOPEN_S)

    def _serve(self, request: bytes, *, functional: bool) -> None:
        """Serve one request, unless a fault disturbs it. Raises PowerLost, TransportDown."""
        if self._disturb(request):
            return
        is_long = request[:1] == bytes((Sid.ROUTINE_CONTROL,)) and self.flash.takes_time
        if is_long and not functional:
            # The work of the routine is done before its reply is known, and may outlast P2.
            self.connection.send(negative(request[0], Nrc.RESPONSE_PENDING))
        reply = self.bootloader.handle(request)
        for response in reply.responses:
            if not (functional and response[:1] == b"\x7f" and response[2] in _NOT_SENT_FUNCTIONALLY):
                self.connection.send(response)
        self._after(reply)

    def _after(self, reply: Reply) -> None:
        if reply.resets:
            self._restart()
            return
        if self.bootloader.session == Session.DEFAULT:
            self._deadlines.drop(Due.S3)
        else:
            self._deadlines.set(Due.S3, time.monotonic() + self.config.timing.s3_server_s)

    def _disturb(self, request: bytes) -> bool:
        """Do what the faults do to a request; return whether it is not served then."""
        if self.faults.act(FaultKind.SILENT) is not None:
            return True
        if self.faults.act(FaultKind.FORGET_SESSION) is not None:
            self.bootloader.forget_session()
        fault = self.faults.act(FaultKind.NRC, service=request[0]) if request else None
        if fault is not None:
            self.connection.send(negative(request[0], int(fault.values["nrc"])))
            return True
        if request and self.faults.act(FaultKind.PENDING, service=request[0]) is not None:
            self.connection.send(negative(request[0], Nrc.RESPONSE_PENDING))
            return True
        return False

    # -- power and boots

    def _switch_on(self, reason: str) -> None:
        if self.mode is not Mode.OFF:
            return
        self._deadlines.drop(Due.POWER_ON)
        self.flash.powered = True
        self._emit("ecu.power", state="on", reason=reason)
        self._restart()

    def _switch_off(self, reason: str, *, off_s: float | None = None) -> None:
        was_on = self.mode is not Mode.OFF
        self.flash.powered = False
        self.bootloader.lose_power()
        self.connection.close()
        self._deadlines.clear()
        self.mode = Mode.OFF
        if was_on:
            self._emit("ecu.power", state="off", reason=reason)
        if off_s is not None:
            self._deadlines.set(Due.POWER_ON, time.monotonic() + off_s)

    def _lose_power(self, reason: str) -> None:
        cut = self.faults.find(FaultKind.POWER_CUT)
        self.faults.drop(FaultKind.POWER_CUT)
        self._switch_off(reason, off_s=float(cut.values["off_s"]) if cut is not None else FAULT_OFF_S)

    def _restart(self) -> None:
        self.connection.close()
        self._deadlines.clear()
        self.mode = Mode.BOOTING
        self._deadlines.set(Due.BOOT, time.monotonic() + self.config.timing.boot_s)

    def _boot(self) -> None:
        late = self.bootloader.boot()
        if not self.bootloader.in_bootloader and self.faults.act(FaultKind.BOOT_FAIL) is not None:
            self.bootloader.fail_application()
        self.mode = Mode.BOOTLOADER if self.bootloader.in_bootloader else Mode.APPLICATION
        slot, version = self.bootloader.active_slot, self.bootloader.version
        self._emit("ecu.boot", mode=str(self.mode), slot=slot, state=self.bootloader.slots[slot][0], version=version)
        self._open_connection()
        for response in late:
            self.connection.send(response)
        self._after(Reply())

    def _open_connection(self) -> None:
        try:
            self.connection.open()
        except BusUnavailable as error:
            log.warning("%s: %s", self.config.name, error)
            self._deadlines.set(Due.REOPEN, time.monotonic() + REOPEN_S)

    def _end_session(self) -> None:
        """End the session after S3 without a request (ISO 14229-2)."""
        self.bootloader.forget_session()

    # -- control port

    def perform(self, message: Message) -> Message:
        """Perform one operation of the control port, on the loop.

        Raises:
            FaultError: the message requests something unknown.
            OperationRefused: it has a member that the operation does not have.
        """
        members = dict(message)
        operation = members.pop("op", None)
        if operation == "power":
            wanted = members.pop("state", None)
            require_no_members(members, operation="power")
            self._power(wanted)
            return self._state()
        if operation == "fault":
            self._set_fault(faults.parse(members))
            return {"faults": self.faults.shown()}
        if operation not in ("clear", "state"):
            raise FaultError(f"no operation {operation!r}; there are state, power, fault, clear")
        require_no_members(members, operation=operation)
        if operation == "clear":
            self.faults.clear()
            self._cut_at = None
            self._apply_flash_times()
            return {"faults": []}
        return self._state()

    def _power(self, wanted: Any) -> None:
        if wanted not in ("on", "off", "cycle"):
            raise FaultError(f"power: state {wanted!r}; there are on, off, cycle")
        if wanted in ("off", "cycle"):
            self._switch_off("control port")
        if wanted in ("on", "cycle"):
            self._switch_on("control port")

    def _state(self) -> Message:
        powered, self.flash.powered = self.flash.powered, True
        try:
            slots = [{"state": state, "version": version, "digest": ""} for state, version in self.bootloader.slots]
        finally:
            self.flash.powered = powered
        return {
            "name": self.config.name,
            "power": "off" if self.mode is Mode.OFF else "on",
            "mode": str(self.mode),
            "active_slot": self.bootloader.active_slot,
            "boots_left": 0,
            "slots": slots,
            "faults": self.faults.shown(),
            "flash_operations": self.flash.operations,
        }

    # -- faults

    def _set_fault(self, fault: faults.Fault) -> None:
        if fault.kind not in _FAULTS:
            raise FaultError(f"{fault.kind}: this bootloader does not have it; it has {', '.join(sorted(_FAULTS))}")
        if fault.kind is FaultKind.POWER_CUT:
            self.flash.seed_noise(fault.values.setdefault("seed", secrets.randbits(32)))
            # Relative to now: how many came before depends on boots and earlier tests.
            self._cut_at = self.flash.operations + max(1, int(fault.values["flash_operation"]))
        self._emit("ecu.fault", **fault.shown())
        self.faults.set(fault)
        self._apply_flash_times()

    def _apply_flash_times(self) -> None:
        self.flash.erase_sector_s, self.flash.program_page_s = self.faults.flash_times_s(self.config.timing)

    def _before_flash_operation(self, operation: FlashOperation) -> Cut | None:
        cut = self.faults.find(FaultKind.POWER_CUT)
        if cut is None or self._cut_at is None or operation.number < self._cut_at:
            return None
        return Cut(str(cut.values["mode"]))

    def _emit(self, event: str, **data: Any) -> None:
        self._writer.emit(event, ecu=self.config.name, **data)
