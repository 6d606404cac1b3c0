"""The frame by which the gateway forbids driving while the vehicle's ECUs are updated.

The gateway repeats it on every bus with ECUs. Byte 0 is 1 while the vehicle is inhibited, and 0 once it is not; byte 1 counts frames.
After ``LOST_AFTER`` periods without a frame, a receiver takes the vehicle as not inhibited: a gateway that has died must not keep it from
being driven for good.
"""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from otabench.proto.can_id import MAX_29_BIT_ID, is_29_bit

LOST_AFTER: Final = 10
"""Periods. A busy bus delays a frame by far less."""
LENGTH: Final = 2


class InhibitFrame(BaseModel):
    """Identifier and period of the frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int = Field(ge=0, le=MAX_29_BIT_ID)
    """11 bits up to 0x7FF, otherwise 29 bits."""
    period_ms: int = Field(default=100, ge=10, le=10_000)

    @property
    def is_29_bit(self) -> bool:
        return is_29_bit(self.id)

    @property
    def period_s(self) -> float:
        return self.period_ms / 1000

    def data(self, number: int, *, is_inhibited: bool) -> bytes:
        """Return the data of the ``number``-th frame."""
        return bytes((int(is_inhibited), number % 256))

    def read(self, data: bytes) -> bool | None:
        """Return whether a frame's data inhibit the vehicle; None: they are not those of this frame."""
        return bool(data[0]) if len(data) == LENGTH and data[0] in (0, 1) else None
