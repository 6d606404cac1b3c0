"""How often each caller may do something: a token bucket for each key. Pure; time is an argument."""

from __future__ import annotations

from typing import Final

_MAX_KEYS: Final = 1024
"""The keys remembered. An attacker with more addresses gains fresh buckets, but no memory of ours."""


class RateLimit:
    """A number of actions at once, and then so many a second, for each key.

    Args:
        burst: the actions that may follow each other at once.
        per_s: the actions a second after that.
    """

    def __init__(self, *, burst: int, per_s: float) -> None:
        self._burst, self._per_s = burst, per_s
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_s(self, key: str, *, now_s: float) -> float:
        """Return how long the next action of that key has to wait; 0: it may happen now."""
        return max(0.0, (1.0 - self._left(key, now_s)) / self._per_s)

    def spend(self, key: str, *, now_s: float) -> None:
        """Count one action of that key."""
        left = self._left(key, now_s)
        self._buckets.pop(key, None)
        while len(self._buckets) >= _MAX_KEYS:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = (max(0.0, left - 1.0), now_s)

    def _left(self, key: str, now_s: float) -> float:
        left, then_s = self._buckets.get(key, (float(self._burst), now_s))
        return min(float(self._burst), left + (now_s - then_s) * self._per_s)
