"""The transport of interfaces without kernel ISO-TP: can-isotp's NotifierBasedCanStack over any python-can bus.

Keeps the rules of ``transport``. Threads are can-isotp's and python-can's; one more moves requests to where ``receive`` sleeps.
"""

from __future__ import annotations

import logging
import select
from collections import deque
from threading import Thread
from typing import Any

import can
import isotp

from ecu_firmware_sim.errors import BusUnavailable
from ecu_firmware_sim.transport import SEND_PATIENCE_S, Received, TransportDown, Waker, functional_request, unavailable
from proto.process_config import EcuConfig, IsoTpConfig

log = logging.getLogger(__name__)


class UserTransport(can.Listener):
    """can-isotp over a python-can bus. One notifier a bus; a response is sent by the stack's own thread, and waited for."""

    def __init__(self, config: EcuConfig, waker: Waker) -> None:
        self._waker = waker
        self._functional_id = config.functional_id
        self._queue: deque[Received] = deque()
        self._error: Exception | None = None
        try:
            self._bus = can.Bus(**config.bus)
        except (can.CanError, OSError) as error:
            raise unavailable(str(config.bus.get("channel", "")), error) from error
        except (TypeError, ValueError) as error:
            raise BusUnavailable(f"bus: python-can does not take {config.bus}: {error}") from error
        self._notifier = can.Notifier(self._bus, [self], timeout=0.2)
        self._stack = isotp.NotifierBasedCanStack(
            self._bus,
            self._notifier,
            address=_address(config),
            params=_stack_parameters(config.isotp, fd=config.isotp.fd or bool(config.bus.get("fd"))),
            error_handler=lambda error: log.warning("ISO-TP: %s", error),
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

    def send(self, response: bytes) -> None:
        try:
            self._stack.send(response, send_timeout=SEND_PATIENCE_S)
        except isotp.BlockingSendFailure as error:
            log.warning("ISO-TP, sending %s: %s", response[:3].hex(), error)

    def close(self) -> None:
        self._open = False
        self._stack.rx_queue.put(bytearray())  # wakes the pump
        self._pump.join(timeout=1.0)
        self._stack.stop()
        self._notifier.stop(timeout=1.0)
        self._bus.shutdown()

    def on_message_received(self, msg: can.Message) -> None:
        """A frame of the functional identifier; all others are the stack's."""
        if msg.arbitration_id != self._functional_id or msg.is_error_frame or msg.is_remote_frame:
            return
        received = functional_request(bytes(msg.data))
        if received is not None:
            self._put(received)

    def on_error(self, exc: Exception) -> None:
        """The notifier's receiving thread failed: the ECU must notice rather than go deaf."""
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


def _address(config: EcuConfig) -> isotp.Address:
    wide = config.request_id > 0x7FF or config.response_id > 0x7FF
    mode = isotp.AddressingMode.Normal_29bits if wide else isotp.AddressingMode.Normal_11bits
    return isotp.Address(mode, txid=config.response_id, rxid=config.request_id)


def _stack_parameters(config: IsoTpConfig, *, fd: bool) -> dict[str, Any]:
    return {
        "stmin": config.st_min_ms,
        "blocksize": config.block_size,
        "tx_padding": config.padding,
        "tx_data_length": 64 if fd else 8,
        "can_fd": fd,
        "max_frame_size": 4095,
        "blocking_send": True,
    }
