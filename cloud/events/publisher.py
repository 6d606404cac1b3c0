"""The control plane's connection to the MQTT broker, for wake-up events.

    async with EventPublisher(host="127.0.0.1", port=1883) as publisher:
        await publisher.wait_until_connected()
        await publisher.deliver("otabench/v1/vehicles/VIN1/update-available", b"{}")

Rules:

* ``campaigns.outbox`` keeps the messages until they are delivered; nothing is queued here.
* After a lost connection, connect again after a pause that doubles and has jitter. aiomqtt does not reconnect by itself.
* Messages are sent with QoS 1 (at least once) and are not retained. A retained wake-up would wake vehicles for jobs that have ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from typing import Final

import aiomqtt

from otabench.cloud.errors import NotDelivered, StartError
from otabench.proto.process_config import TlsConfig

MIN_RETRY_PAUSE_S: Final = 0.2
MAX_RETRY_PAUSE_S: Final = 5.0
_ACKNOWLEDGE_S: Final = 5.0
_STOP_S: Final = 0.3
"""How long the connection may take to close when the process ends."""
_log = logging.getLogger(__name__)


class EventPublisher:
    """A connection to one broker, as an async context manager. A task of its own keeps it up.

    Args:
        host, port: where the broker is.
        tls: the publisher's certificate. None: no encryption.

    Raises:
        StartError: a file of ``tls`` cannot be used.
    """

    def __init__(self, *, host: str, port: int, tls: TlsConfig | None = None) -> None:
        self._tls = _context(tls) if tls else None
        self._host = host
        self._port = port
        self._client: aiomqtt.Client | None = None
        self._connected = asyncio.Event()
        self._broken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def wait_until_connected(self) -> None:
        """Return once the broker can be reached."""
        await self._connected.wait()

    async def deliver(self, topic: str, payload: bytes) -> None:
        """Return once the broker has acknowledged the message.

        Raises:
            NotDelivered: the broker is away, or does not acknowledge.
        """
        if self._client is None:
            raise NotDelivered(f"broker {self._host}:{self._port} is away")
        try:
            await self._client.publish(topic, payload, qos=1, timeout=_ACKNOWLEDGE_S)
        except aiomqtt.MqttError as error:
            # A broker that does not acknowledge may still keep the connection open.
            self._connected.clear()
            self._broken.set()
            raise NotDelivered(f"broker {self._host}:{self._port}: {error}") from error

    async def __aenter__(self) -> EventPublisher:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        # The wait is limited, because closing the connection waits for a broker that may be gone.
        await asyncio.wait({self._task}, timeout=_STOP_S)

    async def _run(self) -> None:
        pause_s = MIN_RETRY_PAUSE_S
        while True:
            try:
                async with aiomqtt.Client(
                    self._host, self._port, timeout=_ACKNOWLEDGE_S, tls_context=self._tls
                ) as client:
                    _log.info("broker %s:%d: connected", self._host, self._port)
                    pause_s = MIN_RETRY_PAUSE_S
                    await self._keep(client)
            except aiomqtt.MqttError as error:
                _log.warning(
                    "broker %s:%d: %s; vehicles poll meanwhile; again in about %.1f s",
                    self._host,
                    self._port,
                    error,
                    pause_s,
                )
            # Jitter keeps several clouds from connecting to a broker at the same moment.
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(2 * pause_s, MAX_RETRY_PAUSE_S)

    async def _keep(self, client: aiomqtt.Client) -> None:
        """Let messages be delivered until the connection is lost.

        Raises:
            MqttError: the connection was lost.
        """
        self._broken.clear()
        self._client = client
        self._connected.set()
        # Without reading, the loss of an idle connection would go unnoticed.
        lost = asyncio.create_task(_until_lost(client))
        broken = asyncio.create_task(self._broken.wait())
        try:
            await asyncio.wait({lost, broken}, return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                await lost
        finally:
            self._client = None
            self._connected.clear()
            for task in (lost, broken):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError, aiomqtt.MqttError):
                await lost


def _context(tls: TlsConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:  # ssl's errors are OSErrors, too
        raise StartError(f"mqtt_tls: {tls.ca}, {tls.certificate} or {tls.key} cannot be used: {error}") from error
    return context


async def _until_lost(client: aiomqtt.Client) -> None:
    """Wait until the connection is lost.

    This client has no subscription, so no message arrives.

    Raises:
        MqttError: the connection was lost.
    """
    async for _ in client.messages:
        pass
