"""The effects of the set faults on conditions, flash times, flash contents and power. ``faults`` holds which are set.

Faults of answers are in ``requests``, those of a trial image in ``trial``.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final

from otabench.ecu_firmware_sim.errors import FaultError
from otabench.ecu_firmware_sim.event_trace import EventTrace
from otabench.ecu_firmware_sim.faults import Fault, FaultKind, Faults
from otabench.ecu_firmware_sim.flash.layout import FlashLayout
from otabench.ecu_firmware_sim.flash.nor import Cut, FlashOperation, NorFlash
from otabench.ecu_firmware_sim.runtime.deadlines import Deadlines, Due
from otabench.ecu_firmware_sim.uds.conditions import NOMINAL_SUPPLY_V, Conditions
from otabench.proto.process_config import EcuTiming

_DRIVES: Final = frozenset({FaultKind.SPEED, FaultKind.ENGINE_RUNNING})
"""Faults that make the vehicle drive."""


class FaultEffects:
    """Applies the faults of one ECU. ``layout`` is its flash's; ``is_inhibited`` returns whether the vehicle must not be driven now."""

    def __init__(
        self,
        faults: Faults,
        timing: EcuTiming,
        flash: NorFlash,
        layout: FlashLayout,
        *,
        conditions: Conditions,
        trace: EventTrace,
        deadlines: Deadlines,
        is_inhibited: Callable[[], bool],
    ) -> None:
        self._is_inhibited = is_inhibited
        self._faults = faults
        self._timing = timing
        self._flash = flash
        self._layout = layout
        self._conditions = conditions
        self._trace = trace
        self._deadlines = deadlines
        self._cut_at: int | None = None
        flash.on_operation = self._before_flash_operation
        self._apply_flash_times()

    def set(self, fault: Fault) -> None:
        """Set a fault; bit rot happens at once. Raises FaultError, FlashError."""
        if fault.kind in (FaultKind.PENDING, FaultKind.FORGET_SESSION):
            raise FaultError(f"{fault.kind}: only bootloaders of other kinds have it (`personality` in the bench file)")
        if fault.kind in _DRIVES and self._is_inhibited():
            raise FaultError(f"{fault.kind}: the vehicle is inhibited: it cannot be driven while its ECUs are updated")
        # The seed is drawn here and not in the flash, so that trace and control port show it and the cut can be repeated.
        if fault.kind is FaultKind.POWER_CUT:
            self._flash.seed_noise(fault.values.setdefault("seed", secrets.randbits(32)))
        self._trace.emit_external("ecu.fault", **fault.shown())
        # Bit rot is an event and not a state: it is not kept among the faults that are set.
        if fault.kind is FaultKind.BIT_ROT:
            values = fault.values
            offset = self._layout.slot_offset(int(values["slot"])) + int(values["offset"])
            self._flash.flip_bit(offset, int(values["bit"]))
            return
        self._faults.set(fault)
        if fault.kind is FaultKind.POWER_CUT:
            # Relative to now: how many came before depends on boots and earlier tests.
            self._cut_at = self._flash.operations + max(1, int(fault.values["flash_operation"]))
        self._apply()

    def clear(self) -> None:
        """Clear all faults."""
        self._faults.clear()
        self._cut_at = None
        self._apply()

    def _apply(self) -> None:
        self._apply_flash_times()
        find = self._faults.find
        voltage, speed = find(FaultKind.VOLTAGE), find(FaultKind.SPEED)
        self._conditions.supply_v = NOMINAL_SUPPLY_V if voltage is None else float(voltage.values["volts"])
        self._conditions.speed_km_h = 0.0 if speed is None else float(speed.values["km_h"])
        self._conditions.engine_running = find(FaultKind.ENGINE_RUNNING) is not None
        # Not at once: the trouble code is a write to flash, in which power may be cut. On its turn, the loop handles that.
        self._deadlines.set(Due.SUPPLY, time.monotonic())

    def _apply_flash_times(self) -> None:
        self._flash.erase_sector_s, self._flash.program_page_s = self._faults.flash_times_s(self._timing)

    def _before_flash_operation(self, operation: FlashOperation) -> Cut | None:
        # Also called on the thread of a pending operation: it reads only, and ``Faults`` replaces its list instead of changing it.
        cut = self._faults.find(FaultKind.POWER_CUT)
        if cut is None or self._cut_at is None or operation.number < self._cut_at:
            return None
        return Cut(str(cut.values["mode"]))
