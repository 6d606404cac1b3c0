"""Wait for a condition within a time limit, on the monotonic clock.

    deadline = Deadline(5.0)
    while not port_is_open():
        if deadline.has_passed():
            raise ProcessFailed(…)
        deadline.pause(0.05)

``wait_until`` is the same loop as a function, for loops that only test a condition. Code that waits on a queue, socket or
event takes ``remaining_s`` as its timeout.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable


class Deadline:
    """A point in time, ``timeout_s`` from now; ``math.inf`` never passes.

    A change of the wall clock does not move it.
    """

    def __init__(self, timeout_s: float) -> None:
        self._at_s = time.monotonic() + timeout_s

    def remaining_s(self) -> float:
        """Return the seconds left, at least 0.0: usable as a timeout."""
        return max(0.0, self._at_s - time.monotonic())

    def has_passed(self) -> bool:
        """Return whether no time is left."""
        return time.monotonic() >= self._at_s

    def pause(self, interval_s: float, *, stop: threading.Event | None = None) -> None:
        """Sleep for an interval. Return early at the deadline, or when ``stop`` is set."""
        pause_s = min(interval_s, self.remaining_s())
        if stop is None:
            time.sleep(pause_s)
        else:
            stop.wait(pause_s)


def wait_until(condition: Callable[[], bool], *, timeout_s: float = math.inf, interval_s: float = 0.05) -> bool:
    """Return True as soon as ``condition()`` is true, or False once ``timeout_s`` is over.

    The condition is tested at least once, and once more after the time is over. An event that happened in time is
    therefore not a failure if the machine stalled.
    """
    deadline = Deadline(timeout_s)
    while not condition():
        if deadline.has_passed():
            return condition()
        deadline.pause(interval_s)
    return True
