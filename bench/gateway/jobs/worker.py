"""One thread for all calls that block on the bus, so that the calls of a ``Vehicle`` never overlap.

The thread is a daemon, so that a process that must end does not wait for a transfer. The next process resumes from disk.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Worker:
    """A thread that runs calls one after the other, in the order of ``submit``.

    worker = Worker()
    identities = await worker.submit(vehicle.identify)
    """

    def __init__(self, name: str = "vehicle") -> None:
        self._name = name
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> asyncio.Future[_T]:
        """Run the call on the thread, and return a future of the running event loop.

        Canceling the future takes back a call that has not started. A call that runs continues to its end.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        outcome: Future[_T] = Future()
        self._calls.put((partial(call, *args, **kwargs), outcome))
        return asyncio.wrap_future(outcome)

    def close(self, wait_s: float = 0.0) -> bool:
        """Let the thread end after its current call. Return whether it ended within ``wait_s``."""
        if self._thread is None:
            return True
        # None is the signal to end. It waits in the queue behind all earlier calls.
        self._calls.put(None)
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            call, outcome = item
            # The call was canceled while it waited in the queue.
            if not outcome.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001  # it is raised again where the future is awaited
                outcome.set_exception(error)
            else:
                outcome.set_result(result)
