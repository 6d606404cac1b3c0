"""Judges the error frames of a CAN interface (linux/can/error.h): only node, wrong bit rate, no termination. Pure.

Classes, counts and the kind of violation give the diagnosis. Bit errors belong to a sender whose frames read back differently (no
termination, a short). Form and stuff errors belong to a listener that cannot decode the frames (another bit rate, if it decodes none).
Error frames come only from adapters that report bus errors (`berr-reporting on`, or always).
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
"""data[3] where the violation was seen in the acknowledgement slot."""
_BIT_ERRORS: Final = 0x18
"""data[2]: a dominant or a recessive bit could not be sent."""
_FEW: Final = 3


@dataclass
class _Heard:
    """What was counted while listening."""

    classes: Counter[int] = field(default_factory=Counter)
    unacknowledged: int = 0
    violations: int = 0
    misread_bits: int = 0

    def count(self, can_id: int, data: bytes) -> None:
        """Count one error frame."""
        self.classes.update(bit for bit in CLASSES if can_id & bit)
        # Some drivers report a missing acknowledgment as a protocol violation in the acknowledgment slot.
        is_ack = bool(can_id & _ACK) or (len(data) > 3 and data[3] == _ACK_SLOT)
        self.unacknowledged += is_ack
        self.violations += bool(can_id & _PROTOCOL) and not is_ack
        self.misread_bits += bool(can_id & _PROTOCOL) and len(data) > 2 and bool(data[2] & _BIT_ERRORS)


def judge(name: str, error_frames: Iterable[tuple[int, bytes]], *, data_frames: int, seconds: float) -> list[Finding]:
    """Return what was heard in ``seconds``.

    Args:
        name: the interface's.
        error_frames: identifier without the error flag, and the eight bytes.
        data_frames: how many good frames of other nodes came meanwhile.
        seconds: how long was listened.
    """
    heard = _Heard()
    for can_id, data in error_frames:
        heard.count(can_id, data)
    frames = f"{data_frames} frames in {seconds:.1f} s"
    if not heard.classes:
        return [ok(name, f"heard {frames}, no error frame")]
    return [_diagnose(name, heard, data_frames=data_frames, frames=frames)]


def _diagnose(name: str, heard: _Heard, *, data_frames: int, frames: str) -> Finding:
    """Return the most specific diagnosis that the counts support."""
    counts = ", ".join(f"{CLASSES[bit]} {count}" for bit, count in sorted(heard.classes.items()))
    if heard.classes[_TRANSCEIVER]:
        remedy = "a short or a broken wire on CAN_H or CAN_L: look at the cable"
        return fail(name, f"transceiver errors ({counts})", remedy)
    if heard.unacknowledged > heard.violations and data_frames == 0:
        problem = f"its frames are not acknowledged ({counts}): it is the only node, or the others are off"
        return fail(name, problem, "connect and power another node; a bus needs two")
    if heard.violations < _FEW:
        remedy = "now and then is no harm; if it goes on, look at the wiring"
        return warn(name, f"error frames ({counts}; {frames})", remedy)
    if heard.misread_bits * 2 > heard.violations:
        return fail(
            name,
            f"what it sends reads back otherwise, bit by bit ({counts}; {frames})",
            "no termination, or a short: measure 60 ohm between CAN_H and CAN_L with all power off",
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
        "no termination, or a disturbed line: measure 60 ohm between CAN_H and CAN_L with all power off",
    )
