"""Faults that can be set on a simulated ECU: their kinds, their parameters, and the number of times that they act.

Pure bookkeeping; the effects are in ``runtime`` (``fault_effects``, ``requests``, ``trial``). A fault stays set until it is cleared, or
until it has acted ``count`` times. ``power-cut``, ``power-cycle-at`` and ``bit-rot`` act once. A ``power-cut`` without a seed gets one from
the ECU.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from otabench.ecu_firmware_sim.errors import FaultError
from otabench.ecu_firmware_sim.flash.nor import Cut
from otabench.proto.process_config import EcuTiming

_NOMINAL_ERASE_SECTOR_S: Final = 0.001
_NOMINAL_PROGRAM_PAGE_S: Final = 0.0001
"""What slow-flash multiplies where the configuration has no times."""


class FaultKind(StrEnum):
    """Kinds of faults, as in docs/contracts.md."""

    BOOT_FAIL = "boot-fail"
    HANG = "hang"
    CRASH = "crash"
    CRASH_AFTER_CONFIRM = "crash-after-confirm"
    NRC = "nrc"
    SILENT = "silent"
    PENDING = "pending"
    FORGET_SESSION = "forget-session"
    POWER_CUT = "power-cut"
    POWER_CYCLE_AT = "power-cycle-at"
    SLOW_FLASH = "slow-flash"
    BIT_ROT = "bit-rot"
    VOLTAGE = "voltage"
    SPEED = "speed"
    ENGINE_RUNNING = "engine-running"


_NUMBERS: Final[dict[FaultKind, tuple[str, ...]]] = {
    FaultKind.BOOT_FAIL: (),
    FaultKind.HANG: (),
    FaultKind.CRASH: (),
    FaultKind.CRASH_AFTER_CONFIRM: (),
    FaultKind.NRC: ("service", "nrc"),
    FaultKind.SILENT: (),
    FaultKind.PENDING: ("service",),
    FaultKind.FORGET_SESSION: (),
    FaultKind.POWER_CUT: ("flash_operation",),
    FaultKind.POWER_CYCLE_AT: ("bytes",),
    FaultKind.SLOW_FLASH: ("factor",),
    FaultKind.BIT_ROT: ("slot", "offset"),
    FaultKind.VOLTAGE: ("volts",),
    FaultKind.SPEED: ("km_h",),
    FaultKind.ENGINE_RUNNING: (),
}
"""The required parameters of each fault, in the order of its short form (``nrc:0x34:0x70``)."""

_OPTIONS: Final[dict[FaultKind, dict[str, float | str]]] = {
    FaultKind.HANG: {"after_s": 0.3},
    FaultKind.CRASH: {"after_s": 0.3},
    FaultKind.CRASH_AFTER_CONFIRM: {"after_s": 0.3},
    FaultKind.POWER_CUT: {"off_s": 0.5, "mode": Cut.TORN},
    FaultKind.POWER_CYCLE_AT: {"off_s": 0.5},
    FaultKind.BIT_ROT: {"bit": 0},
}
# Faults that may have a count. Of the others each is either a state (voltage) or acts once (power-cut).
_COUNTED: Final = frozenset(
    {
        FaultKind.NRC,
        FaultKind.SILENT,
        FaultKind.PENDING,
        FaultKind.FORGET_SESSION,
        FaultKind.BOOT_FAIL,
        FaultKind.CRASH,
        FaultKind.CRASH_AFTER_CONFIRM,
    }
)
_REAL: Final = frozenset({"after_s", "off_s", "factor", "volts", "km_h"})
"""Parameters that need not be whole numbers."""
_MAX_WHOLE: Final = 2**64 - 1
_MAX: Final[dict[str, float]] = {
    "after_s": 86_400,
    "off_s": 86_400,
    "factor": 1e6,
    "volts": 1000,
    "km_h": 1000,
    "service": 0xFF,
    "nrc": 0xFF,
    "slot": 1,
    "bit": 7,
}
"""The largest value of a parameter; of the others ``_MAX_WHOLE``."""
CLEAN: Final = "clean"
"""Another name for a cut before an operation."""


@dataclass
class Fault:
    """A fault that is set. ``left``: how many times it still acts; None: without limit."""

    kind: FaultKind
    values: dict[str, Any]
    left: int | None = None

    def shown(self) -> dict[str, Any]:
        """Return the fault as the control port reports it."""
        return {"kind": str(self.kind), **self.values} | ({} if self.left is None else {"count": self.left})


def parse(message: dict[str, Any]) -> Fault:
    """Return a fault from the members of a control message.

    Raises:
        FaultError: unknown kind, or a member that is missing, unknown or out of range.
    """
    # Members are taken out one by one: what is left at the end is unknown.
    given = dict(message)
    name = given.pop("kind", None)
    try:
        kind = FaultKind(str(name))
    except ValueError:
        raise FaultError(f"no fault of the kind {name!r}; there are {', '.join(FaultKind)}") from None
    count = given.pop("count", None)
    if count is not None and kind not in _COUNTED:
        raise FaultError(f"{kind} takes no count")
    values: dict[str, Any] = {key: _number(kind, key, given.pop(key, None)) for key in _NUMBERS[kind]}
    for key, default in _OPTIONS.get(kind, {}).items():
        value = given.pop(key, default)
        values[key] = str(value) if isinstance(default, str) else _number(kind, key, value)
    # Optional without a default: ``FaultEffects`` draws the seed, so that two cuts differ.
    if kind is FaultKind.POWER_CUT and "seed" in given:
        values["seed"] = int(_number(kind, "seed", given.pop("seed")))
    if given:
        raise FaultError(f"{kind} has no parameter {', '.join(sorted(given))}")
    # One name from here on: the trace and the sweep call it ``before``.
    if values.get("mode") == CLEAN:
        values["mode"] = str(Cut.BEFORE)
    if values.get("mode", Cut.TORN) not in list(Cut):
        raise FaultError(f"power-cut: mode {values['mode']!r}; there are {CLEAN}, {', '.join(Cut)}")
    return Fault(kind, values, None if count is None else int(_number(kind, "count", count)))


def parse_short(text: str) -> Fault:
    """Return a fault from its short form: the kind, its parameters in order, then the count, separated by colons.

    Raises:
        FaultError: as ``parse``.
    """
    # An unknown kind is left to ``parse``, which has the better message.
    name, *numbers = text.split(":")
    try:
        keys = (*_NUMBERS[FaultKind(name)], "count")
    except ValueError:
        keys = ()
    if len(numbers) > len(keys) and name in list(FaultKind):
        raise FaultError(f"fault {text!r}: {name} takes at most {len(keys)} parameters ({', '.join(keys)})")
    return parse({"kind": name, **dict(zip(keys, numbers, strict=False))})


class Faults:
    """The faults of one ECU: at most one of each kind (for nrc, of each service).

    The ECU's loop changes them. Any thread may read them: a change replaces the list, so that no reader iterates over a changing one.
    """

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def set(self, fault: Fault) -> None:
        self._faults = [
            old
            for old in self._faults
            if old.kind is not fault.kind or old.values.get("service") != fault.values.get("service")
        ]
        self._faults.append(fault)

    def clear(self) -> None:
        self._faults = []

    def shown(self) -> list[dict[str, Any]]:
        return [fault.shown() for fault in self._faults]

    def find(self, kind: FaultKind, **wanted: object) -> Fault | None:
        """Return the fault of that kind with those values, if it is set."""
        for fault in self._faults:
            if fault.kind is kind and all(fault.values.get(key) == value for key, value in wanted.items()):
                return fault
        return None

    def act(self, kind: FaultKind, **wanted: object) -> Fault | None:
        """Return the fault as ``find`` does, and count that it acts."""
        fault = self.find(kind, **wanted)
        if fault is not None and fault.left is not None:
            fault.left -= 1
            if fault.left <= 0:
                self._faults = [each for each in self._faults if each is not fault]
        return fault

    def flash_times_s(self, timing: EcuTiming) -> tuple[float, float]:
        """Return how long erasing a sector and programming a page take, with ``slow-flash`` if it is set."""
        slow = self.find(FaultKind.SLOW_FLASH)
        erase_s, page_s = timing.erase_sector_s, timing.program_page_s
        if slow is None:
            return erase_s, page_s
        factor = float(slow.values["factor"])
        return (erase_s or _NOMINAL_ERASE_SECTOR_S) * factor, (page_s or _NOMINAL_PROGRAM_PAGE_S) * factor

    def drop(self, kind: FaultKind) -> None:
        self._faults = [fault for fault in self._faults if fault.kind is not kind]


def _number(kind: FaultKind, key: str, value: object) -> float | int:
    try:
        # Text comes from the short form, and may be hexadecimal; a bool is an int in Python, and never meant here.
        if isinstance(value, str):
            number: float | int = float(value) if "." in value else int(value, 0)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            number = value
        else:
            raise ValueError
    except ValueError:
        problem = "is missing" if value is None else f"is a number, not {value!r}"
        raise FaultError(
            f"{kind}: {key}= {problem}, such as {key}=1 (`otabench fault ECU list` shows each kind)"
        ) from None
    # Negated, because every comparison with NaN is false.
    if not 0 <= number <= _MAX.get(key, _MAX_WHOLE):
        raise FaultError(f"{kind}: {key} {value!r} is out of range (0 to {_MAX.get(key, _MAX_WHOLE):g})")
    if key not in _REAL and number != int(number):
        raise FaultError(f"{kind}: {key} {value!r} is not a whole number")
    return number
