"""ISO-TP as the ECU uses it: requests in (physical and functional), responses out. One interface, two implementations.

* ``kernel.KernelTransport``: the kernel's CAN_ISOTP socket.
* ``user.UserTransport``: can-isotp over any python-can bus.

``opening.open_transport`` chooses between them.

Rules: errors of the line (no flow control, wrong sequence number, timeout) are logged, and the transport goes on. A bus that goes away
raises ``TransportDown``, after which the caller opens it again. Functional requests are single frames. Nothing here polls: ``receive``
sleeps until a request, a wake-up or its deadline.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
from typing import Final, Protocol

from otabench.ecu_firmware_sim.errors import BusUnavailable, ConfigError
from otabench.proto.isotp_address import ConnectionAddress, FrameAddress, connection_address, functional_address
from otabench.proto.process_config import EcuConfig

Received = tuple[bytes, bool]
"""A request, and whether it was functionally addressed."""

SEND_TIMEOUT_S: Final = 2.0
"""The time limit of a response. Without flow control from the tester, it ends after N_Bs (1 s) already."""


class TransportDown(Exception):
    """The bus is gone and must be opened again."""


class Waker:
    """A means to end a ``receive`` from another thread: a pipe, which can be selected together with sockets."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._reader

    def set(self) -> None:
        # A full pipe means that a wake-up is pending already.
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)


class Transport(Protocol):
    """One end of an ISO-TP connection, and the functional identifier."""

    def receive(self, timeout_s: float | None) -> Received | None:
        """Return the next request, or None at a wake-up or the timeout. Raises TransportDown."""
        ...

    def is_receiving(self) -> bool:
        """Return whether the first frame of a request has arrived and the last one has not. Raises TransportDown."""
        ...

    def send(self, response: bytes) -> None:
        """Send a response. If the tester does not accept it, it is logged and lost. Raises TransportDown."""
        ...

    def close(self) -> None: ...


class NoTransport:
    """The transport of an ECU without power, or while it boots: deaf and mute."""

    def __init__(self, waker: Waker) -> None:
        self._waker = waker

    def receive(self, timeout_s: float | None) -> Received | None:
        select.select([self._waker], [], [], timeout_s)
        self._waker.clear()
        return None

    def is_receiving(self) -> bool:
        return False

    def send(self, response: bytes) -> None:
        # A hanging image closes the connection while an operation may be pending: its response has nowhere to go.
        raise TransportDown(f"{len(response)} bytes were to be sent while the ECU was silent")

    def close(self) -> None:
        return None


def uses_fd(config: EcuConfig) -> bool:
    """Return whether ISO-TP runs in CAN FD frames."""
    return config.isotp.fd or bool(config.bus.get("fd"))


def addresses(config: EcuConfig) -> tuple[ConnectionAddress, FrameAddress]:
    """Return the addresses of the physical connection and of functional requests. Raises ConfigError."""
    try:
        return (
            connection_address(config.isotp, request_id=config.request_id, response_id=config.response_id),
            functional_address(config.isotp, functional_id=config.functional_id),
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def functional_request(data: bytes, address: FrameAddress) -> Received | None:
    """Return the request in a single frame (ISO 15765-2: length in the low nibble or, with CAN FD, in the second byte); None: no request.

    With extended addressing the receiver's address is in front; frames to other receivers are ignored.
    """
    # The second form exists only in frames longer than 8 bytes: in a classic frame, a length of 0 is an error.
    is_long = len(data) > 8
    content = address.content_of(data)
    # High nibble: 0 is a single frame. Multi-frame messages are physical only (ISO 15765-2).
    if not content or content[0] >> 4:
        return None
    length, start = content[0] & 0x0F, 1
    if length == 0 and is_long and len(content) > 1:
        length, start = content[1], 2
    if not 0 < length <= len(content) - start:
        return None
    return content[start : start + length], True


def unavailable(channel: str, error: Exception) -> BusUnavailable:
    """Return the error of a bus that cannot be opened, with the remedy where the cause is known."""
    # python-can wraps some OSErrors and keeps their number under another name, or in the text only.
    number = getattr(error, "errno", None) or getattr(error, "error_code", None)
    if number in (errno.ENODEV, errno.ENXIO) or "No such device" in str(error):
        return BusUnavailable(f"{channel}: no such interface: run setup/vcan.sh or setup/with-can")
    if number == errno.EAFNOSUPPORT or "not supported by protocol" in str(error):
        return BusUnavailable("this kernel has no CAN: run setup/vcan.sh or setup/with-can")
    return BusUnavailable(f"{channel}: the CAN interface cannot be opened: {error}")
