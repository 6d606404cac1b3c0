"""Conditions of the vehicle on which programming depends: speed, engine, supply voltage. Pure; faults set them.

Rules:

* Routine 0203 reports each condition that is not met (codes in docs/contracts.md).
* 10 02 is refused with 22 while the vehicle moves or its engine runs.
* A supply out of range sets P0562 or P0563.
* Erasing, requesting a download and transferring need a supply in range: 92 above it, 93 below it.
* The identifiers F40C, F40D and F442 report the values, by which the gateway judges the conditions of a campaign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from otabench.ecu_firmware_sim.uds.codes import Nrc
from otabench.ecu_firmware_sim.uds.dtc import Dtc

# A usual range for 12 V systems; convention, without a source.
MIN_SUPPLY_V: Final = 9.0
MAX_SUPPLY_V: Final = 16.0
NOMINAL_SUPPLY_V: Final = 13.5
IDLE_RPM: Final = 800
"""The speed of an engine that runs; any value above 0 would do."""

# Codes of routine 0203 (profile iso14229-ab). 04 is the memory's: ``programming.memory``.
MOVING: Final = 0x01
ENGINE_RUNNING: Final = 0x02
SUPPLY_OUT_OF_RANGE: Final = 0x03


@dataclass
class Conditions:
    """The values that the ECU measures now."""

    speed_km_h: float = 0.0
    engine_running: bool = False
    supply_v: float = NOMINAL_SUPPLY_V

    def unmet(self) -> list[int]:
        """Return the codes of routine 0203 for the conditions that are not met."""
        found = {
            MOVING: self.speed_km_h > 0,
            ENGINE_RUNNING: self.engine_running,
            SUPPLY_OUT_OF_RANGE: self.supply_nrc() is not None,
        }
        return [code for code, is_unmet in found.items() if is_unmet]

    def engine_speed_record(self) -> bytes:
        """Return the record of identifier F40C: two bytes, 0.25 rpm each."""
        return (IDLE_RPM * 4 if self.engine_running else 0).to_bytes(2, "big")

    def speed_record(self) -> bytes:
        """Return the record of identifier F40D: one byte, 1 km/h each. A vehicle that moves at all has at least 1."""
        return min(255, max(math.ceil(self.speed_km_h), 0)).to_bytes(1, "big")

    def supply_record(self) -> bytes:
        """Return the record of identifier F442: two bytes, 1 mV each."""
        return min(0xFFFF, max(round(self.supply_v * 1000), 0)).to_bytes(2, "big")

    def supply_dtc(self) -> Dtc | None:
        """Return the trouble code of the supply, if it is out of range."""
        nrc = self.supply_nrc()
        return None if nrc is None else Dtc.SUPPLY_HIGH if nrc is Nrc.VOLTAGE_TOO_HIGH else Dtc.SUPPLY_LOW

    def programming_session_nrc(self) -> Nrc | None:
        """Return the NRC with which 10 02 is refused now; None: it is not refused."""
        # The supply is not judged here: a tester may enter the session and wait for the voltage before it erases.
        return Nrc.CONDITIONS_NOT_CORRECT if self.speed_km_h > 0 or self.engine_running else None

    def supply_nrc(self) -> Nrc | None:
        """Return the NRC with which programming is refused now; None: it is not refused."""
        if self.supply_v > MAX_SUPPLY_V:
            return Nrc.VOLTAGE_TOO_HIGH
        return Nrc.VOLTAGE_TOO_LOW if self.supply_v < MIN_SUPPLY_V else None
