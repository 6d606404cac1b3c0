"""ISO-TP in user space, by can-isotp, over any python-can interface: where the kernel has none.

One ``can.Bus`` and one ``Notifier`` per channel. ``blocking_send`` makes P2 start when the last frame is out. What the
stack tells its error handler (in its own thread) is mapped to named errors and raised where the caller waits. Interfaces
without back-pressure lose frames where a block has no end, so a block size of 0 becomes 8 here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, Final

import can
import isotp

from bench.gateway.transport import errors
from bench.gateway.transport.channel import (
    Channel,
    IsoTpConnection,
    addressed,
    functionally_addressed,
    no_answer,
    single_frame,
    with_fd_of,
)
from proto.isotp_address import ConnectionAddress, FrameAddress
from proto.process_config import IsoTpConfig

_LEAST_BLOCK_SIZE: Final = 8
_SEND_TIMEOUT_S: Final = 10.0
_TOLD_WITHIN_S: Final = 0.2
_MOST_WAIT_FRAMES: Final = 16
_NOTIFIER_TIMEOUT_S: Final = 0.1
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


class _Supervisor(can.Listener):
    """Keeps the Notifier's thread alive on an error of the bus, and remembers the error."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self._pause = threading.Event()

    def on_message_received(self, msg: can.Message) -> None:
        self.error = None

    def on_error(self, exc: Exception) -> None:
        self.error = exc
        self._pause.wait(0.2)  # a bus that is gone fails at once and for ever

    def stop(self) -> None:
        self._pause.set()


class UserConnection(IsoTpConnection):
    """One can-isotp stack on a shared bus."""

    def __init__(self, channel: UserChannel, *, request_id: int, response_id: int, config: IsoTpConfig) -> None:
        super().__init__(f"{channel.name} 0x{request_id:X}")
        self._channel = channel
        self._where = f"{channel.name}, request 0x{request_id:X}, response 0x{response_id:X}"
        self._address = _stack_address(
            addressed(config, request_id=request_id, response_id=response_id, name=channel.name)
        )
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
        self._stack: isotp.NotifierBasedCanStack | None = None
        self._send_error: errors.TransportError | None = None
        self._told = threading.Event()
        self._receive_error: errors.TransportError | None = None

    def open(self) -> UserConnection:
        self.close()
        self._channel.forget_error()
        self._stack = isotp.NotifierBasedCanStack(
            self._channel.bus,
            self._channel.notifier,
            address=self._address,
            error_handler=self._on_error,
            params=self._params,
        )
        self._stack.start()
        return self

    def close(self) -> None:
        if self._stack is not None:
            self._stack.stop()
            self._stack = None

    def is_open(self) -> bool:
        return self._stack is not None

    def empty_rxqueue(self) -> None:
        if self._stack is not None:
            self._stack.clear_rx_queue()
        self._receive_error = None

    def specific_send(self, payload: bytes, timeout: float | None = None) -> None:
        assert self._stack is not None
        self._channel.check()
        self._send_error = None
        self._told.clear()
        try:
            self._stack.send(payload, send_timeout=timeout or _SEND_TIMEOUT_S)
        except isotp.BlockingSendTimeout as error:
            self._stack.stop_sending()
            raise errors.TransmitQueueFull(f"{self._where}: the message was not sent in time") from error
        except isotp.BlockingSendFailure as error:
            self._channel.check()
            self._told.wait(_TOLD_WITHIN_S)  # the stack fails the message first and says why afterwards
            raise self._send_error or errors.TransportError(f"{self._where}: sending failed") from error

    def specific_wait_frame(self, timeout: float | None = None) -> bytes:
        assert self._stack is not None
        received: bytearray | None = self._stack.recv(block=True, timeout=timeout)
        if received:
            return bytes(received)
        self._channel.check()
        if self._receive_error is not None:
            error, self._receive_error = self._receive_error, None
            raise error
        raise no_answer(f"{self._where}: no answer within {timeout} s")

    def _on_error(self, error: Exception) -> None:
        if type(error) in _SENDING:
            kind, text = _SENDING[type(error)]
            self._send_error = kind(f"{self._where}: {text}")
            self._told.set()
        elif type(error) in _RECEIVING and self._stack is not None:
            kind, text = _RECEIVING[type(error)]
            self._receive_error = kind(f"{self._where}: {text}")
            self._stack.rx_queue.put(bytearray())  # wakes the waiting caller: an ISO-TP message is never empty


