"""The abstract interface of a bus for the tester: one connection per ECU, and functional requests to all ECUs.

``kernel`` and ``user_space`` implement the interface, and ``opening`` chooses between them. This module also holds what both need: single
frames, addresses, and the limit for waiting on a full transmit queue.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from udsoncan.connections import BaseConnection
from udsoncan.exceptions import TimeoutException

from otabench.bench.uds.transport.errors import ChannelUnavailable
from otabench.proto.isotp_address import ConnectionAddress, FrameAddress, connection_address, functional_address
from otabench.proto.process_config import IsoTpConfig

QUEUE_FULL_TIMEOUT_S: Final = 1.0
"""How long to offer a frame again while the transmit queue is full (ENOBUFS).

A full queue is normal for a moment: the default txqueuelen of a CAN interface is 10 frames.
"""
QUEUE_FULL_PAUSE_S: Final = 0.002


class IsoTpConnection(BaseConnection, ABC):  # type: ignore[misc, unused-ignore]
    """A connection that carries requests to one ECU and its responses. ``open`` may be called again after ``close``.

    ``specific_send`` returns when the last frame was handed to the bus, because P2 counts from the end of the request (ISO 14229-2).
    ``specific_wait_frame`` raises udsoncan's ``TimeoutException`` if no message arrives in time. Both raise ``TransportError`` otherwise.
    """


class Channel(ABC):
    """One open bus, shared by the connections to its ECUs."""

    name: str
    """The bus in error messages, e.g. "vcan0"."""
    transport: str
    """"kernel" or "user"."""

    @abstractmethod
    def connection(self, *, request_id: int, response_id: int, isotp: IsoTpConfig) -> IsoTpConnection:
        """Return a connection to one ECU, not yet open."""

    @abstractmethod
    def send_functional(self, can_id: int, payload: bytes, *, isotp: IsoTpConfig) -> None:
        """Send a single frame to all ECUs. This method may be called from any thread.

        ISO 15765-2 allows functional requests only as single frames: their payload has at most 7 bytes, or 6 with extended addressing.

        Raises:
            TransportError: the frame could not be sent.
            ValueError: the payload does not fit a single frame.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the bus. Callers close their own connections first."""


def single_frame(payload: bytes, padding: int | None, *, prefix: bytes = b"") -> bytes:
    """Return the payload as an ISO 15765-2 single frame, padded to 8 bytes if a padding byte is given.

    Args:
        prefix: the address byte in front of the payload, with extended addressing.

    Raises:
        ValueError: the payload is empty, or longer than a single frame can carry.
    """
    max_bytes = 7 - len(prefix)
    if not 1 <= len(payload) <= max_bytes:
        raise ValueError(f"a functional request has 1 to {max_bytes} bytes, not {len(payload)}")
    frame = prefix + bytes((len(payload),)) + payload
    return frame if padding is None else frame.ljust(8, bytes((padding,)))


def resolve_address(isotp: IsoTpConfig, *, request_id: int, response_id: int, name: str) -> ConnectionAddress:
    """Return the addresses of a connection.

    Raises:
        ChannelUnavailable: identifiers and addresses contradict each other.
    """
    try:
        return connection_address(isotp, request_id=request_id, response_id=response_id)
    except ValueError as error:
        raise ChannelUnavailable(f"{name}: {error}") from error


def resolve_functional_address(isotp: IsoTpConfig, *, functional_id: int, name: str) -> FrameAddress:
    """Return the address of functional requests.

    Raises:
        ChannelUnavailable: identifier and addresses contradict each other.
    """
    try:
        return functional_address(isotp, functional_id=functional_id)
    except ValueError as error:
        raise ChannelUnavailable(f"{name}: {error}") from error


def with_bus_fd(bus_is_fd: bool, isotp: IsoTpConfig) -> IsoTpConfig:
    """Return the ISO-TP parameters for a bus. On a CAN FD bus, ISO-TP always uses FD frames."""
    return isotp.model_copy(update={"fd": True}) if bus_is_fd else isotp


def response_timeout(text: str) -> TimeoutException:
    """Return the exception that udsoncan expects from a connection when no message arrived in time."""
    return TimeoutException(text)  # type: ignore[no-untyped-call]
