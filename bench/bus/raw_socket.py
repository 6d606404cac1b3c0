"""Options of all raw SocketCAN sockets of the bench: CAN FD frames, and a buffer for frames that one batch does not read.

This module only sets options. The caller opens the socket and explains a failure.
"""

from __future__ import annotations

import socket
from typing import Final

CAN_MTU: Final = 16
CANFD_MTU: Final = 72
WANTED_BUFFER_BYTES: Final = 16 * 1024 * 1024
_SO_RCVBUFFORCE: Final = 33


def take_all_frames(raw: socket.socket) -> bool:
    """Make a CAN_RAW socket receive CAN FD frames too, into a large buffer.

    Returns:
        True if the buffer has the wanted size. Without CAP_NET_ADMIN the system limits the size, and the result is False.

    Raises:
        OSError: the kernel refuses.
    """
    raw.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FD_FRAMES, 1)
    try:
        # SO_RCVBUFFORCE (asm-generic/socket.h) ignores net.core.rmem_max, which is 208 KiB on most systems: a few
        # hundred frames, because the kernel accounts a whole socket buffer for each.
        raw.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, WANTED_BUFFER_BYTES)
    except PermissionError:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WANTED_BUFFER_BYTES)
        return False
    return True
