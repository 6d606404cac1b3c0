"""The control port: JSON lines on loopback, by which a bench (or a person with netcat) pulls the power and sets faults.

One object a line, one answer a line; what cannot be done answers ``{"ok": false, "error": …}`` and nothing has happened then. Every
operation runs on the ECU's own loop.
"""

from __future__ import annotations

import json
import socketserver
from collections.abc import Callable
from threading import Thread
from typing import Any, Final

from otabench.ecu_firmware_sim import faults, unforeseen
from otabench.ecu_firmware_sim.ecu import Ecu, Mode
from otabench.ecu_firmware_sim.errors import ConfigError, EcuSimError, FaultError
from otabench.proto import image_format
from otabench.proto.image_format import ImageFormatError

_LONGEST_LINE_BYTES: Final = 65536

Message = dict[str, Any]


def state_of(ecu: Ecu) -> Message:
    """Return the ECU as a bench sees it, power or no power."""
    control = ecu.boot_control.current
    return {
        "name": ecu.config.name,
        "power": "off" if ecu.mode is Mode.OFF else "on",
        "mode": str(ecu.mode),
        "active_slot": control.preferred if ecu.firmware is None else ecu.firmware.active,
        "boots_left": control.boots_left if control.trial is not None else 0,
        "slots": [{"state": control.states[slot].name, "version": _version(ecu, slot)} for slot in (0, 1)],
        "faults": ecu.faults.shown(),
        "flash_operations": ecu.flash.operations,
    }


def perform(ecu: Ecu, message: Message) -> Message:
    """Do one operation, on the ECU's loop.

    Raises:
        FaultError: the message asks for something unknown.
    """
    operation = message.get("op")
    action = _OPERATIONS.get(str(operation))
    if action is None:
        raise FaultError(f"no operation {operation!r}; there are {', '.join(_OPERATIONS)}")
    return action(ecu, {key: value for key, value in message.items() if key != "op"})


def _state(ecu: Ecu, _message: Message) -> Message:
    return state_of(ecu)


def _power(ecu: Ecu, message: Message) -> Message:
    wanted = message.get("state")
    if wanted == "on":
        ecu.power_on("control port")
    elif wanted == "off":
        ecu.power_off("control port")
    elif wanted == "cycle":
        ecu.power_off("control port", off_s=None)
        ecu.power_on("control port")
    else:
        raise FaultError(f"power: state {wanted!r}; there are on, off, cycle")
    return state_of(ecu)


def _fault(ecu: Ecu, message: Message) -> Message:
    ecu.set_fault(faults.parse(message))
    return {"faults": ecu.faults.shown()}


def _clear(ecu: Ecu, _message: Message) -> Message:
    ecu.clear_faults()
    return {"faults": []}


_OPERATIONS: Final[dict[str, Callable[[Ecu, Message], Message]]] = {
    "state": _state,
    "power": _power,
    "fault": _fault,
    "clear": _clear,
}


def _version(ecu: Ecu, slot: int) -> str:
    offset = ecu.layout.slot_offset(slot)
    try:
        return str(image_format.parse(memoryview(ecu.flash.memory)[offset : offset + ecu.layout.slot_bytes]).version)
    except ImageFormatError:
        return ""


class _Handler(socketserver.StreamRequestHandler):
    server: ControlServer

    def handle(self) -> None:
        while True:
            try:
                line = self.rfile.readline(_LONGEST_LINE_BYTES)
            except OSError:
                return
            if not line:
                return
            answer = json.dumps(self.server.answer(line)) + "\n"
            try:
                self.wfile.write(answer.encode())
            except OSError:
                return


class ControlServer(socketserver.ThreadingTCPServer):
    """Listens from its construction on; serves from ``start`` on.

    Raises:
        ConfigError: the port is in use, or the host is not this machine's.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        self._ecu: Ecu | None = None
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise ConfigError(
                f"control port {host}:{port}: {error.strerror}: stop what uses it or give another control_port"
            ) from error

    def start(self, ecu: Ecu) -> None:
        self._ecu = ecu
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.2}, name="control", daemon=True).start()

    def answer(self, line: bytes) -> Message:
        """Return the answer to one line."""
        ecu = self._ecu
        if ecu is None:
            return {"ok": False, "error": "the ECU has not started"}
        try:
            message = json.loads(line)
            if not isinstance(message, dict):
                raise FaultError("a line must be one JSON object")
            return {"ok": True, **ecu.call(lambda: perform(ecu, message))}
        except ValueError as error:
            return {"ok": False, "error": f"not JSON: {error}"}
        except (EcuSimError, TimeoutError) as error:
            return {"ok": False, "error": str(error) or "the ECU's loop did not answer in time"}
        except Exception as error:  # noqa: BLE001 - the port goes on
            unforeseen.report(error, ecu=ecu.config.name, doing=f"control port, {line[:80]!r}")
            return {"ok": False, "error": f"unforeseen {type(error).__name__}: {error}; see the ECU's log"}
