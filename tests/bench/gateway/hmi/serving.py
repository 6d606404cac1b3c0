"""A real HMI server for tests that block: runs in a thread of its own, over a real socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from otabench.bench.gateway.hmi.model import HmiModel
from otabench.bench.gateway.hmi.pairing import Pairing
from otabench.bench.gateway.hmi.server import HmiServer

CODE: Final = "K7QM-2XFD-9RTP-AB3C"


@contextmanager
def serving(model: HmiModel, *, port: int = 0) -> Iterator[str]:
    """Yield the URL of the HMI, which is gone after the block.

    Raises:
        AssertionError: the server did not stop within five seconds.
    """
    server = HmiServer(model, Pairing(CODE), port=port)
    up = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        async with server:
            up.set()
            await stop.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run, name="hmi-under-test", daemon=True)
    thread.start()
    try:
        assert up.wait(60), "the HMI did not start"
        yield server.url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        assert not thread.is_alive(), "the HMI did not stop"