class UserChannel(Channel):
    """A python-can bus with its Notifier."""

    transport = "user"

    def __init__(self, bus: Mapping[str, Any]) -> None:
        self.name = str(bus.get("channel", bus.get("interface", "")))
        self._fd = bool(bus.get("fd", False))
        try:
            self.bus = can.Bus(**{key: value for key, value in bus.items() if key != "bitrate" or _takes_bitrate(bus)})
        except (can.CanError, OSError, ValueError, TypeError, NotImplementedError) as error:
            raise errors.ChannelUnavailable(
                f"{self.name}: cannot be opened as interface {bus.get('interface')}: {error}: is it there? "
                "(socketcan: setup/vcan.sh, or run by setup/with-can)"
            ) from error
        self._supervisor = _Supervisor()
        self.notifier = can.Notifier(self.bus, [self._supervisor], timeout=_NOTIFIER_TIMEOUT_S)

    def check(self) -> None:
        """Raises what the bus's receiving thread met, once: a bus that stays away is met again.

        Raises:
            InterfaceDown: the bus could not be read.
        """
        error, self._supervisor.error = self._supervisor.error, None
        if error is not None:
            raise errors.InterfaceDown(f"{self.name}: {error}") from error

    def forget_error(self) -> None:
        """What was met before a connection is opened is not its concern."""
        self._supervisor.error = None

    def connection(self, *, request_id: int, response_id: int, isotp: IsoTpConfig) -> IsoTpConnection:
        config = with_fd_of(self._fd, isotp)
        return UserConnection(self, request_id=request_id, response_id=response_id, config=config)

    def send_functional(self, can_id: int, payload: bytes, *, isotp: IsoTpConfig) -> None:
        address = functionally_addressed(isotp, functional_id=can_id, name=self.name)
        message = can.Message(
            arbitration_id=address.can_id,
            data=single_frame(payload, isotp.padding, prefix=address.prefix),
            is_extended_id=address.is_29_bit,
            is_fd=isotp.fd or self._fd,
            bitrate_switch=isotp.fd or self._fd,
        )
        deadline = time.monotonic() + 1.0
        while True:
            try:
                self.bus.send(message)
                return
            except can.CanError as error:
                if time.monotonic() > deadline:
                    raise errors.TransmitQueueFull(
                        f"{self.name}, functional request 0x{address.can_id:X}: {error}"
                    ) from error
            time.sleep(0.002)

    def close(self) -> None:
        self.notifier.stop()
        self.bus.shutdown()


def _stack_address(address: ConnectionAddress) -> isotp.AsymmetricAddress:
    request, response = address.request, address.response
    return isotp.AsymmetricAddress(
        tx_addr=isotp.Address(_mode(request), txid=request.can_id, target_address=request.extension, tx_only=True),
        rx_addr=isotp.Address(_mode(response), rxid=response.can_id, source_address=response.extension, rx_only=True),
    )


def _mode(address: FrameAddress) -> isotp.AddressingMode:
    modes = isotp.AddressingMode
    if address.extension is None:
        return modes.Normal_29bits if address.is_29_bit else modes.Normal_11bits
    return modes.Extended_29bits if address.is_29_bit else modes.Extended_11bits


def _takes_bitrate(bus: Mapping[str, Any]) -> bool:
    return bus.get("interface") not in ("udp_multicast", "virtual", "socketcan")
