"""The control port: JSON lines on loopback, by which a bench (or a person with netcat) switches the power and sets faults.

This module has the operations; ``proto.control_server`` reads lines and writes answers. Every operation runs on the ECU's own loop.
An operation that is refused has changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from otabench.ecu_firmware_sim import faults, unforeseen
from otabench.ecu_firmware_sim.ecu import Ecu
from otabench.ecu_firmware_sim.errors import ConfigError, EcuSimError, FaultError
from otabench.ecu_firmware_sim.runtime.lifecycle import Mode
from otabench.proto import image_format
from otabench.proto.control_message import Message
from otabench.proto.control_server import ControlServer, OperationRefused, Perform, require_no_members
from otabench.proto.image_format import ImageFormatError
from otabench.proto.process_config import EcuConfig


def state_of(ecu: Ecu) -> Message:
    """Return the ECU's state as the control port reports it, with or without power."""
    control = ecu.boot_control.current
    return {
        "name": ecu.config.name,
        "power": "off" if ecu.mode is Mode.OFF else "on",
        "mode": str(ecu.mode),
        # While no image runs: the slot that the next boot prefers.
        "active_slot": control.preferred if ecu.firmware is None else ecu.firmware.active,
        "boots_left": control.boots_left if control.trial is not None else 0,
        "slots": [{"state": control.states[slot].name, **_image(ecu, slot)} for slot in (0, 1)],
        "inhibited": ecu.inhibit.is_inhibited,
        "faults": ecu.faults.shown(),
        "flash_operations": ecu.flash.operations,
    }


def perform(ecu: Ecu, message: Message) -> Message:
    """Perform one operation and return its result. It runs on the ECU's loop.

    Raises:
        FaultError: the message requests something unknown.
        OperationRefused: it has a member that the operation does not have.
    """
    operation = message.get("op")
    action = _OPERATIONS.get(str(operation))
    if action is None:
        raise FaultError(f"no operation {operation!r}; there are {', '.join(_OPERATIONS)}")
    return action(ecu, {key: value for key, value in message.items() if key != "op"})


def _state(ecu: Ecu, message: Message) -> Message:
    require_no_members(message, operation="state")
    return state_of(ecu)


def _power(ecu: Ecu, message: Message) -> Message:
    wanted = message.pop("state", None)
    require_no_members(message, operation="power")
    if wanted == "on":
        ecu.life.switch_on("control port")
    elif wanted == "off":
        ecu.life.switch_off("control port")
    # Off and on in one turn of the loop: no request is served in between.
    elif wanted == "cycle":
        ecu.life.switch_off("control port", off_s=None)
        ecu.life.switch_on("control port")
    else:
        raise FaultError(f"power: state {wanted!r}; there are on, off, cycle")
    return state_of(ecu)


def _fault(ecu: Ecu, message: Message) -> Message:
    ecu.fault_effects.set(faults.parse(message))
    return {"faults": ecu.faults.shown()}


def _clear(ecu: Ecu, message: Message) -> Message:
    require_no_members(message, operation="clear")
    ecu.fault_effects.clear()
    return {"faults": []}


_OPERATIONS: Final[dict[str, Callable[[Ecu, Message], Message]]] = {
    "state": _state,
    "power": _power,
    "fault": _fault,
    "clear": _clear,
}


def _image(ecu: Ecu, slot: int) -> dict[str, str]:
    """Return version and digest from the image in a slot, unverified; both empty if there is no image."""
    offset = ecu.layout.slot_offset(slot)
    # Not by ``NorFlash.view``, which needs power: a bench may read the state of an ECU that is off.
    try:
        image = image_format.parse(memoryview(ecu.flash.memory)[offset : offset + ecu.layout.slot_bytes])
    except ImageFormatError:
        return {"version": "", "digest": ""}
    return {"version": str(image.version), "digest": (image.tlv(image_format.TLV_SHA256) or b"").hex()}


class _Loop(Protocol):
    """An ECU of any kind, with a loop that performs operations."""

    config: EcuConfig

    def call(self, function: Callable[[], Message]) -> Message: ...


class EcuControlPort:
    """The control port of one ECU. It listens from its construction on, and answers from ``start`` on.

    Args:
        config: has host, port and token.

    Raises:
        ConfigError: the port is in use, or the host is not this machine's.
    """

    def __init__(self, config: EcuConfig) -> None:
        host, port = config.control_host, config.control_port
        self._ecu: _Loop | None = None
        self._perform_on: Perform = lambda message: message
        try:
            self.server = ControlServer(self._perform, host=host, port=port, token=config.control_token)
        except OSError as error:
            raise ConfigError(
                f"control port {host}:{port}: {error.strerror}: stop what uses it or give another control_port"
            ) from error

    def __enter__(self) -> EcuControlPort:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.server_close()

    def start(self, ecu: _Loop, perform: Perform) -> None:
        """Perform operations from now on, by calls of ``perform`` on this ECU's loop."""
        self._ecu, self._perform_on = ecu, perform
        self.server.start()

    def stop(self) -> None:
        """Answer no longer. Only after ``start``."""
        self.server.shutdown()

    def _perform(self, message: Message) -> Message:
        """Perform one operation on the ECU's own loop."""
        ecu = self._ecu
        if ecu is None:
            raise OperationRefused("the ECU has not started")
        try:
            return ecu.call(lambda: self._perform_on(message))
        except OperationRefused:
            raise
        except (EcuSimError, TimeoutError) as error:
            raise OperationRefused(str(error) or "the ECU's loop did not answer in time") from error
        except Exception as error:
            unforeseen.report(error, ecu=ecu.config.name, doing=f"control port, {str(message)[:80]}")
            raise OperationRefused(f"unforeseen {type(error).__name__}: {error}; see the ECU's log") from error
