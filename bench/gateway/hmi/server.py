"""The HMI's web server inside the gateway's own event loop.

The port is bound before anything else runs; the gateway handles signals; ``close`` ends open event streams first, so that stopping
takes a moment instead of a timeout. ``create_app`` makes what is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from otabench.bench.gateway.hmi.access import Gatekeeper
from otabench.bench.gateway.hmi.app import create_app
from otabench.bench.gateway.hmi.connections import Connections
from otabench.bench.gateway.hmi.model import HmiModel
from otabench.bench.gateway.hmi.pairing import Pairing
from otabench.bench.gateway.hmi.protocol import LimitedConfig


class HmiPortError(Exception):
    """The HMI cannot listen where it should. The message names where, why and the remedy."""


class HmiServer:
    """Serves the HMI; ``async with HmiServer(model, pairing, host=…, port=…)`` is up inside the block and gone after it.

    Attributes:
        host: the address it listens on.
        port: the port it listens on; the one the system chose where 0 was asked for.

    Raises:
        HmiPortError: when it is made, before anything runs.
    """

    def __init__(self, model: HmiModel, pairing: Pairing, *, host: str = "127.0.0.1", port: int = 8080) -> None:
        self._socket = _listen(host, port)
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        connections = Connections()
        self._app = create_app(model, Gatekeeper(pairing, connections))
        self._server = _Server(
            LimitedConfig(
                self._app,
                connections=connections,
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                lifespan="off",
                timeout_keep_alive=5,
                timeout_graceful_shutdown=2,
            )
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where this machine finds the page."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def run(self) -> None:
        """Serve until ``close`` is called or the task is canceled."""
        try:
            await asyncio.shield(self._running())
        finally:
            await self.__aexit__()

    def close(self) -> None:
        """Ask the server to stop. May be called more than once."""
        self._app.state.closing.set()
        self._server.should_exit = True

    async def __aenter__(self) -> HmiServer:
        task = self._running()
        try:
            while not self._server.started and not task.done():
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            await self.__aexit__()
            raise
        if task.done():
            task.result()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        await self._running()

    def _running(self) -> asyncio.Task[None]:
        if self._task is None:
            self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="hmi")
        return self._task


class _Server(uvicorn.Server):
    """Signals belong to the process that runs the loop, not to one of its parts."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise HmiPortError(
            f"HMI: cannot listen on {host}:{port}: {(error.strerror or str(error)).lower()}; "
            "stop what uses it, or give the HMI another port (hmi_port)"
        ) from error
    return listening
