"""Which connections of the HMI stay open when there are too many.

A connection costs its opener nothing, so a limit that refuses the newest one lets 64 idle connections lock everybody out. Here the newest
is always accepted, and an old one gives way:

* A connection is *unpaired* until a request on it shows a session or the pairing code. Unpaired connections are limited for each address
  and in total, and only the oldest unpaired one is closed for a new one. A browser sends its first request, with the session, as soon as
  it is connected; an idle connection never does.
* *Paired* connections have a limit of their own, which unpaired ones cannot use up, so the driver's page can always connect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

Client = tuple[str, int]
"""Address and port of the other end, which identify the connection."""

MAX_UNPAIRED_OF_ONE_ADDRESS: Final = 32
MAX_UNPAIRED: Final = 64
MAX_PAIRED: Final = 64


class Connections:
    """The open connections, oldest first. Used from the event loop's thread."""

    def __init__(self) -> None:
        self._unpaired: dict[Client, Callable[[], None]] = {}
        self._paired: dict[Client, Callable[[], None]] = {}

    def opened(self, client: Client, close: Callable[[], None]) -> None:
        """Remember a new connection, and close an old one if it is one too many.

        Args:
            client: the other end.
            close: closes the connection at once. It may call ``closed``.
        """
        self._unpaired[client] = close
        of_address = Counter(host for host, _ in self._unpaired)
        if of_address[client[0]] > MAX_UNPAIRED_OF_ONE_ADDRESS:
            self._close_oldest_unpaired_of(client[0])
        elif len(self._unpaired) > MAX_UNPAIRED:
            self._close_oldest_unpaired_of(of_address.most_common(1)[0][0])

    def paired(self, client: Client) -> None:
        """Note that a request on this connection has shown a session or the code."""
        close = self._unpaired.pop(client, None)
        if close is None:
            return
        self._paired[client] = close
        if len(self._paired) > MAX_PAIRED:
            self._paired.pop(next(iter(self._paired)))()

    def closed(self, client: Client) -> None:
        """Forget a connection, whether or not it was known."""
        self._unpaired.pop(client, None)
        self._paired.pop(client, None)

    def _close_oldest_unpaired_of(self, address: str) -> None:
        oldest = next(client for client in self._unpaired if client[0] == address)
        self._unpaired.pop(oldest)()
