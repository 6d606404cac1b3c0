"""The embedded broker: amqtt, for machines without mosquitto.

It speaks MQTT 3.1.1 on one port of loopback and accepts anonymous clients: amqtt neither requires certificates nor limits a client to its
own topics. Whoever has an account on the machine can forge a wake-up, which only makes a vehicle check in.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from otabench.cloud.errors import StartError
from otabench.cloud.ports import require_free_port


@asynccontextmanager
async def running_broker(host: str, port: int) -> AsyncIterator[None]:
    """Run a broker on that port while the block runs.

    Raises:
        StartError: the broker cannot listen on that port.
    """
    require_free_port(host, port, what="event plane (mqtt_port)")
    # Imported late: amqtt takes long to import, and most benches use mosquitto.
    from amqtt.broker import Broker
    from amqtt.errors import BrokerError

    # amqtt and its state machine "transitions" log every client. Keep that out of the cloud's log.
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    try:
        await broker.start()
    except BrokerError as error:
        raise StartError(f"event plane: amqtt cannot listen on {host}:{port}: {error}") from error
    try:
        yield
    finally:
        await broker.shutdown()
