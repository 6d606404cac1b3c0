"""The names of the classes of SocketCAN error frames (linux/can/error.h). Pure."""

from __future__ import annotations

from typing import Final

CLASSES: Final[dict[int, str]] = {
    0x001: "send timeout",
    0x002: "lost arbitration",
    0x004: "controller",
    0x008: "protocol violation",
    0x010: "transceiver",
    0x020: "no acknowledgement",
    0x040: "bus-off",
    0x080: "bus error",
    0x100: "restarted",
}


def words(can_id: int) -> str:
    """Return the names of an error frame's classes. ``can_id`` is its identifier, with or without the error flag."""
    # 0x200 (CAN_ERR_CNT, Linux 6.0) is not in the table: it is not a class, it only marks data[6] and data[7] as error counters.
    return ", ".join(name for bit, name in CLASSES.items() if can_id & bit) or "an unknown class"
