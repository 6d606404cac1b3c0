"""The server of a control port: JSON over TCP on loopback, one object per line, one answer per line (docs/contracts.md).

It reads lines and writes answers and refusals; its owner implements the operations.
"""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from otabench.bench.errors import BenchError, WrongUsage
from otabench.bench.ports import LOOPBACK

Perform = Callable[[dict[str, Any]], dict[str, Any]]
"""Receives one message, returns the members of its answer. A BenchError becomes a refusal."""


class ControlServer(socketserver.ThreadingTCPServer):
    """Serves one port.

    Args:
        perform: what a message does; called by one thread for each connection.
        port: of loopback.
        owner: stands in the error's text.

    Raises:
        BenchError: the port is in use.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, perform: Perform, *, port: int, owner: str) -> None:
        self._perform = perform
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise BenchError(f"{owner}: control port {port}: {error.strerror}; choose another") from error

    def answer(self, line: bytes) -> dict[str, Any]:
        """Return the answer to one line."""
        try:
            message = json.loads(line)
            if not isinstance(message, dict):
                raise WrongUsage("a line must be one JSON object")
            return {"ok": True, **self._perform(message)}
        except ValueError as error:
            return {"ok": False, "error": f"not JSON: {error}"}
        except BenchError as error:
            return {"ok": False, "error": str(error)}

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serve in a separate thread while the context is open."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()
        try:
            yield
        finally:
            self.shutdown()


class _Handler(socketserver.StreamRequestHandler):
    server: ControlServer

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while line := self.rfile.readline(65536):
                self.wfile.write((json.dumps(self.server.answer(line)) + "\n").encode())


def seed_of(message: dict[str, Any]) -> int | None:
    """Remove the seed from a ``seed`` message, or from a ``fault`` message that has one. Return it, or None.

    Raises:
        WrongUsage: it is not a whole number.
    """
    if message.get("op") != "seed" and not (message.get("op") == "fault" and "seed" in message):
        return None
    seed = message.pop("seed", None)
    if not isinstance(seed, int):
        raise WrongUsage(f"seed {seed!r}: expected a whole number")
    return seed
