"""Diagnose a bus by the error frames of a CAN interface (linux/can/error.h): single node, wrong bit rate, no termination.

The diagnosis follows from classes, counts and the kind of violation:

* Bit errors mean that a sender reads back something different from what it sent (no termination, a short circuit).
* Form and stuff errors mean that a receiver cannot decode the frames. If it decodes none at all, the bus has another bit rate.

Some adapters report bus errors always, some only with `berr-reporting on`, some never. Without reports there is nothing to diagnose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from otabench.bench.bus.error_classes import CLASSES
from otabench.bench.finding import Finding, fail, ok, warn

_ACK: Final = 0x020
_PROTOCOL: Final = 0x008
_TRANSCEIVER: Final = 0x010
_ACK_SLOT: Final = 0x19
"""data[3]: the violation is in the acknowledgment slot."""
_BIT_ERRORS: Final = 0x18
"""data[2]: a dominant or a recessive bit could not be sent."""
_MEASURE: Final = "the resistance between CAN_H and CAN_L must be about 60 ohm with all power off"
_MIN_VIOLATIONS: Final = 3
"""Fewer protocol violations than this are only a warning."""


@dataclass
class _Heard:
    """The counts of the error frames."""

    classes: Counter[int] = field(default_factory=Counter)
    unacknowledged: int = 0
    violations: int = 0
    bit_error_frames: int = 0

    def count(self, can_id: int, data: bytes) -> None:
        """Count one error frame."""
        self.classes.update(bit for bit in CLASSES if can_id & bit)
        # Some drivers report a missing acknowledgment as a protocol violation in the acknowledgment slot.
        is_ack = bool(can_id & _ACK) or (len(data) > 3 and data[3] == _ACK_SLOT)
        self.unacknowledged += is_ack
        self.violations += bool(can_id & _PROTOCOL) and not is_ack
        self.bit_error_frames += bool(can_id & _PROTOCOL) and len(data) > 2 and bool(data[2] & _BIT_ERRORS)


def judge(name: str, error_frames: Iterable[tuple[int, bytes]], *, data_frames: int, seconds: float) -> list[Finding]:
    """Return the diagnosis of the frames that an interface received.

    Args:
        name: the name of the interface.
        error_frames: identifier without the error flag, and the eight data bytes, of each error frame.
        data_frames: number of good frames of other nodes in the same time.
        seconds: how long the interface was observed.
    """
    heard = _Heard()
    for can_id, data in error_frames:
        heard.count(can_id, data)
    frames = f"{data_frames} frames in {seconds:.1f} s"
    if not heard.classes:
        return [ok(name, f"received {frames}, no error frame")]
    return [_diagnose(name, heard, data_frames=data_frames, frames=frames)]


def _diagnose(name: str, heard: _Heard, *, data_frames: int, frames: str) -> Finding:
    """Return the most specific diagnosis that the counts support."""
    counts = ", ".join(f"{CLASSES[bit]} {count}" for bit, count in sorted(heard.classes.items()))
    # From the most specific cause to the most general one.
    if heard.classes[_TRANSCEIVER]:
        remedy = "check the cable for a short circuit or a broken wire on CAN_H or CAN_L"
        return fail(name, f"transceiver errors ({counts})", remedy)
    if heard.unacknowledged > heard.violations and data_frames == 0:
        problem = f"its frames are not acknowledged ({counts}): it is the only node, or the others are off"
        return fail(name, problem, "connect and power another node; a bus needs two")
    if heard.violations < _MIN_VIOLATIONS:
        remedy = "occasional error frames are harmless; if they keep coming, check the wiring"
        return warn(name, f"error frames ({counts}; {frames})", remedy)
    if heard.bit_error_frames * 2 > heard.violations:
        return fail(
            name,
            f"it reads back different bits from those it sent ({counts}; {frames})",
            f"the termination is missing, or there is a short circuit: {_MEASURE}",
        )
    if data_frames == 0:
        return fail(
            name,
            f"every frame is destroyed ({counts}; {frames})",
            f"the bus runs at another bit rate: otabench can up {name} --bitrate RATE",
        )
    return fail(
        name,
        f"frames are destroyed ({counts}; {frames})",
        f"the termination is missing, or the line is disturbed: {_MEASURE}",
    )
