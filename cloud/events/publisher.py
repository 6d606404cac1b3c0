"""Publish wake-up events to the MQTT broker.

    async with EventPublisher(host="127.0.0.1", port=1883) as publisher:
        publisher.publish("otabench/v1/vehicles/VIN1/update-available", b"{}")

Rules:

* Publishing never blocks and never fails. MQTT only wakes vehicles, and they poll as well. While the broker is away, messages wait in an
  outbox of limited size; when it is full, the oldest message is dropped.
* After a lost connection, connect again after a pause that doubles and has jitter. aiomqtt does not reconnect by itself.
* Messages are sent with QoS 1 (at least once) and are not retained. A retained wake-up would wake vehicles for jobs that have ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from typing import Final

import aiomqtt

MAX_OUTBOX_MESSAGES: Final = 1000
MIN_RETRY_PAUSE_S: Final = 0.2
MAX_RETRY_PAUSE_S: Final = 5.0
_ACKNOWLEDGE_S: Final = 5.0
_STOP_S: Final = 0.3
"""How long the connection may take to close when the process ends."""
_log = logging.getLogger(__name__)


class EventPublisher:
    """A sender to one broker, as an async context manager. It sends in its own task."""

    def __init__(self, *, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._outbox: deque[tuple[str, bytes]] = deque()
        self._filled = asyncio.Event()
        self._dropped = 0
        self._task: asyncio.Task[None] | None = None

    def publish(self, topic: str, payload: bytes) -> None:
        """Accept a message. It is sent as soon as the broker can be reached."""
        if len(self._outbox) >= MAX_OUTBOX_MESSAGES:
            self._outbox.popleft()
            self._dropped += 1
        self._outbox.append((topic, payload))
        self._filled.set()

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
                async with aiomqtt.Client(self._host, self._port, timeout=_ACKNOWLEDGE_S) as client:
                    _log.info("broker %s:%d: connected", self._host, self._port)
                    pause_s = MIN_RETRY_PAUSE_S
                    await self._send(client)
            except aiomqtt.MqttError as error:
                _log.warning(
                    "broker %s:%d: %s; %d messages wait, %d dropped; vehicles poll meanwhile; again in about %.1f s",
                    self._host,
                    self._port,
                    error,
                    len(self._outbox),
                    self._dropped,
                    pause_s,
                )
            # Jitter keeps several clouds from connecting to a broker at the same moment.
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(2 * pause_s, MAX_RETRY_PAUSE_S)

    async def _send(self, client: aiomqtt.Client) -> None:
        """Send the messages of the outbox, present and future.

        Raises:
            MqttError: the connection was lost.
        """
        # Without reading, the loss of an idle connection would go unnoticed.
        lost = asyncio.create_task(_until_lost(client))
        try:
            while True:
                while self._outbox:
                    message = self._outbox[0]
                    await client.publish(message[0], message[1], qos=1, timeout=_ACKNOWLEDGE_S)
                    # Remove the message only after its acknowledgement. Meanwhile ``publish`` may have dropped it from a full outbox.
                    if self._outbox and self._outbox[0] is message:
                        self._outbox.popleft()
                self._filled.clear()
                filled = asyncio.create_task(self._filled.wait())
                await asyncio.wait({filled, lost}, return_when=asyncio.FIRST_COMPLETED)
                filled.cancel()
                if lost.done():
                    await lost
        finally:
            lost.cancel()
            with contextlib.suppress(asyncio.CancelledError, aiomqtt.MqttError):
                await lost


async def _until_lost(client: aiomqtt.Client) -> None:
    """Wait until the connection is lost.

    This client has no subscription, so no message arrives.

    Raises:
        MqttError: the connection was lost.
    """
    async for _ in client.messages:
        pass
