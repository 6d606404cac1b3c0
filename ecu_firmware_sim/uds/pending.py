"""A pending operation: work that takes longer than P2, done on a thread of its own.

It sends nothing itself: the ECU's loop sends 78 while the work goes on, and the response once it has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

from otabench.ecu_firmware_sim.uds.server import PendingResponse


class PendingOperation:
    """The work of one ``PendingResponse``, which starts with the construction.

    Args:
        pending: the response that waits for the work.
        on_done: called from the thread once the work has ended.
    """

    def __init__(self, pending: PendingResponse, *, on_done: Callable[[], None]) -> None:
        self.pending = pending
        self.announced = False
        """Whether 78 was sent. If so, the response must be sent even if the request suppresses it."""
        self._on_done = on_done
        self._done = Event()
        self._response: bytes | None = None
        self._failure: Exception | None = None
        # A daemon thread, so that a slow operation does not keep a terminating process alive.
        self._thread = Thread(target=self._run, name="pending operation", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for at most ``timeout_s``. Return whether the work has ended."""
        return self._done.wait(timeout_s)

    def result(self) -> bytes:
        """Return the response. Raise PowerLost if power was lost during the work, or any other error that the work raised."""
        if self._failure is not None:
            raise self._failure
        if self._response is None:
            raise ValueError("the pending operation has not ended")
        return self._response

    def _run(self) -> None:
        try:
            self._response = self.pending.work()
        except Exception as error:  # noqa: BLE001 - raised by ``result``, on the ECU's loop
            self._failure = error
        finally:
            # In this order: the loop, once it wakes up, must find the operation done.
            self._done.set()
            self._on_done()
