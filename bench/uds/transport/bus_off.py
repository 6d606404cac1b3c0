"""Whether a SocketCAN interface is off the bus, and whether it went off a moment ago.

Bus-off is no error of a socket: a frame that is sent meanwhile is taken and thrown away. The kernel tells it in two ways: an error
frame as it happens (``linux/can/error.h``), and by taking the carrier away until the controller is started again.
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
    """Return whether the interface is up and without carrier. False where nobody can tell."""
    try:
        return (_INTERFACES / interface / "carrier").read_text(encoding="ascii").strip() == "0"
    except OSError:
        return False  # gone, or down: other errors tell that


def bus_off(interface: str, where: str) -> errors.BusOff:
    """Return the error, with what to do."""
    return errors.BusOff(
        f"{where}: bus-off: {interface} has left the bus, as its frames were destroyed (a short, a wrong bit rate, CAN_H and CAN_L "
        f"swapped): mend that, then ip link set {interface} type can restart (slcan: ip link set {interface} down, then up)"
    )


class BusOffWatch:
    """Hears of a bus-off as it happens; ``fileno`` for ``poll``.

    Raises:
        OSError: the interface cannot be opened.
    """

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, b"")
            self._socket.setsockopt(socket.SOL_CAN_RAW, _CAN_RAW_ERR_FILTER, struct.pack("=I", CAN_ERR_BUSOFF))
            self._socket.bind((interface,))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Readable once it has happened."""
        return self._socket.fileno()

    def happened(self) -> bool:
        """Return whether it has happened since this was asked last."""
        seen = False
        while True:
            try:
                self._socket.recv(_FRAME_BYTES)
            except OSError:
                return seen
            seen = True

    def close(self) -> None:
        """End it."""
        self._socket.close()
