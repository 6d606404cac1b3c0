"""Judges the error frames of a CAN interface (linux/can/error.h): only node, wrong bit rate, no termination. Pure.

Classes, counts and the kind of violation give the diagnosis. Bit errors belong to a sender whose frames read back differently (no
termination, a short). Form and stuff errors belong to a listener that cannot decode the frames (another bit rate, if it decodes none).
Error frames come only from adapters that report bus errors (`berr-reporting on`, or always).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
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


def judge(name: str, error_frames: Iterable[tuple[int, bytes]], *, data_frames: int, seconds: float) -> list[Finding]:
    """Return what was heard in ``seconds``.

    Args:
        name: the interface's.
        error_frames: identifier without the error flag, and the eight bytes.
        data_frames: how many good frames of other nodes came meanwhile.
        seconds: how long was listened.
    """
    classes: Counter[int] = Counter()
    unacknowledged = violations = misread_bits = 0
    for can_id, data in error_frames:
        classes.update(bit for bit in CLASSES if can_id & bit)
        is_ack = bool(can_id & _ACK) or (len(data) > 3 and data[3] == _ACK_SLOT)
        unacknowledged += is_ack
        violations += bool(can_id & _PROTOCOL) and not is_ack
        misread_bits += bool(can_id & _PROTOCOL) and len(data) > 2 and bool(data[2] & _BIT_ERRORS)
    heard = f"{data_frames} frames in {seconds:.1f} s"
    if not classes:
        return [ok(name, f"heard {heard}, no error frame")]
    counts = ", ".join(f"{CLASSES[bit]} {count}" for bit, count in sorted(classes.items()))
    if classes[_TRANSCEIVER]:
        return [
            fail(
                name, f"transceiver errors ({counts})", "a short or a broken wire on CAN_H or CAN_L: look at the cable"
            )
        ]
    if unacknowledged > violations and data_frames == 0:
        return [
            fail(
                name,
                f"its frames are not acknowledged ({counts}): it is the only node, or the others are off",
                "connect and power another node; a bus needs two",
            )
        ]
    if violations >= _FEW and misread_bits * 2 > violations:
        return [
            fail(
                name,
                f"what it sends reads back otherwise, bit by bit ({counts}; {heard})",
                "no termination, or a short: measure 60 ohm between CAN_H and CAN_L with all power off",
            )
        ]
    if violations >= _FEW:
        if data_frames == 0:
            return [
                fail(
                    name,
                    f"every frame is destroyed ({counts}; {heard})",
                    f"the bus runs at another bit rate: otabench can up {name} --bitrate RATE",
                )
            ]
        return [
            fail(
                name,
                f"frames are destroyed ({counts}; {heard})",
                "no termination, or a disturbed line: measure 60 ohm between CAN_H and CAN_L with all power off",
            )
        ]
    return [
        warn(name, f"error frames ({counts}; {heard})", "now and then is no harm; if it goes on, look at the wiring")
    ]
