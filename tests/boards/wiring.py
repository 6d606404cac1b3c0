"""What can be wrong with the wires of a bus, and what an adapter's controller makes of it. Pure.

Decides, after ISO 11898-1's fault confinement, which errors a controller sees, the state and the counters it comes to, and
whether frames pass. Written as LAWICEL adapters report it and as Linux reads it since 6.0 (``drivers/net/can/slcan``):
``s`` state, receive and send counter; ``e`` number of errors, a letter for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Wiring(StrEnum):
    """The wires of a bus."""

    HEALTHY = "healthy"
    ALONE = "alone"
    """The only node on the bus: no other acknowledges its frames."""
    WRONG_BIT_RATE = "wrong-bit-rate"
    """The others run at another bit rate; the adapter only hears."""
    NO_TERMINATION = "no-termination"
    """Some frames are destroyed, most pass."""
    SHORT = "short"
    """Every frame sent is destroyed: bus-off, and again after each restart."""


@dataclass(frozen=True)
class Effect:
    """On the controller. ``state``: a, w, p or b, as in the report; ``errors``: letters that are reported again and again."""

    state: str
    receive_counter: int = 0
    send_counter: int = 0
    errors: str = ""
    frames_pass: bool = True

    def state_report(self) -> bytes:
        """As the adapter writes it."""
        return f"s{self.state}{self.receive_counter:03d}{self.send_counter:03d}\r".encode("ascii")

    def error_report(self) -> bytes:
        """As the adapter writes it; nothing where there is no error."""
        return f"e{len(self.errors)}{self.errors}\r".encode("ascii") if self.errors else b""


EFFECTS: Final = {
    Wiring.HEALTHY: Effect("a"),
    Wiring.ALONE: Effect("p", send_counter=128, errors="a", frames_pass=False),
    Wiring.WRONG_BIT_RATE: Effect("p", receive_counter=135, errors="fs", frames_pass=False),
    Wiring.NO_TERMINATION: Effect("w", receive_counter=40, send_counter=104, errors="b"),
    Wiring.SHORT: Effect("b", receive_counter=0, send_counter=256, frames_pass=False),
}
