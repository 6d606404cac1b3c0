"""How long to wait before trying again: doubling, bounded, with jitter.

The jitter keeps a fleet whose server was away from coming back all at once. This module only computes times; its callers wait.

    pauses = Backoff(first_s=0.1, max_s=2.0)
    while not try_again():
        time.sleep(pauses.next_s())
    pauses.reset()
"""

from __future__ import annotations

import random


class Backoff:
    """The waiting times of one thing that is tried again until it works.

    Args:
        first_s: the first wait, before jitter.
        max_s: upper limit of every wait.
        source: the source of the jitter.
    """

    def __init__(self, *, first_s: float, max_s: float, source: random.Random | None = None) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._source = source or random.Random()  # not a secure source: nothing secret depends on it
        self._failures = 0

    @property
    def failures(self) -> int:
        """How many waits there were since the last success."""
        return self._failures

    def next_s(self) -> float:
        """Return the next wait: between a half and the whole of first, 2 x first, 4 x first, … up to max_s."""
        whole_s = min(self._max_s, self._first_s * 2.0 ** min(self._failures, 30))  # 2.0 ** 1024 would overflow
        self._failures += 1
        return whole_s * self._source.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Start again with the first wait, after a success."""
        self._failures = 0


def jittered(interval_s: float, source: random.Random | None = None) -> float:
    """Return the interval with a jitter of ±10 %, for polls."""
    return interval_s * (source or random.Random()).uniform(0.9, 1.1)
