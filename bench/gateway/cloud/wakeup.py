"""The vehicle's end of the event plane: wake-up messages over MQTT.

A message only triggers the next check-in, and its contents are ignored. So a forged message costs one request to the cloud and nothing
more. While the broker is away the gateway polls the cloud, so no update is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from otabench.bench.backoff import Backoff

_log = logging.getLogger("gateway.wakeup")
_KEEPALIVE_S: Final = 30


def topic_of(vin: str) -> str:
    """Return the topic of this vehicle's wake-up messages."""
    return f"otabench/v1/vehicles/{vin}/update-available"


async def listen(*, host: str, port: int, vin: str, wake: Callable[[], None], backoff: Backoff) -> None:
    """Listen until canceled. Call ``wake`` at every message, and at every new connection: a message may have been missed before it."""
    import aiomqtt

    logging.getLogger("mqtt").setLevel(logging.CRITICAL)
    connected: bool | None = None
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
            ) as client:
                await client.subscribe(topic_of(vin), qos=1)
                if connected is not True:
                    _log.info("broker %s:%d answers", host, port)
                connected = True
                # A connection with a subscription proves that the broker works.
                backoff.reset()
                wake()
                async for _ in client.messages:
                    wake()
        except (aiomqtt.MqttError, OSError) as error:
            if connected is not False:
                _log.warning("broker %s:%d is away (%s); polling instead, trying again", host, port, _plain(error))
            connected = False
        # aiomqtt does not reconnect by itself.
        await asyncio.sleep(backoff.next_s())


def _plain(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
