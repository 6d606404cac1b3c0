"""udsoncan for tests: a ``Client`` over the bench's own ISO-TP, and plain ISO-TP for those who speak in bytes.

Decides the client's configuration: the ECU's secret is its security algorithm, records of the profile's identifiers are decoded
(text, session, slot table), any other is bytes; P2 and P2* are the ECU's own. A negative response is udsoncan's
``NegativeResponseException``.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final

from udsoncan import DidCodec
from udsoncan.client import Client
from udsoncan.configs import default_client_config
from udsoncan.exceptions import TimeoutException

from bench.errors import WaitTimeout
from bench.gateway.config import EcuEndpoint
from bench.gateway.flashing import slot_table
from bench.gateway.transport import IsoTpConnection, open_channel

__all__ = ["BytesCodec", "Client", "IsoTpLink", "SlotTableCodec", "TextCodec", "client", "connection", "key_of"]

_REQUEST_TIMEOUT_S: Final = 60.0
_P2_MARGIN_S: Final = 1.0
"""On top of the ECU's P2: what the bus and a busy machine take."""
_TEXT: Final = (0xF180, 0xF187, 0xF189, 0xF18C, 0xF190, 0xF191, 0xF195, 0xF1A0)


class BytesCodec(DidCodec):  # type: ignore[misc, unused-ignore]
    """A record as it is."""

    def encode(self, *did_value: Any) -> bytes:
        return bytes(did_value[0])

    def decode(self, did_payload: bytes) -> Any:
        return did_payload

    def __len__(self) -> int:
        raise DidCodec.ReadAllRemainingData


class TextCodec(BytesCodec):
    """ASCII of any length."""

    def encode(self, *did_value: Any) -> bytes:
        return str(did_value[0]).encode("ascii")

    def decode(self, did_payload: bytes) -> Any:
        return did_payload.decode("ascii", errors="replace")


class SlotTableCodec(BytesCodec):
    """F1A1 as a ``SlotTable``."""

    def decode(self, did_payload: bytes) -> Any:
        return slot_table.parse(did_payload)


def key_of(secret_hex: str, seed: bytes) -> bytes:
    """The key of a seed (docs/contracts.md): HMAC-SHA-256 with the ECU's secret."""
    return hmac.new(bytes.fromhex(secret_hex), seed, hashlib.sha256).digest()


class IsoTpLink:
    """ISO-TP to one ECU: whole messages, as bytes."""

    def __init__(self, connection: IsoTpConnection) -> None:
        self._connection = connection

    def __enter__(self) -> IsoTpLink:
        self._connection.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def send(self, payload: bytes) -> None:
        """Sends one message; returns once its last frame is out.

        Raises:
            TransportError: it could not be sent.
        """
        self._connection.specific_send(payload)

    def recv(self, *, timeout_s: float = 1.0) -> bytes:
        """The next message.

        Raises:
            WaitTimeout: none came.
            TransportError: it was broken on its way.
        """
        try:
            answer = self._connection.specific_wait_frame(timeout=timeout_s)
        except TimeoutException as error:
            raise WaitTimeout(str(error)) from error
        return answer or b""

    def request(self, payload: bytes, *, timeout_s: float = 1.0) -> bytes:
        """Sends one message and gives the next; what came before is dropped.

        Raises:
            WaitTimeout: none came.
            TransportError: one of both was broken on its way.
        """
        self._connection.empty_rxqueue()
        self.send(payload)
        return self.recv(timeout_s=timeout_s)


@contextmanager
def connection(endpoint: EcuEndpoint) -> Iterator[IsoTpConnection]:
    """A connection to one ECU on a channel of its own, not yet open.

    Raises:
        ChannelUnavailable: the bus cannot be opened.
    """
    channel = open_channel(endpoint.bus, endpoint.isotp)
    try:
        made = channel.connection(
            request_id=endpoint.request_id, response_id=endpoint.response_id, isotp=endpoint.isotp
        )
        try:
            yield made
        finally:
            made.close()
    finally:
        channel.close()


@contextmanager
def client(endpoint: EcuEndpoint) -> Iterator[Client]:
    """An open udsoncan client of one ECU.

    Raises:
        TransportError: the bus cannot be opened.
    """
    secret = endpoint.security_secret

    def security_algo(level: int, seed: bytes, params: Any) -> bytes:
        return key_of(secret, seed)

    text, slots, raw = TextCodec(), SlotTableCodec(), BytesCodec()
    identifiers: dict[Any, Any] = {**dict.fromkeys(_TEXT, text), 0xF186: raw, 0xF1A1: slots, "default": raw}
    config: dict[str, Any] = dict(default_client_config)
    config.update(
        security_algo=security_algo,
        data_identifiers=identifiers,
        request_timeout=_REQUEST_TIMEOUT_S,
        use_server_timing=False,
        p2_timeout=_P2_MARGIN_S,
        p2_star_timeout=5.0 + _P2_MARGIN_S,
        server_address_format=32,
        server_memorysize_format=32,
    )
    with connection(endpoint) as below, Client(below, config=config) as opened:  # type: ignore[arg-type]
        yield opened
