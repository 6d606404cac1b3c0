"""A CAN frame as SocketCAN represents it (linux/can.h): identifier with its flags, FD flags, data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

EFF_FLAG: Final = 0x8000_0000
RTR_FLAG: Final = 0x4000_0000
ERR_FLAG: Final = 0x2000_0000
EFF_MASK: Final = 0x1FFF_FFFF
SFF_MASK: Final = 0x7FF
FD_BRS: Final = 0x01
FD_ESI: Final = 0x02
# CANFD_FDF exists in the kernel since Linux 5.14 only. Here it marks every FD frame, whatever the kernel, because the
# length of the structure that was read is known only to the reader.
FD_FDF: Final = 0x04


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as SocketCAN gives it: ``can_id`` with its flags; ``flags`` are the FD flags, 0x04 set on FD frames.

    The ``data`` of a remote frame are zeros; their number is its DLC.
    """

    timestamp_us: int
    can_id: int
    flags: int
    data: bytes
