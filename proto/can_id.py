"""CAN identifiers as numbers: 11 bits up to 0x7FF, 29 bits above.

Everywhere in this project an identifier is a plain number, and its size decides its format (ISO 11898-1: base and extended frame
format). So an extended frame whose identifier is 0x7FF or less cannot be expressed; no bench file can ask for one.
"""

from __future__ import annotations

from typing import Final

MAX_11_BIT_ID: Final = 0x7FF
MAX_29_BIT_ID: Final = 0x1FFF_FFFF
_CAN_EFF_FLAG: Final = 0x8000_0000
"""As ``socket.CAN_EFF_FLAG``, which Python has on Linux only."""


def is_29_bit(can_id: int) -> bool:
    """Return whether frames with this identifier have the extended frame format."""
    return can_id > MAX_11_BIT_ID


def kernel_id(can_id: int) -> int:
    """Return the identifier as SocketCAN takes it (linux/can.h): a 29-bit identifier carries a flag."""
    return can_id | _CAN_EFF_FLAG if is_29_bit(can_id) else can_id
