"""The interface of a bus for the tester: one connection per ECU, and functional requests to all ECUs.

``kernel`` and ``user`` implement it, ``opening`` chooses between them. What both need is here: single frames, addresses, and the time
for which a full transmit queue is waited for.
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
"""How long a frame is offered again while the transmit queue is full (ENOBUFS)."""
QUEUE_FULL_PAUSE_S: Final = 0.002


class IsoTpConnection(BaseConnection, ABC):  # type: ignore[misc, unused-ignore]
    """Requests to and responses from one ECU. ``open`` may be called again after ``close``.

    ``specific_send`` returns when the last frame was handed to the bus: P2 counts from the end of the request (ISO 14229-2).
    ``specific_wait_frame`` raises udsoncan's ``TimeoutException`` if nothing came in time. Both raise ``TransportError``.
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
        """Send one single frame to all ECUs: at most 7 bytes of payload, 6 with extended addressing. Safe to call from
        another thread.

        Raises:
            TransportError: it could not be sent.
            ValueError: the payload does not fit a single frame.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the bus. Callers close the connections that they opened."""


def single_frame(payload: bytes, padding: int | None, *, prefix: bytes = b"") -> bytes:
    """Return the payload as an ISO 15765-2 single frame, padded to 8 bytes if a padding byte is given.

    Args:
        prefix: the address in front, with extended addressing.

    Raises:
        ValueError: empty, or longer than a single frame can carry.
    """
    max_bytes = 7 - len(prefix)
    if not 1 <= len(payload) <= max_bytes:
        raise ValueError(f"a functional request has 1 to {max_bytes} bytes, not {len(payload)}")
    frame = prefix + bytes((len(payload),)) + payload
    return frame if padding is None else frame.ljust(8, bytes((padding,)))


def addressed(isotp: IsoTpConfig, *, request_id: int, response_id: int, name: str) -> ConnectionAddress:
    """Return the addresses of a connection. Raise ChannelUnavailable if identifiers and addresses contradict each other."""
    try:
        return connection_address(isotp, request_id=request_id, response_id=response_id)
    except ValueError as error:
        raise ChannelUnavailable(f"{name}: {error}") from error


def functionally_addressed(isotp: IsoTpConfig, *, functional_id: int, name: str) -> FrameAddress:
    """Return the address of functional requests. Raise ChannelUnavailable, as ``addressed``."""
    try:
        return functional_address(isotp, functional_id=functional_id)
    except ValueError as error:
        raise ChannelUnavailable(f"{name}: {error}") from error


def with_fd_of(bus_is_fd: bool, isotp: IsoTpConfig) -> IsoTpConfig:
    """Return the parameters for a bus: on a CAN FD bus ISO-TP uses FD frames, whatever the parameters contain."""
    return isotp.model_copy(update={"fd": True}) if bus_is_fd else isotp


def no_answer(text: str) -> TimeoutException:
    """Return the exception that udsoncan expects from a connection if nothing came in time."""
    return TimeoutException(text)  # type: ignore[no-untyped-call]
