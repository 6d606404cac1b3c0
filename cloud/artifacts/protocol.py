"""The artifact server's connections: uvicorn's HTTP protocol with deadlines and limits.

* A request's head must arrive in ``HEAD_TIMEOUT_S``. uvicorn itself waits for it without end.
* A client must read: the response is cut off when the buffer of the connection stays full for ``STALL_TIMEOUT_S``. As it has to drain by
  some 48 KiB each time, this is a minimal rate, too, of about 1.6 KiB a second.
* One address has at most ``MAX_OF_ONE_ADDRESS`` connections. A new one takes the place of the oldest one that waits for a request; only if
  all of them are being served it is refused. So neither idle connections nor one client lock the others out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_TIMEOUT_S: Final = 10.0
STALL_TIMEOUT_S: Final = 30.0
MAX_OF_ONE_ADDRESS: Final = 64
MAX_CONNECTIONS: Final = 512


class LimitedConfig(uvicorn.Config):
    """uvicorn's configuration, with the open connections, the oldest first."""

    def __init__(self, app: Any, **settings: Any) -> None:
        # Without proxy_headers=False a client on this machine could choose its address by X-Forwarded-For.
        super().__init__(app, http=LimitedProtocol, ws="none", proxy_headers=False, **settings)
        self.open: dict[LimitedProtocol, str] = {}


class LimitedProtocol(H11Protocol):
    """One connection."""

    _head_deadline: asyncio.TimerHandle | None = None
    _stall_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        """Count the connection, and start the deadline of its first head."""
        super().connection_made(transport)
        if self.client is None:  # gone already
            transport.abort()
            return
        self._open[self] = self.client[0]
        self._start_head_deadline()
        self._give_way(self.client[0])

    def data_received(self, data: bytes) -> None:
        """Feed uvicorn, and stop the deadline once it has a whole head."""
        super().data_received(data)
        if self._is_served():
            self._stop_head_deadline()
        else:
            self._start_head_deadline()

    def pause_writing(self) -> None:
        """Note that the client does not read fast enough."""
        super().pause_writing()
        if self._stall_deadline is None:
            self._stall_deadline = self.loop.call_later(STALL_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that the client has read."""
        super().resume_writing()
        self._stop_stall_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_head_deadline()
        self._stop_stall_deadline()
        self._open.pop(self, None)
        super().connection_lost(exc)

    @property
    def _open(self) -> dict[LimitedProtocol, str]:
        assert isinstance(self.config, LimitedConfig)
        return self.config.open

    def _give_way(self, address: str) -> None:
        """Close a connection if there is one too many: the oldest that waits for a request, or this one if none does."""
        of_address = Counter(self._open.values())
        if of_address[address] > MAX_OF_ONE_ADDRESS:
            crowded = address
        elif len(self._open) > MAX_CONNECTIONS:
            crowded = of_address.most_common(1)[0][0]
        else:
            return
        waiting = (each for each, host in self._open.items() if host == crowded and not each._is_served())
        victim = next(waiting, self)
        self._open.pop(victim)
        victim.transport.abort()

    def _is_served(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _start_head_deadline(self) -> None:
        if self._head_deadline is None:
            self._head_deadline = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.abort)

    def _stop_head_deadline(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _stop_stall_deadline(self) -> None:
        if self._stall_deadline is not None:
            self._stall_deadline.cancel()
            self._stall_deadline = None
