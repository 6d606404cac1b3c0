"""ISO-TP in user space, by can-isotp, over any python-can interface: where the kernel has none.

One ``can.Bus`` and one ``Notifier`` per channel (``user_bus``). ``blocking_send`` makes P2 start when the last frame is out. What the
stack tells its error handler (in its own thread) is mapped to named errors and raised where the caller waits. Interfaces
without back-pressure lose frames where a block has no end, so a block size of 0 becomes 8 here.

A bus that cannot be read or written any more (``user_bus``) is a named fault to all its connections; each that is opened afterwards
opens the bus again, with growing pauses.
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
    addressed,
    functionally_addressed,
    no_answer,
    single_frame,
    with_fd_of,
)
from otabench.bench.uds.transport.user_bus import UserBus
from otabench.proto.isotp_address import EndAddress
from otabench.proto.process_config import IsoTpConfig

_LEAST_BLOCK_SIZE: Final = 8
_SEND_TIMEOUT_S: Final = 10.0
_TOLD_WITHIN_S: Final = 0.2
_MOST_WAIT_FRAMES: Final = 16
_MOST_MESSAGE_BYTES: Final = 4095

_SENDING: Final[dict[type[Exception], tuple[type[errors.TransportError], str]]] = {
    isotp.FlowControlTimeoutError: (
        errors.NoFlowControl,
        "the ECU sent no flow control: it is off, or listens to another identifier",
    ),
    isotp.OverflowError: (
        errors.ReceiverOverflow,
        "the ECU cannot take a message of that length (flow status overflow)",
    ),
    isotp.MaximumWaitFrameReachedError: (errors.TooManyWaitFrames, "the ECU went on asking to wait"),
}
_RECEIVING: Final[dict[type[Exception], tuple[type[errors.TransportError], str]]] = {
    isotp.WrongSequenceNumberError: (
        errors.WrongSequenceNumber,
        "a frame of the answer was lost (wrong sequence number)",
    ),
    isotp.ConsecutiveFrameTimeoutError: (errors.ConsecutiveFrameTimeout, "the ECU stopped in the middle of its answer"),
    isotp.InvalidCanDataError: (errors.MalformedFrame, "a frame is none of ISO 15765-2"),
    isotp.ChangingInvalidRXDLError: (errors.MalformedFrame, "the frames of one message differ in length"),
    isotp.MissingEscapeSequenceError: (errors.MalformedFrame, "a long single frame has no escape sequence"),
    isotp.FrameTooLongError: (errors.MalformedFrame, "the answer is longer than is taken"),
}


class UserConnection(IsoTpConnection):
    """One can-isotp stack on a shared bus."""

    def __init__(self, bus: UserBus, name: str, *, request_id: int, response_id: int, config: IsoTpConfig) -> None:
        super().__init__(f"{name} 0x{request_id:X}")
        self._bus = bus
        self._generation = 0
        self._where = f"{name}, request 0x{request_id:X}, response 0x{response_id:X}"
        address = addressed(config, request_id=request_id, response_id=response_id, name=name)
        self._address = _stack_address(address.tester_end)
        self._params = {
            "blocking_send": True,
            "blocksize": config.block_size or _LEAST_BLOCK_SIZE,
            "stmin": config.st_min_ms,
            "tx_padding": config.padding,
            "tx_data_min_length": None if config.padding is None else 8,
            "wftmax": _MOST_WAIT_FRAMES,
            "can_fd": config.fd,
            "bitrate_switch": config.fd,
            "tx_data_length": config.frame_bytes(fd=config.fd),
            "max_frame_size": _MOST_MESSAGE_BYTES,
        }
        self._stack: _Stack | None = None
        self._send_error: errors.TransportError | None = None
        self._told = threading.Event()
        self._receive_error: errors.TransportError | None = None

    def open(self) -> UserConnection:
        self.close()
        self._bus.reopen_if_failed()
        self._generation = self._bus.generation
        self._stack = _Stack(self._bus, address=self._address, error_handler=self._on_error, params=self._params)
        self._stack.start()
        self._bus.wakers.add(self._wake)
        return self

    def close(self) -> None:
        self._bus.wakers.discard(self._wake)
        if self._stack is not None:
            self._stack.stop()
            self._stack = None

    def is_open(self) -> bool:
        return self._stack is not None  # a failed one too: udsoncan has no name for it, ``specific_send`` has

    def empty_rxqueue(self) -> None:
        if self._stack is not None:
            self._stack.clear_rx_queue()
        self._receive_error = None

    def specific_send(self, payload: bytes, timeout: float | None = None) -> None:
        assert self._stack is not None
        self._bus.forget_bus_off()
        self._check_bus()
        self._send_error = None
        self._told.clear()
        try:
            self._stack.send(payload, send_timeout=timeout or _SEND_TIMEOUT_S)
        except isotp.BlockingSendTimeout as error:
            self._stack.stop_sending()
            self._check_bus()
            raise errors.TransmitQueueFull(f"{self._where}: the message was not sent in time") from error
        except isotp.BlockingSendFailure as error:
            self._check_bus()
            self._told.wait(_TOLD_WITHIN_S)  # the stack fails the message first and says why afterwards
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
        raise no_answer(f"{self._where}: no answer within {timeout} s")

    def _check_bus(self) -> None:
        if self._generation != self._bus.generation:
            raise errors.InterfaceGone(f"{self._where}: the bus failed and was opened again meanwhile")
        self._bus.check()

    def _on_error(self, error: Exception) -> None:
        if type(error) in _SENDING:
            kind, text = _SENDING[type(error)]
            self._send_error = kind(f"{self._where}: {text}")
            self._told.set()
        elif type(error) in _RECEIVING and self._stack is not None:
            kind, text = _RECEIVING[type(error)]
            self._receive_error = kind(f"{self._where}: {text}")
            self._wake()

    def _wake(self) -> None:
        """Wake the waiting caller: an ISO-TP message is never empty."""
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
        config = with_fd_of(self._fd, isotp)
        return UserConnection(self._bus, self.name, request_id=request_id, response_id=response_id, config=config)

    def send_functional(self, can_id: int, payload: bytes, *, isotp: IsoTpConfig) -> None:
        address = functionally_addressed(isotp, functional_id=can_id, name=self.name)
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
    """can-isotp's, but that a frame which cannot be sent does not end its thread."""

    def __init__(self, bus: UserBus, **arguments: Any) -> None:
        super().__init__(bus.bus, bus.notifier, **arguments)
        self.bus = cast(can.BusABC, bus)  # only ``send`` is asked of it


def _stack_address(address: EndAddress) -> isotp.AsymmetricAddress:
    modes = isotp.AddressingMode
    return isotp.AsymmetricAddress(
        tx_addr=isotp.Address(modes[address.sent.can_isotp_mode], **address.can_isotp_sending()),
        rx_addr=isotp.Address(modes[address.received.can_isotp_mode], **address.can_isotp_receiving()),
    )
