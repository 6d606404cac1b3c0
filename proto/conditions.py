"""The conditions under which a vehicle may be updated: a campaign states them, the signed manifest carries them, the gateway judges them.

    standing = Condition.parse("speed_km_h<=0")
    standing.is_met(12.0)  # False

Rules:

* A condition is a quantity and one limit. Yes and no are 1 and 0.
* A value that is not known does not meet any condition.
* Where a quantity comes from is the vehicle's matter (``ConditionSource``): an identifier of an ECU, or a fixed value of the bench file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

MAX_CONDITIONS: Final = 16
"""Of one campaign."""
DEFAULT_LIMIT_S: Final = 600.0
"""How long a vehicle waits for a lost condition, unless the campaign states otherwise."""
_TEXT: Final = re.compile(r"\s*([a-z_]+)\s*(<=|>=|=)\s*(-?[0-9]{1,7}(?:\.[0-9]{1,3})?)\s*")


class Quantity(StrEnum):
    """What conditions are about. The unit is part of the name."""

    SPEED = "speed_km_h"
    ENGINE_SPEED = "engine_rpm"
    SUPPLY = "supply_v"
    CHARGE = "charge_percent"
    """Of the battery that supplies the update."""
    CHARGING = "charging"
    IGNITION = "ignition"
    DOORS_OPEN = "doors_open"
    TEMPERATURE = "ambient_degc"


class Sign(StrEnum):
    """How a value is compared with the limit."""

    AT_MOST = "<="
    AT_LEAST = ">="
    EXACTLY = "="


@dataclass(frozen=True)
class Condition:
    """One condition; its text is ``QUANTITY SIGN LIMIT`` without spaces."""

    quantity: Quantity
    sign: Sign
    limit: float

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Return the condition that a text states: ``speed_km_h<=0``, ``supply_v>=12.5``, ``ignition=0``.

        Raises:
            ValueError: the text states no condition; with what is wrong.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is not a condition: write QUANTITY<=NUMBER, QUANTITY>=NUMBER or QUANTITY=NUMBER"
            )
        name, sign, number = match.groups()
        if name not in set(Quantity):
            raise ValueError(f"{name!r} is not a quantity; choose from {', '.join(Quantity)}")
        return cls(Quantity(name), Sign(sign), float(number))

    def is_met(self, value: float | None) -> bool:
        """Return whether a value meets the condition. None: the value is not known."""
        if value is None or not math.isfinite(value):
            return False
        return {
            Sign.AT_MOST: value <= self.limit,
            Sign.AT_LEAST: value >= self.limit,
            Sign.EXACTLY: value == self.limit,
        }[self.sign]

    def __str__(self) -> str:
        return f"{self.quantity}{self.sign}{self.limit:.10g}"


def _check(text: str) -> str:
    return str(Condition.parse(text))


ConditionText = Annotated[str, AfterValidator(_check)]
"""A text that ``Condition.parse`` reads. In signed metadata, because canonical JSON has no fractions."""

PARKED: Final = tuple(map(Condition.parse, ("speed_km_h<=0", "engine_rpm<=0", "supply_v>=10", "supply_v<=16")))
"""The conditions of a bench's campaign that states none of its own: standstill, engine off, and a usual supply."""


_Number = Annotated[float, Field(ge=-1e9, le=1e9)]
"""Far beyond what is measured. The bounds also keep infinity and NaN out."""


class ConditionSource(BaseModel):
    """The source of a quantity in the vehicle: bytes of an identifier that an ECU reports by 22, or a fixed value.

    The value is the number in these bytes, highest first, times ``factor`` plus ``offset``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ecu: str = ""
    identifier: int | None = Field(default=None, ge=0, le=0xFFFF)
    start: int = Field(default=0, ge=0, le=4095)
    length: int = Field(default=1, ge=1, le=4)
    factor: _Number = 1.0
    offset: _Number = 0.0
    value: _Number | None = None

    @model_validator(mode="after")
    def _one_source(self) -> ConditionSource:
        if (self.value is None) == (self.identifier is None):
            raise ValueError("give either `ecu` and `identifier`, or a fixed `value`")
        if self.identifier is not None and not self.ecu:
            raise ValueError("`identifier` needs `ecu`: the ECU that reports it")
        return self

    def read(self, record: bytes) -> float | None:
        """Return the value in an identifier's record; None if the record is too short."""
        part = record[self.start : self.start + self.length]
        return int.from_bytes(part, "big") * self.factor + self.offset if len(part) == self.length else None


def standard_sources(ecu: str) -> dict[Quantity, ConditionSource]:
    """Return the sources of an ECU that reports the identifiers F40C, F40D and F442, as the simulated ones do.

    Identifiers F4xx carry the parameters xx of OBD (ISO 27145-2, SAE J1979-2), with their scaling.
    """
    return {
        Quantity.SPEED: ConditionSource(ecu=ecu, identifier=0xF40D, length=1),
        Quantity.ENGINE_SPEED: ConditionSource(ecu=ecu, identifier=0xF40C, length=2, factor=0.25),
        Quantity.SUPPLY: ConditionSource(ecu=ecu, identifier=0xF442, length=2, factor=0.001),
    }


def unmet(conditions: Iterable[Condition], values: Mapping[Quantity, float]) -> list[Condition]:
    """Return the conditions that the values do not meet, in the order given."""
    return [each for each in conditions if not each.is_met(values.get(each.quantity))]


def describe(condition: Condition, value: float | None) -> str:
    """Return an unmet condition in words for the workshop: "speed_km_h is 12, must be at most 0"."""
    is_now = "is not known" if value is None else f"is {value:g}"
    word = {Sign.AT_MOST: "at most ", Sign.AT_LEAST: "at least ", Sign.EXACTLY: ""}[condition.sign]
    return f"{condition.quantity} {is_now}, must be {word}{condition.limit:g}"
