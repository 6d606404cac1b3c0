"""How long to wait before trying again: doubling, bounded, with jitter, so that a fleet does not come back in step.

Decides the times only; whoever waits, waits. ``random`` is good enough here: nothing secret depends on it.
"""

from __future__ import annotations

import random


class Backoff:
    """Waiting times of one thing that is tried again and again.

    Args:
        first_s: the first wait, before jitter.
        most_s: no wait is longer.
        source: where the jitter comes from.
    """

    def __init__(self, *, first_s: float, most_s: float, source: random.Random | None = None) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._source = source or random.Random()
        self._failures = 0

    def next_s(self) -> float:
        """Return the next wait: between a half and the whole of first, 2 x first, 4 x first, … up to most."""
        whole_s = min(self._most_s, self._first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return whole_s * self._source.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It worked: the next wait is a short one again."""
        self._failures = 0


def jittered(interval_s: float, source: random.Random | None = None) -> float:
    """Return an interval of a poll, ±10 %."""
    return interval_s * (source or random.Random()).uniform(0.9, 1.1)
