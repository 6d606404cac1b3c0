"""Describe periodic application frames: identifier, period and signals.

A bench file contains them, the simulated ECU sends them, and `otabench dbc` writes them as a DBC file.

* Signals are unsigned, in Intel byte order.
* A ``counter`` counts up and wraps. A ``triangle`` goes from its minimum to its maximum and back. A ``constant`` stays at its minimum.
* All values repeat after ``CYCLE`` frames. So the kernel's broadcast manager can send them from a list, without waking the ECU.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from otabench.proto.can_id import MAX_29_BIT_ID, is_29_bit

CYCLE: Final = 64
# The names become those of a DBC file: C identifiers of at most 32 characters.
_NAME: Final = r"^[A-Za-z][A-Za-z0-9_]{0,31}$"
_Physical = Annotated[float, Field(ge=-1e12, le=1e12)]
"""Far beyond what is measured; infinity and NaN have no raw value."""


class PeriodicSignal(BaseModel):
    """One signal. Its physical value is the raw value times ``factor`` plus ``offset``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=_NAME)
    start_bit: int = Field(ge=0, le=63)
    length: int = Field(ge=1, le=32)
    factor: float = Field(default=1.0, ge=1e-12, le=1e12)
    offset: _Physical = 0.0
    minimum: _Physical = 0.0
    maximum: _Physical | None = None
    """None: the largest value that ``length`` bits hold."""
    # The unit becomes a quoted text in a DBC file, so quotes, backslashes and control characters are not allowed.
    unit: str = Field(default="", max_length=16, pattern=r'^[^"\\\x00-\x1f]*$')
    wave: Literal["counter", "triangle", "constant"] = "triangle"

    @property
    def largest(self) -> float:
        """The largest physical value: ``maximum``, or the largest value that the length holds."""
        return self.to_physical((1 << self.length) - 1) if self.maximum is None else self.maximum

    def to_physical(self, raw: int) -> float:
        """Return the physical value of a raw one."""
        return raw * self.factor + self.offset

    def to_raw(self, physical: float) -> int:
        """Return the raw value nearest to a physical one."""
        return round((physical - self.offset) / self.factor)

    def raw(self, number: int) -> int:
        """Return the raw value in the ``number``-th frame."""
        low, high = self.to_raw(self.minimum), self.to_raw(self.largest)
        if self.wave == "constant":
            return low
        if self.wave == "counter":
            return low + number % CYCLE % (high - low + 1)
        half = CYCLE // 2  # up in the first half of the cycle, down in the second
        place = number % CYCLE
        return low + round((high - low) * (place if place <= half else CYCLE - place) / half)

    @model_validator(mode="after")
    def _fits(self) -> PeriodicSignal:
        if self.start_bit + self.length > 64:
            raise ValueError(
                f"signal {self.name}: bits {self.start_bit} to {self.start_bit + self.length - 1} are more than 64"
            )
        if not 0 <= self.to_raw(self.minimum) <= self.to_raw(self.largest) < 1 << self.length:
            raise ValueError(f"signal {self.name}: {self.minimum} to {self.largest} do not fit into {self.length} bits")
        return self


class PeriodicFrame(BaseModel):
    """One periodic frame, of at most 8 bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=_NAME)
    id: int = Field(ge=0, le=MAX_29_BIT_ID)
    """11 bits up to 0x7FF, otherwise 29 bits."""
    period_ms: int = Field(ge=5, le=60_000)
    length: int = Field(default=8, ge=1, le=8)
    signals: tuple[PeriodicSignal, ...] = ()

    @property
    def is_29_bit(self) -> bool:
        return is_29_bit(self.id)

    def data(self, number: int) -> bytes:
        """Return the data of the ``number``-th frame."""
        bits = 0
        for signal in self.signals:
            bits |= signal.raw(number) << signal.start_bit
        return bits.to_bytes(self.length, "little")

    def cycle(self) -> list[bytes]:
        """Return the data of all frames of one cycle, or of a single frame if the data never change."""
        frames = [self.data(number) for number in range(CYCLE)]
        return frames[:1] if all(frame == frames[0] for frame in frames) else frames

    @model_validator(mode="after")
    def _no_overlap(self) -> PeriodicFrame:
        taken: dict[int, str] = {}
        for signal in self.signals:
            for bit in range(signal.start_bit, signal.start_bit + signal.length):
                if bit >= self.length * 8:
                    raise ValueError(f"frame {self.name}: signal {signal.name} ends after its {self.length} bytes")
                if taken.setdefault(bit, signal.name) != signal.name:
                    raise ValueError(f"frame {self.name}: signals {taken[bit]} and {signal.name} share bit {bit}")
        names = [signal.name for signal in self.signals]
        if len(set(names)) < len(names):
            raise ValueError(f"frame {self.name}: two signals have the same name")
        return self
