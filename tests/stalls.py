"""The time that this machine stood still: a deadline may be missed by so much, and no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final

_TICK_S: Final = 0.01


class Stalls:
    """A thread that sleeps for short times, and records by how much each sleep was too long."""

    def __init__(self) -> None:
        self._late: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stalls", daemon=True)

    def __enter__(self) -> Stalls:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def since(self, moment_s: float) -> float:
        """Return the seconds that were lost since a moment of the monotonic clock, including a stall that has just ended."""
        time.sleep(2 * _TICK_S)  # it wakes up later than we do
        return sum(late for end_s, late in self._late if end_s > moment_s)

    def _watch(self) -> None:
        before_s = time.monotonic()
        while not self._stop.is_set():
            time.sleep(_TICK_S)
            now_s = time.monotonic()
            self._late.append((now_s, max(0.0, now_s - before_s - _TICK_S)))
            before_s = now_s


@contextmanager
def within(limit_s: float) -> Iterator[None]:
    """Require that the block takes less than ``limit_s``, less the time that this machine stood still.

    Example:
        with within(0.5):
            connection.close()
    """
    with Stalls() as stalls:
        began_s = time.monotonic()
        yield
        took_s = time.monotonic() - began_s
        if took_s >= limit_s:
            lost_s = stalls.since(began_s)
            assert took_s - lost_s < limit_s, (
                f"{took_s:.2f} s, of which {lost_s:.2f} s the machine's, not {limit_s:g} s"
            )
