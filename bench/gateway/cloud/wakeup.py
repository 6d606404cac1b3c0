"""The vehicle's end of the event plane: wake-up messages over MQTT.

A message only triggers the next check-in. The only field that is read is ``window_s``: a cloud that wakes many vehicles at once asks them
to spread their check-ins over that time. So a forged message costs one request to the cloud and nothing more: polls are not delayed by it.
While the broker is away the gateway polls the cloud, so no update is lost.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
import ssl
from collections.abc import Callable
from typing import Final

from otabench.bench.backoff import Backoff
from otabench.bench.gateway.errors import StartError
from otabench.proto.process_config import TlsConfig

_log = logging.getLogger("gateway.wakeup")
_KEEPALIVE_S: Final = 30
MAX_WINDOW_S: Final = 300.0
"""A longer window than this is not obeyed."""


def topic_of(vin: str) -> str:
    """Return the topic of this vehicle's wake-up messages."""
    return f"otabench/v1/vehicles/{vin}/update-available"


def read_window(payload: object) -> float:
    """Return ``window_s`` of a message, between 0 and ``MAX_WINDOW_S``; 0 if it is not there or makes no sense."""
    try:
        fields = json.loads(payload) if isinstance(payload, (bytes, bytearray, str)) else None
    # RecursionError: the text may be nested as deeply as a sender likes.
    except (ValueError, RecursionError):
        return 0.0
    window_s = fields.get("window_s") if isinstance(fields, dict) else None
    if isinstance(window_s, bool) or not isinstance(window_s, (int, float)):
        return 0.0
    try:
        seconds = float(window_s)
    except OverflowError:
        return MAX_WINDOW_S
    return min(max(seconds, 0.0), MAX_WINDOW_S) if math.isfinite(seconds) else 0.0


class SpreadWakeUps:
    """Calls ``wake`` at once, or at a random moment within a window. It keeps at most one wake-up waiting, the earliest."""

    def __init__(self, wake: Callable[[], None], *, source: random.Random | None = None) -> None:
        self._wake = wake
        self._source = source or random.Random()
        self._waiting: asyncio.TimerHandle | None = None

    def wake_within(self, window_s: float) -> None:
        """Wake within so many seconds; 0 stands for now."""
        if window_s <= 0:
            self._wake_now()
        elif self._waiting is None:
            delay_s = self._source.uniform(0, window_s)
            self._waiting = asyncio.get_running_loop().call_later(delay_s, self._wake_now)

    def cancel(self) -> None:
        """Drop the waiting wake-up."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _wake_now(self) -> None:
        self.cancel()
        self._wake()


async def listen(
    *, host: str, port: int, vin: str, wake: Callable[[], None], backoff: Backoff, tls: TlsConfig | None = None
) -> None:
    """Listen until canceled. Call ``wake`` at every message, and at every new connection: a message may have been missed before it.

    Raises:
        StartError: a file of ``tls`` cannot be used.
    """
    import aiomqtt

    context = _context(tls) if tls else None

    logging.getLogger("mqtt").setLevel(logging.CRITICAL)
    connected: bool | None = None
    spread = SpreadWakeUps(wake)
    while True:
        try:
            async with aiomqtt.Client(
                host,
                port,
                # With a fixed identifier the broker drops a previous connection of the same gateway when a restarted process connects.
                identifier=f"otabench-gateway-{vin}",
                # amqtt, the embedded broker, supports only MQTT 3.1.1.
                protocol=aiomqtt.ProtocolVersion.V311,
                keepalive=_KEEPALIVE_S,
                timeout=5.0,
                logger=logging.getLogger("mqtt"),
                tls_context=context,
            ) as client:
                await client.subscribe(topic_of(vin), qos=1)
                if connected is not True:
                    _log.info("broker %s:%d answers", host, port)
                connected = True
                # A connection with a subscription proves that the broker works.
                backoff.reset()
                wake()
                async for message in client.messages:
                    spread.wake_within(read_window(message.payload))
        except (aiomqtt.MqttError, OSError) as error:
            if connected is not False:
                _log.warning("broker %s:%d is away (%s); polling instead, trying again", host, port, _plain(error))
            connected = False
        # aiomqtt does not reconnect by itself.
        await asyncio.sleep(backoff.next_s())


def _context(tls: TlsConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:  # ssl's errors are OSErrors, too
        raise StartError(f"mqtt_tls: {tls.ca}, {tls.certificate} or {tls.key} cannot be used: {error}") from error
    return context


def _plain(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
