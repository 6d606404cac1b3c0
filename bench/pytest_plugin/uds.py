"""udsoncan for tests: a ``Client`` over the bench's own ISO-TP, and plain ISO-TP for tests that send bytes.

The client is configured as follows. Keys come from the ECU's security algorithm. Records of the profile's identifiers are decoded
(text, session, slot table); all others are bytes. P2 and P2* are the profile's until the ECU reports its own with 50 xx, and again
after a reset, each with the profile's margin. A negative response is udsoncan's ``NegativeResponseException``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final

from udsoncan import DidCodec
from udsoncan.client import Client
from udsoncan.configs import default_client_config
from udsoncan.exceptions import TimeoutException

from otabench.bench.errors import BenchError, WaitTimeout
from otabench.bench.uds import flash_profiles, slot_table
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.profile import Timing
from otabench.bench.uds.transport import IsoTpConnection, open_channel
from otabench.proto import security_algorithm
from otabench.proto.security_algorithm import AlgorithmError, SecurityAlgorithm

__all__ = ["BytesCodec", "Client", "IsoTpLink", "SlotTableCodec", "TextCodec", "client", "connection", "key_of"]

_REQUEST_TIMEOUT_S: Final = 60.0
_TEXT: Final = (0xF180, 0xF187, 0xF189, 0xF18C, 0xF190, 0xF191, 0xF195, 0xF1A0)


class BytesCodec(DidCodec):  # type: ignore[misc, unused-ignore]
    """The bytes of a record, unchanged."""

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


def key_of(endpoint: EcuEndpoint, seed: bytes, *, level: int = 1) -> bytes:
    """Return the key of a seed, by the ECU's security algorithm and secret.

    Args:
        endpoint: the ECU.
        seed: the seed that the ECU sent.
        level: the level of the request for the seed.

    Raises:
        BenchError: the algorithm cannot be used.
    """
    return _algorithm(endpoint).key_for(seed, level=level)


def _algorithm(endpoint: EcuEndpoint) -> SecurityAlgorithm:
    try:
        return security_algorithm.load(endpoint.security_algorithm, secret=bytes.fromhex(endpoint.security_secret))
    except AlgorithmError as error:
        raise BenchError(f"{endpoint.name}: {error}") from error


class _TimedClient(Client):
    """udsoncan's client with the profile's and the ECU's P2 and P2*, and a margin on both."""

    def __init__(self, connection: IsoTpConnection, *, config: dict[str, Any], timing: Timing) -> None:
        super().__init__(connection, config=config)  # type: ignore[arg-type]
        self._timing = timing
        self._wait(timing.p2_s, timing.p2_star_s)

    def change_session(self, newsession: int) -> Any:
        response = super().change_session(newsession)
        timing = response.service_data if response is not None else None
        if timing is not None and timing.p2_server_max is not None and timing.p2_star_server_max is not None:
            self._wait(timing.p2_server_max, timing.p2_star_server_max)
        return response

    def ecu_reset(self, reset_type: int) -> Any:
        response = super().ecu_reset(reset_type)
        self._wait(self._timing.p2_s, self._timing.p2_star_s)
        return response

    def _wait(self, p2_s: float, p2_star_s: float) -> None:
        self.session_timing.p2_server_max = p2_s + self._timing.p2_margin_s
        self.session_timing.p2_star_server_max = p2_star_s + self._timing.p2_margin_s


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
        """Send one message; return once its last frame is out.

        Raises:
            TransportError: it could not be sent.
        """
        self._connection.specific_send(payload)

    def recv(self, *, timeout_s: float = 1.0) -> bytes:
        """Return the next message.

        Raises:
            WaitTimeout: none came.
            TransportError: it was not transmitted whole.
        """
        try:
            answer = self._connection.specific_wait_frame(timeout=timeout_s)
        except TimeoutException as error:
            raise WaitTimeout(str(error)) from error
        return answer or b""

    def request(self, payload: bytes, *, timeout_s: float = 1.0) -> bytes:
        """Send one message and return the next. Messages received earlier are dropped.

        Raises:
            WaitTimeout: none came.
            TransportError: one of the two was not transmitted whole.
        """
        self._connection.empty_rxqueue()
        self.send(payload)
        return self.recv(timeout_s=timeout_s)


@contextmanager
def connection(endpoint: EcuEndpoint) -> Iterator[IsoTpConnection]:
    """Return a connection to one ECU on a channel of its own, not yet open.

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
    """Yield an open udsoncan client of one ECU.

    Raises:
        BenchError: its security algorithm cannot be used.
        FlashError: its profile cannot be read.
        TransportError: the bus cannot be opened.
    """
    algorithm = _algorithm(endpoint)

    def security_algo(level: int, seed: bytes, params: Any) -> bytes:
        # A test may name a level by either of its two numbers.
        return algorithm.key_for(seed, level=level - 1 + level % 2)

    text, slots, raw = TextCodec(), SlotTableCodec(), BytesCodec()
    identifiers: dict[Any, Any] = {**dict.fromkeys(_TEXT, text), 0xF186: raw, 0xF1A1: slots, "default": raw}
    config: dict[str, Any] = dict(default_client_config)
    config.update(
        security_algo=security_algo,
        data_identifiers=identifiers,
        request_timeout=_REQUEST_TIMEOUT_S,
        use_server_timing=False,  # udsoncan would use the ECU's times without a margin
        server_address_format=32,
        server_memorysize_format=32,
    )
    timing = flash_profiles.timing_of(flash_profiles.load(endpoint.profile))
    with connection(endpoint) as below, _TimedClient(below, config=config, timing=timing) as opened:
        yield opened
