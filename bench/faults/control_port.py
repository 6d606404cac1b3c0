"""The client of a control port (docs/contracts.md), of a simulated ECU or a bus: JSON lines over TCP on loopback.

    port = ControlPort("engine", 7001)
    port.fault("silent", count=3)
    port.power("cycle")

This module also defines the kinds of faults and their form on the command line. Simulated ECU, frame gate and bus load implement them.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from otabench.bench.errors import EndpointError, UnknownName, ValueRefused, WrongUsage
from otabench.bench.ports import LOOPBACK

FAULT_KINDS: Final = {
    "boot-fail": "a new image never comes up (count=1)",
    "hang": "a trial image comes up and stops answering",
    "crash": "a trial image comes up, answers, and crashes (after_s=0.3 count=1)",
    "crash-after-confirm": "the image crashes once it is confirmed, and comes up again (after_s=0.3)",
    "nrc": "a service is answered with a negative response code (service=0x36 nrc=0x72 count=1)",
    "silent": "no answer to a number of requests (count=5)",
    "pending": "a service is answered with 78 and nothing else; with a `personality` (service=0x31 count=1)",
    "forget-session": "the session ends before a request; with a `personality` (count=1)",
    "power-cut": "power is lost at a flash operation from now on (flash_operation=100 mode=clean|torn|garbage seed=7)",
    "power-cycle-at": "power is lost after a number of bytes of a transfer (bytes=20000 off_s=0.5)",
    "slow-flash": "erase and program take longer (factor=10)",
    "bit-rot": "one bit of a slot flips (slot=0 offset=4096)",
    "voltage": "the supply has that voltage (volts=7.5)",
    "speed": "the vehicle moves (km_h=30)",
    "engine-running": "the engine runs",
    "drop": "CAN frames are lost; ECU or bus; needs --frame-gate (every=50 or first=17; count=3 direction=rx|tx seed=1)",
    "duplicate": "CAN frames come twice (as drop)",
    "corrupt": "one bit of the data of CAN frames flips (as drop)",
    "delay": "CAN frames come late, in order (as drop; ms=50)",
    "load": "other traffic takes a share of a bus's line (60% priority=high|low|lowest or ids=0x500-0x53F; seed=1)",
}
ECU_FAULT_PARAMETERS: Final[dict[str, tuple[str, ...]]] = {
    "boot-fail": ("count",),
    "hang": ("after_s",),
    "crash": ("after_s", "count"),
    "crash-after-confirm": ("after_s", "count"),
    "nrc": ("service", "nrc", "count"),
    "silent": ("count",),
    "pending": ("service", "count"),
    "forget-session": ("count",),
    "power-cut": ("flash_operation", "mode", "off_s", "seed"),
    "power-cycle-at": ("bytes", "off_s"),
    "slow-flash": ("factor",),
    "bit-rot": ("slot", "offset", "bit"),
    "voltage": ("volts",),
    "speed": ("km_h",),
    "engine-running": (),
}
"""The parameters of each fault of a simulated ECU. The ECU itself checks their values."""
_BARE: Final = {"load": "share"}
"""By kind: the parameter whose name may be left out."""
NO_FAULTS: Final = {
    "clear": "clear all faults of the ECU, or of the frames of a bus",
    "on": "switch the ECU's power on",
    "off": "switch the ECU's power off",
    "cycle": "switch the ECU's power off and on again",
}
"""Further actions of `otabench fault ECU KIND`."""
_TIMEOUT_S: Final = 5.0

_MAX_NUMBER: Final = 2**64 - 1


@dataclass(frozen=True)
class Fault:
    """A fault for one ECU, or for a bus."""

    ecu: str
    kind: str
    parameters: Mapping[str, int | float | str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read ``engine:boot-fail`` or ``engine:power-cut:flash_operation=40:off_s=1``.

        Raises:
            WrongUsage: the text does not have that form, or the kind or a parameter is unknown.
        """
        ecu, _, rest = text.partition(":")
        kind, *parameters = rest.split(":")
        if len(text.split()) > 1:
            meant = ":".join(text.replace(":", " ").split())
            raise WrongUsage(f"fault {text!r}: expected one word; did you mean {meant!r}?")
        if not ecu or not kind:
            raise WrongUsage(f"fault {text!r}: expected ECU:KIND, such as engine:boot-fail")
        found = parse_parameters(parameters, kind=checked_kind(kind))
        check_parameters(kind, found)
        return cls(ecu, kind, found)

    def __str__(self) -> str:
        return ":".join([self.ecu, self.kind, *(f"{key}={value}" for key, value in self.parameters.items())])


