"""The HMI's connections: uvicorn's HTTP protocol with the limits of ``connections`` and a deadline for the head of a request.

uvicorn closes a connection that stays idle after an answer, but waits without end for the first byte of a new connection and for the
rest of a head.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from otabench.bench.gateway.hmi.connections import Connections

HEAD_TIMEOUT_S: Final = 5.0
"""From the opening of a connection, or the first byte of a further request, to the end of the request's head."""


class LimitedConfig(uvicorn.Config):
    """uvicorn's configuration, with the connections that ``LimitedProtocol`` counts."""

    def __init__(self, app: Any, *, connections: Connections, **settings: Any) -> None:
        # Without proxy_headers=False a local client could choose its address by X-Forwarded-For.
        super().__init__(app, http=LimitedProtocol, ws="none", proxy_headers=False, **settings)
        self.connections = connections


class LimitedProtocol(H11Protocol):
    """One connection."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        """Count the connection, and start the deadline of its first head."""
        super().connection_made(transport)
        if self.client is None:  # gone already
            transport.abort()
            return
        self._start_deadline()
        self._connections.opened(self.client, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Feed uvicorn, and stop the deadline once it has a whole head."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._start_deadline()
        else:
            self._stop_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_deadline()
        if self.client is not None:
            self._connections.closed(self.client)
        super().connection_lost(exc)

    @property
    def _connections(self) -> Connections:
        assert isinstance(self.config, LimitedConfig)
        return self.config.connections

    def _start_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.abort)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
