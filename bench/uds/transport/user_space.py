"""ISO-TP in user space, by can-isotp, over any python-can interface.

Rules:

* A channel has one ``can.Bus`` and one ``Notifier`` (``user_space_bus``), because python-can allows only one Notifier per bus.
* ``blocking_send`` lets P2 start when the last frame was sent. Without it, udsoncan starts P2 when the payload is queued.
* The stack reports errors to a handler in its own thread. The handler maps them to ``errors``; they are raised where the caller waits.
* A block size of 0 (no limit) becomes 8. Interfaces without back-pressure lose frames of unlimited blocks: udp_multicast and a classic
  vcan do so with transfers of 4 KiB.
* If a bus cannot be read or written any more, all its connections fail. The next call to ``open`` opens the bus again.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final, cast

import can
import isotp

from otabench.bench.uds.transport import errors
from otabench.bench.uds.transport.channel import (
    Channel,
    IsoTpConnection,
    resolve_address,
    resolve_functional_address,
    response_timeout,
    single_frame,
    with_bus_fd,
)
from otabench.bench.uds.transport.user_space_bus import UserBus
from otabench.proto.isotp_address import EndAddress
from otabench.proto.process_config import IsoTpConfig

_MIN_BLOCK_SIZE: Final = 8
_SEND_TIMEOUT_S: Final = 10.0
# The report comes from another thread within a millisecond. This ends the wait of a caller whose error has no report.
_REPORT_TIMEOUT_S: Final = 0.2
_MAX_WAIT_FRAMES: Final = 16
"""Bounded, so that an ECU that never stops asking to wait cannot block a request forever."""
_MAX_MESSAGE_BYTES: Final = 4095

_SENDING: Final[dict[type[Exception], type[errors.TransportError]]] = {
    isotp.FlowControlTimeoutError: errors.NoFlowControl,
    isotp.OverflowError: errors.ReceiverOverflow,
    isotp.MaximumWaitFrameReachedError: errors.TooManyWaitFrames,
}
_RECEIVING: Final[dict[type[Exception], type[errors.TransportError]]] = {
    isotp.WrongSequenceNumberError: errors.WrongSequenceNumber,
    isotp.ConsecutiveFrameTimeoutError: errors.ConsecutiveFrameTimeout,
    isotp.InvalidCanDataError: errors.MalformedFrame,
    isotp.ChangingInvalidRXDLError: errors.MalformedFrame,
    isotp.MissingEscapeSequenceError: errors.MalformedFrame,
    isotp.FrameTooLongError: errors.MalformedFrame,
}
_MALFORMED: Final[dict[type[Exception], str]] = {
    isotp.InvalidCanDataError: "a frame that ISO 15765-2 does not define",
    isotp.ChangingInvalidRXDLError: "the frames of one message differ in length",
    isotp.MissingEscapeSequenceError: "a single frame of more than 8 bytes has no escape sequence",
    isotp.FrameTooLongError: "the response is longer than is accepted",
}


class UserConnection(IsoTpConnection):
    """One can-isotp stack on a shared bus."""

    def __init__(self, bus: UserBus, name: str, *, request_id: int, response_id: int, config: IsoTpConfig) -> None:
        super().__init__(f"{name} 0x{request_id:X}")
        self._bus = bus
        self._generation = 0
        self._where = f"{name}, request 0x{request_id:X}, response 0x{response_id:X}"
        address = resolve_address(config, request_id=request_id, response_id=response_id, name=name)
        self._address = _stack_address(address.tester_end)
        self._params = {
            "blocking_send": True,
            "blocksize": config.block_size or _MIN_BLOCK_SIZE,
            "stmin": config.st_min_ms,
            "tx_padding": config.padding,
            "tx_data_min_length": None if config.padding is None else 8,
            "wftmax": _MAX_WAIT_FRAMES,
            "can_fd": config.fd,
            "bitrate_switch": config.fd,
            "tx_data_length": config.frame_bytes(fd=config.fd),
            "max_frame_size": _MAX_MESSAGE_BYTES,
        }
        self._stack: _Stack | None = None
        self._send_error: errors.TransportError | None = None
        self._has_reported = threading.Event()
        self._receive_error: errors.TransportError | None = None

    def open(self) -> UserConnection:
        self.close()
        self._bus.reopen_if_failed()
        self._generation = self._bus.generation
        self._stack = _Stack(self._bus, address=self._address, error_handler=self._on_error, params=self._params)
        self._stack.start()
        # A bus that fails must wake a caller that waits for a response.
        self._bus.wakers.add(self._wake)
        return self

    def close(self) -> None:
        self._bus.wakers.discard(self._wake)
        if self._stack is not None:
            self._stack.stop()
            self._stack = None

    def is_open(self) -> bool:
        # A failed bus counts as open. Otherwise udsoncan would raise a general error; ``specific_send`` raises the precise one.
        return self._stack is not None

    def empty_rxqueue(self) -> None:
        if self._stack is not None:
            self._stack.clear_rx_queue()
        self._receive_error = None

    def specific_send(self, payload: bytes, timeout: float | None = None) -> None:
        assert self._stack is not None
        self._bus.forget_bus_off()
        self._check_bus()
        self._send_error = None
        self._has_reported.clear()
        try:
            self._stack.send(payload, send_timeout=timeout or _SEND_TIMEOUT_S)
        except isotp.BlockingSendTimeout as error:
            # Otherwise the rest of this message would be sent before the next request.
            self._stack.stop_sending()
            self._check_bus()
            raise errors.TransmitQueueFull(f"{self._where}: the message was not sent in time") from error
        except isotp.BlockingSendFailure as error:
            self._check_bus()
            # The stack fails the send call first and reports the reason afterwards, in its own thread.
            self._has_reported.wait(_REPORT_TIMEOUT_S)
            raise self._send_error or errors.TransportError(f"{self._where}: sending failed") from error

    def specific_wait_frame(self, timeout: float | None = None) -> bytes:
        assert self._stack is not None
        received: bytearray | None = self._stack.recv(block=True, timeout=timeout)
        if received:
            return bytes(received)
        self._check_bus()
        if self._receive_error is not None:
            error, self._receive_error = self._receive_error, None
            raise error
        raise response_timeout(f"{self._where}: no answer within {timeout} s")

    def _check_bus(self) -> None:
        if self._generation != self._bus.generation:
            raise errors.InterfaceGone(f"{self._where}: the bus failed and was opened again meanwhile")
        self._bus.check()

    def _on_error(self, error: Exception) -> None:
        """Keep an error, which the stack reports in its own thread, for the waiting caller."""
        if (sending := _SENDING.get(type(error))) is not None:
            self._send_error = sending(f"{self._where}: {sending.text}")
            self._has_reported.set()
        elif (receiving := _RECEIVING.get(type(error))) is not None and self._stack is not None:
            self._receive_error = receiving(f"{self._where}: {_MALFORMED.get(type(error)) or receiving.text}")
            self._wake()

    def _wake(self) -> None:
        """Wake the waiting caller by queueing an empty message.

        ISO-TP cannot carry an empty message, so the caller recognizes it as the signal to look for errors.
        """
        if self._stack is not None:
            self._stack.rx_queue.put(bytearray())


class UserChannel(Channel):
    """A python-can bus with its Notifier."""

    transport = "user"

    def __init__(self, bus: Mapping[str, Any]) -> None:
        self.name = str(bus.get("channel", bus.get("interface", "")))
        self._fd = bool(bus.get("fd", False))
        self._bus = UserBus(bus, name=self.name)

    def connection(self, *, request_id: int, response_id: int, isotp: IsoTpConfig) -> IsoTpConnection:
        config = with_bus_fd(self._fd, isotp)
        return UserConnection(self._bus, self.name, request_id=request_id, response_id=response_id, config=config)

    def send_functional(self, can_id: int, payload: bytes, *, isotp: IsoTpConfig) -> None:
        address = resolve_functional_address(isotp, functional_id=can_id, name=self.name)
        message = can.Message(
            arbitration_id=address.can_id,
            data=single_frame(payload, isotp.padding, prefix=address.prefix),
            is_extended_id=address.is_29_bit,
            is_fd=isotp.fd or self._fd,
            bitrate_switch=isotp.fd or self._fd,
        )
        self._bus.reopen_if_failed()
        self._bus.forget_bus_off()
        self._bus.send(message)
        self._bus.check()

    def close(self) -> None:
        self._bus.close()


class _Stack(isotp.NotifierBasedCanStack):
    """can-isotp's stack, which sends through ``UserBus``.

    With a plain ``can.Bus``, a frame that cannot be sent would end the stack's thread.
    """

    def __init__(self, bus: UserBus, **arguments: Any) -> None:
        super().__init__(bus.bus, bus.notifier, **arguments)
        self.bus = cast(can.BusABC, bus)  # the stack only calls ``send``


def _stack_address(address: EndAddress) -> isotp.AsymmetricAddress:
    modes = isotp.AddressingMode
    return isotp.AsymmetricAddress(
        tx_addr=isotp.Address(modes[address.sent.can_isotp_mode], **address.can_isotp_sending()),
        rx_addr=isotp.Address(modes[address.received.can_isotp_mode], **address.can_isotp_receiving()),
    )
