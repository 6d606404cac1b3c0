"""The server of a control port: JSON over TCP, one object per line, one answer per line (docs/contracts.md).

    def perform(message: Message) -> Message:
        if message.get("op") != "state":
            raise OperationRefused("no such operation; the only one is 'state'")
        return {"power": "on"}

    with ControlServer(perform, host="127.0.0.1", port=7001) as server, server.serving():
        …

The server reads lines and writes answers and refusals; its owner implements the operations. Each simulated ECU, frame gate and bus load
has one. The client is ``bench.faults.control_port``.
"""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

Message = dict[str, Any]
Perform = Callable[[Message], Message]
"""Receives one message, returns the members of its answer, or raises OperationRefused."""

_MAX_LINE_BYTES: Final = 65536
_SHUTDOWN_POLL_INTERVAL_S: Final = 0.2
"""How long ``shutdown`` may take. socketserver can only poll."""


class OperationRefused(Exception):
    """The operation was not performed. The error's text becomes the answer."""


class ControlServer(socketserver.ThreadingTCPServer):
    """Listens as soon as it is constructed; answers once ``start`` or ``serving`` is called.

    Args:
        perform: carries out a message; each connection calls it in its own thread.
        host, port: the address to listen on.

    Raises:
        OSError: the port is in use, or the host is not an address of this machine.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, perform: Perform, *, host: str, port: int) -> None:
        self._perform = perform
        super().__init__((host, port), _Handler)

    def answer(self, line: bytes) -> Message:
        """Return the answer to one line."""
        try:
            message = json.loads(line)
        except ValueError as error:
            return {"ok": False, "error": f"not JSON: {error}"}
        if not isinstance(message, dict):
            return {"ok": False, "error": "a line must be one JSON object"}
        try:
            return {"ok": True, **self._perform(message)}
        except OperationRefused as refusal:
            return {"ok": False, "error": str(refusal)}

    def start(self) -> None:
        """Answer in a separate thread until ``shutdown``."""
        threading.Thread(
            target=self.serve_forever,
            kwargs={"poll_interval": _SHUTDOWN_POLL_INTERVAL_S},
            name="control port",
            daemon=True,
        ).start()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Answer in a separate thread while the context is open."""
        self.start()
        try:
            yield
        finally:
            self.shutdown()


class _Handler(socketserver.StreamRequestHandler):
    server: ControlServer

    def handle(self) -> None:
        # A client may close its connection at any time. That is not an error.
        with contextlib.suppress(OSError):
            while line := self.rfile.readline(_MAX_LINE_BYTES):
                self.wfile.write((json.dumps(self.server.answer(line)) + "\n").encode())
