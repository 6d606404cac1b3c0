"""The server of a control port: JSON over TCP, one object per line, one answer per line (docs/contracts.md).

    def perform(message: Message) -> Message:
        if message.get("op") != "state":
            raise OperationRefused("no such operation; the only one is 'state'")
        return {"power": "on"}

    with ControlServer(perform, host="127.0.0.1", port=7001, token="…") as server, server.serving():
        …

The server reads lines and writes answers and refusals; its owner implements the operations. Each simulated ECU, frame gate and bus load
has one. The client is ``bench.faults.control_port``.

Rules:

* A port of loopback is open to every user and every browser of the machine. So a message must bring the run's token, which is in files
  that only the bench's user can read.
* A page of any site can make a browser send lines of its choice in the body of a POST. They come after the head of the request, whose first
  line is not a message: a connection ends with its first line that is not one, or that has the wrong token.
* The first line must come soon, and the number of connections is limited.

Not a Unix socket, which would need no token: its path has at most 107 bytes, which a file in a run's folder may exceed, and the fault
injectors of boards speak the same protocol over TCP.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from otabench.proto.control_message import MAX_LINE_BYTES, Message, NotAMessage, parse

Perform = Callable[[Message], Message]
"""Receives one message, returns the members of its answer, or raises OperationRefused."""

TOKEN: Final = "token"
"""The member of a message that has the token."""
_FIRST_LINE_TIMEOUT_S: Final = 10.0
_IDLE_TIMEOUT_S: Final = 300.0
_MAX_CONNECTIONS: Final = 64
_SHUTDOWN_POLL_INTERVAL_S: Final = 0.2
"""How long ``shutdown`` may take. socketserver can only poll."""


class OperationRefused(Exception):
    """The operation was not performed. The error's text becomes the answer."""


class _Stranger(Exception):
    """The other end does not speak this protocol or has no token. It gets one answer, and the connection ends."""


class ControlServer(socketserver.ThreadingTCPServer):
    """Listens as soon as it is constructed; answers once ``start`` or ``serving`` is called.

    Args:
        perform: carries out a message; each connection calls it in its own thread.
        host, port: the address to listen on.
        token: what each message must bring as ``token``; empty: nothing.

    Raises:
        OSError: the port is in use, or the host is not an address of this machine.
    """

    allow_reuse_address = True
    request_queue_size = 128  # with the 5 of socketserver, a burst of connections waits for a second each
    daemon_threads = True

    def __init__(self, perform: Perform, *, host: str, port: int, token: str = "") -> None:
        self._perform = perform
        self._token = token
        self._free = threading.Semaphore(_MAX_CONNECTIONS)
        super().__init__((host, port), _Handler)

    def answer(self, line: bytes) -> Message:
        """Return the answer to one line."""
        try:
            return self._answer(line)
        except _Stranger as refusal:
            return _refusal(refusal)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start the thread of a connection, or end the connection if there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def converse(self, connection: socket.socket, lines: Any, answers: Any) -> None:
        """Answer the lines of one connection until it ends, falls silent, or turns out to be a stranger's.

        Raises:
            OSError: the connection broke or was silent for too long.
        """
        connection.settimeout(_FIRST_LINE_TIMEOUT_S)
        while line := lines.readline(MAX_LINE_BYTES):
            try:
                answer = self._answer(line)
            except _Stranger as refusal:
                answers.write(_line(_refusal(refusal)))
                return
            answers.write(_line(answer))
            connection.settimeout(_IDLE_TIMEOUT_S)

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

    def _answer(self, line: bytes) -> Message:
        try:
            message = parse(line)
        except NotAMessage as error:
            raise _Stranger(str(error)) from error
        given = message.pop(TOKEN, "")
        if self._token and not hmac.compare_digest(str(given).encode("utf-8", "replace"), self._token.encode()):
            raise _Stranger("the token of this run is missing or wrong; it is in bench.json (control_token)")
        try:
            return {"ok": True, **self._perform(message)}
        except OperationRefused as refusal:
            return _refusal(refusal)


def require_no_members(message: Message, *, operation: str) -> None:
    """Refuse members that an operation does not have.

    Raises:
        OperationRefused: the message has one.
    """
    if message:
        raise OperationRefused(f"{operation} has no member {', '.join(sorted(message))[:80]}")


def _refusal(error: Exception) -> Message:
    return {"ok": False, "error": str(error)}


def _line(answer: Message) -> bytes:
    return (json.dumps(answer) + "\n").encode()


class _Handler(socketserver.StreamRequestHandler):
    server: ControlServer

    def handle(self) -> None:
        # A client may close its connection at any time, or leave it open for ever. Neither is an error.
        with contextlib.suppress(OSError):
            self.server.converse(self.connection, self.rfile, self.wfile)
