"""Detect whether a SocketCAN interface is bus-off now, or was bus-off a moment ago.

A socket does not report bus-off as an error, and frames sent meanwhile are silently dropped. The kernel shows bus-off in two ways: it
delivers an error frame at the moment (``linux/can/error.h``), and it removes the carrier until the controller is restarted. Both are
needed: a controller that restarts by itself has its carrier back before the next look.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Final

from otabench.bench.uds.transport import errors

CAN_ERR_BUSOFF: Final = 0x40
_CAN_RAW_ERR_FILTER: Final = 2
_INTERFACES: Final = Path("/sys/class/net")
_FRAME_BYTES: Final = 16


def is_off(interface: str) -> bool:
    """Return whether the interface is up and has no carrier. Return False if that cannot be read."""
    try:
        return (_INTERFACES / interface / "carrier").read_text(encoding="ascii").strip() == "0"
    except OSError:
        # The interface is gone or down. The next send or receive reports that with its own errno.
        return False


def bus_off(interface: str, where: str) -> errors.BusOff:
    """Return the error of an interface that has left the bus."""
    return errors.BusOff(
        f"{where}: bus-off: {interface} has left the bus after too many errors (a short circuit, a wrong bit rate, CAN_H and CAN_L "
        f"swapped): correct that, then ip link set {interface} type can restart (slcan: ip link set {interface} down, then up)"
    )


class BusOffWatch:
    """A socket that receives only bus-off error frames, for use with ``poll``.

    Raises:
        OSError: the interface cannot be opened.
    """

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        try:
            self._socket.setblocking(False)
            # No data frames: otherwise every frame of the bus would wake the caller.
            self._socket.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, b"")
            self._socket.setsockopt(socket.SOL_CAN_RAW, _CAN_RAW_ERR_FILTER, struct.pack("=I", CAN_ERR_BUSOFF))
            self._socket.bind((interface,))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the file descriptor. It becomes readable when the interface goes bus-off."""
        return self._socket.fileno()

    def happened(self) -> bool:
        """Return whether a bus-off happened since the last call."""
        has_happened = False
        while True:
            try:
                self._socket.recv(_FRAME_BYTES)
            except OSError:
                return has_happened
            # All of them are read: one that stayed in the socket would make the next wait return at once.
            has_happened = True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
