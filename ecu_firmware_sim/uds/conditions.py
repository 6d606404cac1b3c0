"""Conditions of the vehicle that programming depends on: speed, engine, supply voltage. Pure; faults set them.

Rules:

* Routine 0203 reports each condition that is not met (codes in docs/contracts.md).
* 10 02 is refused with 22 while the vehicle moves or its engine runs.
* A supply out of range sets P0562 or P0563.
* Erasing, requesting a download and transferring need a supply that the flash can be programmed with: 92 above, 93 below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from otabench.ecu_firmware_sim.uds.codes import Nrc
from otabench.ecu_firmware_sim.uds.dtc import Dtc

SUPPLY_LEAST_V: Final = 9.0
SUPPLY_MOST_V: Final = 16.0
NOMINAL_SUPPLY_V: Final = 13.5

MOVING: Final = 0x01
ENGINE_RUNNING: Final = 0x02
SUPPLY_OUT_OF_RANGE: Final = 0x03


@dataclass
class Conditions:
    """What the ECU measures, from one moment to the next."""

    speed_km_h: float = 0.0
    engine_running: bool = False
    supply_v: float = NOMINAL_SUPPLY_V

    def unmet(self) -> list[int]:
        """Return the codes of routine 0203."""
        found = {
            MOVING: self.speed_km_h > 0,
            ENGINE_RUNNING: self.engine_running,
            SUPPLY_OUT_OF_RANGE: self.supply_nrc() is not None,
        }
        return [code for code, is_unmet in found.items() if is_unmet]

    def supply_dtc(self) -> Dtc | None:
        """Return the trouble code of the supply, if it is out of range."""
        nrc = self.supply_nrc()
        return None if nrc is None else Dtc.SUPPLY_HIGH if nrc is Nrc.VOLTAGE_TOO_HIGH else Dtc.SUPPLY_LOW

    def programming_session_nrc(self) -> Nrc | None:
        """Return why the programming session is not entered now."""
        return Nrc.CONDITIONS_NOT_CORRECT if self.speed_km_h > 0 or self.engine_running else None

    def supply_nrc(self) -> Nrc | None:
        """Return why the flash is not programmed now."""
        if self.supply_v > SUPPLY_MOST_V:
            return Nrc.VOLTAGE_TOO_HIGH
        return Nrc.VOLTAGE_TOO_LOW if self.supply_v < SUPPLY_LEAST_V else None
