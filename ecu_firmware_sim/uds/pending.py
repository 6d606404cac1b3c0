"""Run work that takes longer than P2 in a separate thread. This module does not send the response 78; the ECU does."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

from otabench.ecu_firmware_sim.uds.server import Pending


class Job:
    """Runs a ``Pending``'s work.

    Args:
        on_done: called from the thread once the work has ended.
    """

    def __init__(self, pending: Pending, *, on_done: Callable[[], None]) -> None:
        self.pending = pending
        self.announced = False
        self._on_done = on_done
        self._done = Event()
        self._response: bytes | None = None
        self._failure: Exception | None = None
        self._thread = Thread(target=self._run, name="job", daemon=True)
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
            raise ValueError("the job has not ended")
        return self._response

    def _run(self) -> None:
        try:
            self._response = self.pending.work()
        except Exception as error:  # noqa: BLE001 - raised by ``result``, on the ECU's loop
            self._failure = error
        finally:
            self._done.set()
            self._on_done()
