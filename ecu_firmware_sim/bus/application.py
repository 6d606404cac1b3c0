"""The periodic frames of the ECU's application.

``Ecu`` starts and stops them. On SocketCAN the kernel's broadcast manager (CAN_BCM) sends each cycle of frames without waking this
process, so that application traffic costs flashing only time on the line. On any other interface of python-can a thread of this process
sends them. Where neither works, the ECU sends no periodic frames and logs that once.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Sequence
from typing import Any, Final, Protocol

from otabench.ecu_firmware_sim.errors import BusUnavailable
from otabench.proto.can_id import kernel_id
from otabench.proto.periodic import PeriodicFrame
from otabench.proto.process_config import EcuConfig

log = logging.getLogger(__name__)

_TX_SETUP: Final = 1
_SETTIMER, _STARTTIMER = 0x01, 0x02
_HEAD: Final = struct.Struct("@IIIllllII0q")
"""struct bcm_msg_head: opcode, flags, count, ival1, ival2 (timeval each), can_id, nframes; frames are 8-byte aligned."""
# struct can_frame: identifier, length, three reserved bytes, data.
_FRAME: Final = struct.Struct("=IB3x8s")


class Sender(Protocol):
    """A periodic sender of frames, until it is closed."""

    def close(self) -> None:
        """End sending at once."""


class Application:
    """The periodic frames of one ECU: sent while it is started."""

    def __init__(self, config: EcuConfig) -> None:
        self._name = config.name
        self._frames = config.periodic
        self._bus = config.bus
        self._can_send = True
        self._sender: Sender | None = None

    @property
    def running(self) -> bool:
        """Whether the frames are being sent."""
        return self._sender is not None

    def talk(self, allowed: bool) -> None:
        """Start or stop sending; do nothing if that is the case already."""
        if not allowed:
            self.stop()
        elif self._sender is None and self._frames and self._can_send:
            self._start()

    def stop(self) -> None:
        """End sending at once."""
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def _start(self) -> None:
        try:
            self._sender = _open(self._bus, self._frames)
        except (OSError, BusUnavailable) as error:
            # Once and for all: ``talk`` is called at every turn of the loop, and would log it each time.
            self._can_send = False
            log.warning("%s: no periodic frames: %s: %s", self._name, self._bus.get("channel"), error)


def _open(bus: dict[str, Any], frames: Sequence[PeriodicFrame]) -> Sender:
    if bus.get("interface") == "socketcan":
        return BroadcastManager(str(bus.get("channel")), frames)
    # Late, because python-can takes long to import and most ECUs are on SocketCAN.
    from otabench.ecu_firmware_sim.bus.periodic_sender import PeriodicSender

    return PeriodicSender(bus, frames)


class BroadcastManager:
    """Periodic frames by the kernel's timers.

    Raises:
        OSError: this kernel has no can-bcm, or the interface does not exist.
    """

    def __init__(self, channel: str, frames: Sequence[PeriodicFrame]) -> None:
        self._socket = socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_BCM)
        try:
            self._socket.connect((channel,))
            for frame in frames:
                self._socket.send(setup_message(frame, frame.cycle()))
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        """End sending at once: the kernel drops its timers with the socket."""
        self._socket.close()


def setup_message(frame: PeriodicFrame, cycle: Sequence[bytes]) -> bytes:
    """Return the message by which the broadcast manager sends ``cycle`` periodically (linux/can/bcm.h)."""
    # count and ival1 are 0, so that ival2 applies from the first frame on, without end.
    can_id = kernel_id(frame.id)
    seconds, micros = divmod(frame.period_ms * 1000, 1_000_000)
    head = _HEAD.pack(_TX_SETUP, _SETTIMER | _STARTTIMER, 0, 0, 0, seconds, micros, can_id, len(cycle))
    return head + b"".join(_FRAME.pack(can_id, len(data), data) for data in cycle)
