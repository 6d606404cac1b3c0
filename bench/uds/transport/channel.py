"""One bus as the tester uses it: a connection per ECU, and functional requests to all of them.

Decides which ISO-TP implementation a bus gets. ``auto``: the kernel's where the interface is socketcan and the kernel has
CAN_ISOTP, else can-isotp in user space (any python-can interface). It opens a channel only when it is asked to.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from udsoncan.connections import BaseConnection
from udsoncan.exceptions import TimeoutException

from otabench.bench.uds.transport.errors import ChannelUnavailable
from otabench.proto.isotp_address import ConnectionAddress, FrameAddress, connection_address, functional_address
from otabench.proto.process_config import IsoTpConfig


class IsoTpConnection(BaseConnection, ABC):  # type: ignore[misc, unused-ignore]
    """Requests to and answers from one ECU. ``open`` may be called again after ``close``.

    ``specific_send`` returns when the last frame has been handed to the bus, so that P2 starts where it should.
    ``specific_wait_frame`` raises udsoncan's ``TimeoutException`` where nothing came in time. Both raise ``TransportError``.
    """


class Channel(ABC):
    """One open bus, shared by the connections to its ECUs."""

    name: str
    """The bus as error messages call it, e.g. "vcan0"."""
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
        """Close the bus; its connections are closed by those who opened them."""


def single_frame(payload: bytes, padding: int | None, *, prefix: bytes = b"") -> bytes:
    """Return the payload as an ISO 15765-2 single frame, padded to 8 bytes where a padding byte is given.

    Args:
        prefix: the address in front, with extended addressing.

    Raises:
        ValueError: empty, or longer than a single frame carries.
    """
    most = 7 - len(prefix)
    if not 1 <= len(payload) <= most:
        raise ValueError(f"a functional request has 1 to {most} bytes, not {len(payload)}")
    frame = prefix + bytes((len(payload),)) + payload
    return frame if padding is None else frame.ljust(8, bytes((padding,)))


def addressed(isotp: IsoTpConfig, *, request_id: int, response_id: int, name: str) -> ConnectionAddress:
    """Return the addresses of a connection. Raises ChannelUnavailable where identifiers and addresses contradict each other."""
    try:
        return connection_address(isotp, request_id=request_id, response_id=response_id)
    except ValueError as error:
        raise ChannelUnavailable(f"{name}: {error}") from error


def functionally_addressed(isotp: IsoTpConfig, *, functional_id: int, name: str) -> FrameAddress:
    """Return the address of functional requests. Raises ChannelUnavailable, as ``addressed``."""
    try:
        return functional_address(isotp, functional_id=functional_id)
    except ValueError as error:
        raise ChannelUnavailable(f"{name}: {error}") from error


def with_fd_of(bus_is_fd: bool, isotp: IsoTpConfig) -> IsoTpConfig:
    """Return the parameters as they hold on a bus: on a CAN FD bus ISO-TP uses FD frames, whatever else is said."""
    return isotp.model_copy(update={"fd": True}) if bus_is_fd else isotp


def no_answer(text: str) -> TimeoutException:
    """Return what udsoncan expects of a connection where nothing came in time."""
    return TimeoutException(text)  # type: ignore[no-untyped-call]
