"""The transport of interfaces without kernel ISO-TP: can-isotp's NotifierBasedCanStack over any python-can bus.

It keeps the rules of ``transport``. can-isotp and python-can run their own threads. One more thread moves requests to a queue and
wakes ``receive``.
"""

from __future__ import annotations

import logging
import select
from collections import deque
from threading import Thread
from typing import Any, Final

import can
import isotp

from otabench.ecu_firmware_sim.bus.transport import (
    SEND_TIMEOUT_S,
    Received,
    TransportDown,
    Waker,
    addresses,
    functional_request,
    unavailable,
    uses_fd,
)
from otabench.ecu_firmware_sim.errors import BusUnavailable
from otabench.proto.isotp_address import EndAddress
from otabench.proto.process_config import EcuConfig, IsoTpConfig

log = logging.getLogger(__name__)

MAX_WAIT_FRAMES: Final = 16
"""How many FlowControl WAIT frames in a row are accepted from a tester (N_WFTmax)."""


class UserTransport(can.Listener):
    """can-isotp over a python-can bus. The stack's own thread sends a response, and ``send`` waits for it."""

    def __init__(self, config: EcuConfig, waker: Waker) -> None:
        self._waker = waker
        fd = uses_fd(config)
        address, self._functional = addresses(config)
        self._queue: deque[Received] = deque()
        self._error: Exception | None = None
        try:
            self._bus = can.Bus(**(config.bus | {"fd": True} if fd else config.bus))
        except (can.CanError, OSError) as error:
            raise unavailable(str(config.bus.get("channel", "")), error) from error
        except (TypeError, ValueError) as error:
            raise BusUnavailable(f"bus: python-can does not take {config.bus}: {error}") from error
        # One notifier for both listeners: a second one on the same bus would take frames away from the first.
        self._notifier = can.Notifier(self._bus, [self], timeout=0.05)
        # Not ``CanStack``: it polls the bus and misses frames when there are many (seen with can-isotp 2.0).
        self._stack = isotp.NotifierBasedCanStack(
            self._bus,
            self._notifier,
            address=_stack_address(address.ecu_end),
            params=_stack_parameters(config.isotp, fd=fd),
            error_handler=lambda error: log.warning(
                "ISO-TP: %s", error
            ),  # the stack reports errors only here; it raises none
        )
        self._stack.start()
        self._open = True
        self._pump = Thread(target=self._pump_requests, name="isotp", daemon=True)
        self._pump.start()

    def receive(self, timeout_s: float | None) -> Received | None:
        if not self._queue:
            if self._error is not None:
                raise TransportDown(str(self._error))
            select.select([self._waker], [], [], timeout_s)
            self._waker.clear()
        return self._queue.popleft() if self._queue else None

    def is_receiving(self) -> bool:
        return self._stack.is_rx_active() or self._stack.available() or bool(self._queue)

    def send(self, response: bytes) -> None:
        try:
            self._stack.send(response, send_timeout=SEND_TIMEOUT_S)
        except isotp.BlockingSendFailure as error:
            log.warning("ISO-TP, sending %s: %s", response[:3].hex(), error)

    def close(self) -> None:
        self._open = False
        # The pump thread blocks in ``recv``. Wake it with an empty message, which the stack itself never delivers.
        self._stack.rx_queue.put(bytearray())
        self._pump.join(timeout=1.0)
        self._stack.stop()
        self._notifier.stop(timeout=1.0)
        self._bus.shutdown()

    def on_message_received(self, msg: can.Message) -> None:
        """Take a frame with the functional identifier; all others are the stack's."""
        wanted = self._functional
        if msg.arbitration_id != wanted.can_id or msg.is_extended_id is not wanted.is_29_bit:
            return
        if msg.is_error_frame or msg.is_remote_frame:
            return
        received = functional_request(bytes(msg.data), wanted)
        if received is not None:
            self._put(received)

    def on_error(self, exc: Exception) -> None:
        """Remember that the notifier's receiving thread failed, and wake ``receive``, which raises it. The ECU would be deaf unnoticed."""
        self._error = exc
        self._waker.set()

    def _pump_requests(self) -> None:
        while self._open:
            request = self._stack.recv(block=True, timeout=None)
            if request:
                self._put((bytes(request), False))

    def _put(self, received: Received) -> None:
        self._queue.append(received)
        self._waker.set()


def _stack_address(address: EndAddress) -> isotp.AsymmetricAddress:
    modes = isotp.AddressingMode
    return isotp.AsymmetricAddress(
        tx_addr=isotp.Address(modes[address.sent.can_isotp_mode], **address.can_isotp_sending()),
        rx_addr=isotp.Address(modes[address.received.can_isotp_mode], **address.can_isotp_receiving()),
    )


def _stack_parameters(config: IsoTpConfig, *, fd: bool) -> dict[str, Any]:
    return {
        "stmin": config.st_min_ms,
        "blocksize": config.block_size,
        "tx_padding": config.padding,
        # With padding, no frame is shorter than 8 bytes.
        "tx_data_min_length": None if config.padding is None else 8,
        "tx_data_length": config.frame_bytes(fd=fd),
        "can_fd": fd,
        "bitrate_switch": fd,
        "max_frame_size": 4095,
        # Without this, ``send`` returns as soon as the response is queued. A reset right afterwards closes the stack, and would lose it.
        "blocking_send": True,
        "wftmax": MAX_WAIT_FRAMES,
    }
