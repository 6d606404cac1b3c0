"""CAN identifiers as numbers: 11 bits up to 0x7FF, 29 bits above.

In this project an identifier is a plain number, and its size determines the frame format (ISO 11898-1: base and extended frame format).
Therefore an extended frame with an identifier up to 0x7FF cannot be expressed.
"""

from __future__ import annotations

from typing import Final

MAX_11_BIT_ID: Final = 0x7FF
MAX_29_BIT_ID: Final = 0x1FFF_FFFF
_CAN_EFF_FLAG: Final = 0x8000_0000
"""The value of ``socket.CAN_EFF_FLAG``, which Python defines only on Linux."""


def is_29_bit(can_id: int) -> bool:
    """Return whether frames with this identifier have the extended frame format."""
    return can_id > MAX_11_BIT_ID


def kernel_id(can_id: int) -> int:
    """Return the identifier in SocketCAN's form (linux/can.h), in which a 29-bit identifier has a flag."""
    return can_id | _CAN_EFF_FLAG if is_29_bit(can_id) else can_id
