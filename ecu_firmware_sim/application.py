"""What the ECU's application says by itself: its periodic frames, sent by the kernel's broadcast manager (CAN_BCM).

Decides how they are sent, not when: ``Ecu`` starts and stops them. The kernel's timer sends each cycle of frames without this
process waking up, so that application traffic costs flashing nothing but the line. Bus load by other means than SocketCAN is
not simulated: on any other interface, or without can-bcm, the ECU says nothing by itself and logs it once.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Sequence
from typing import Final

from proto.periodic import PeriodicFrame
from proto.process_config import EcuConfig

log = logging.getLogger(__name__)

_TX_SETUP: Final = 1
_SETTIMER, _STARTTIMER = 0x01, 0x02
_HEAD: Final = struct.Struct("@IIIllllII0q")
"""struct bcm_msg_head: opcode, flags, count, ival1, ival2 (timeval each), can_id, nframes; frames are 8-byte aligned."""
_FRAME: Final = struct.Struct("=IB3x8s")


class Application:
    """Sends the frames of one ECU while it is started."""

    def __init__(self, config: EcuConfig) -> None:
        self._name = config.name
        self._frames = config.periodic
        self._channel = str(config.bus.get("channel"))
        self._can_send = config.bus.get("interface") == "socketcan"
        self._socket: socket.socket | None = None

    @property
    def running(self) -> bool:
        """Whether it sends now."""
        return self._socket is not None

    def talk(self, allowed: bool) -> None:
        """Starts or stops; does nothing where that is so already."""
        if not allowed:
            self.stop()
        elif self._socket is None and self._frames and self._can_send:
            self._start()

    def stop(self) -> None:
        """Ends sending at once: the kernel drops its timers with the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _start(self) -> None:
        try:
            sender = socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_BCM)
        except OSError as error:
            self._can_send = False
            log.warning("%s: no periodic frames: this kernel has no can-bcm (%s)", self._name, error.strerror)
            return
        try:
            sender.connect((self._channel,))
            for frame in self._frames:
                sender.send(setup_message(frame, frame.cycle()))
        except OSError as error:
            sender.close()
            log.warning("%s: no periodic frames: %s: %s", self._name, self._channel, error.strerror)
            self._can_send = False
            return
        self._socket = sender


def setup_message(frame: PeriodicFrame, cycle: Sequence[bytes]) -> bytes:
    """What tells the broadcast manager to send ``cycle`` again and again (linux/can/bcm.h)."""
    can_id = frame.id | (socket.CAN_EFF_FLAG if frame.is_29_bit else 0)
    seconds, micros = divmod(frame.period_ms * 1000, 1_000_000)
    head = _HEAD.pack(_TX_SETUP, _SETTIMER | _STARTTIMER, 0, 0, 0, seconds, micros, can_id, len(cycle))
    return head + b"".join(_FRAME.pack(can_id, len(data), data) for data in cycle)