def checked_kind(kind: str) -> str:
    """Return the kind if it exists.

    Raises:
        WrongUsage: the kind does not exist.
    """
    if kind not in FAULT_KINDS:
        raise UnknownName("fault", kind, FAULT_KINDS)
    return kind


def check_parameters(kind: str, names: Iterable[str]) -> None:
    """Check the names of the parameters for a fault of an ECU, before anything is sent or started.

    Faults of frames and loads are checked where they are parsed (``frame_faults``, ``load_plan``).

    Raises:
        UnknownName: the fault does not have this parameter.
    """
    known = ECU_FAULT_PARAMETERS.get(kind)
    if known is None:
        return
    for name in names:
        if name not in known:
            raise UnknownName("parameter", name, known, where=f"of {kind}")


def parse_parameters(texts: list[str], *, kind: str = "") -> dict[str, int | float | str]:
    """Parse the ``key=value`` texts of a kind. Numbers may be hexadecimal. For a load, ``60%`` means ``share=60%``.

    Raises:
        WrongUsage: a text does not have that form, or a number is too large.
    """
    parameters: dict[str, int | float | str] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator and kind in _BARE:
            key, separator, value = _BARE[kind], "=", text
        if not key or not separator:
            raise WrongUsage(f"{text!r}: expected KEY=VALUE, such as count=3")
        parameters[key] = _number(value)
    return parameters


def shown(fault: Mapping[str, Any]) -> str:
    """Return a fault of a control port's answer as text: ``power-cut flash_operation=9 mode=garbage seed=7``."""
    return " ".join((str(fault["kind"]), *(f"{key}={value}" for key, value in fault.items() if key != "kind")))


def _number(text: str) -> int | float | str:
    number: int | float
    try:
        number = int(text, 0)
    except ValueError:
        try:
            number = float(text)
        except ValueError:
            return text
    # Not every receiver of the JSON reads Infinity, NaN, or an integer that is longer than 64 bits.
    if not abs(number) <= _MAX_NUMBER:
        raise WrongUsage(f"{text[:40]!r}: expected a number of at most 64 bits")
    return number


@dataclass(frozen=True)
class ControlPort:
    """The control port of one ECU, or of another thing (``what``) with that name."""

    ecu: str
    port: int
    host: str = LOOPBACK
    what: str = "ECU"
    timeout_s: float = 5.0
    token: str = field(default="", repr=False)
    """What the port asks for; empty: nothing."""

    def call(self, op: str, **arguments: Any) -> dict[str, Any]:
        """Send one request, such as ``call("power", state="cycle")``, and return the answer.

        Raises:
            ValueRefused: the port refuses the request.
            EndpointError: the port does not answer.
        """
        members = {"op": op, **({"token": self.token} if self.token else {}), **arguments}
        try:
            request = json.dumps(members, allow_nan=False) + "\n"
        except ValueError as error:
            raise ValueRefused(f"{self.what} {self.ecu}: {op!r}: a value is not a number: {error}") from error
        try:
            # One connection for each request: an ECU's process may be restarted between two of them.
            with socket.create_connection((self.host, self.port), timeout=self.timeout_s) as connection:
                connection.sendall(request.encode())
                with connection.makefile("r", encoding="utf-8") as lines:
                    answer = json.loads(lines.readline())
        except (OSError, ValueError) as error:
            raise EndpointError(
                f"{self.what} {self.ecu}: its control port {self.host}:{self.port} does not answer "
                f"({error or 'no answer'}); check that its process still runs"
            ) from error
        if not isinstance(answer, dict) or not answer.get("ok"):
            reason = answer.get("error", "no reason given") if isinstance(answer, dict) else answer
            raise ValueRefused(f"{self.what} {self.ecu} refuses {op!r}: {reason}")
        return answer

    def state(self) -> dict[str, Any]:
        """Return power, mode, slots and faults (docs/contracts.md)."""
        return self.call("state")

    def control(self, op: str, **arguments: Any) -> dict[str, Any]:
        """Return the same as ``call``."""
        return self.call(op, **arguments)

    def power(self, state: str) -> None:
        """Switch the power: ``on``, ``off`` or ``cycle``."""
        self.call("power", state=state)

    def fault(self, kind: str, **parameters: Any) -> None:
        """Set a fault.

        Raises:
            UnknownName: the kind does not exist, or it has no such parameter.
            ValueRefused: the ECU refuses a value.
            EndpointError: there is no answer.
        """
        check_parameters(checked_kind(kind), parameters)
        self.call("fault", kind=kind, **parameters)

    def clear(self) -> None:
        """Clear all faults."""
        self.call("clear")

    def is_up(self) -> bool:
        """Return whether the process answers. A simulated ECU answers here even without power."""
        try:
            self.call("state")
        except EndpointError:
            return False
        return True
