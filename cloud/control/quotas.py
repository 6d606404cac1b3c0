"""How many calls one certificate may make: a token bucket and a number of calls at a time for each caller.

    quotas = Quotas(clock=time.monotonic)
    with quotas.admitted("CN=VIN1, OU=vehicle", VEHICLE, cost=1.0):  # raises TooManyCalls
        …

Each caller has a bucket of its own, so one that calls too often slows nobody else. The calls of all vehicles together leave a reserve of
the server's ``maximum_concurrent_rpcs`` to operators.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from otabench.cloud.errors import TooManyCalls

MAX_CONCURRENT_CALLS: Final = 1024
"""Of the server: beyond it gRPC itself answers RESOURCE_EXHAUSTED."""
_MAX_CALLERS: Final = 10_000
_BUSY_RETRY_S: Final = 0.5


@dataclass(frozen=True)
class Quota:
    """The limits of one caller.

    Attributes:
        calls_per_s: the rate at which its bucket fills.
        burst: the size of its bucket.
        at_a_time: calls that run at the same time.
        all_at_a_time: calls of all callers of this kind that run at the same time.
    """

    name: str
    calls_per_s: float
    burst: float
    at_a_time: int
    all_at_a_time: int


# A gateway sends at most two progress reports a second, and a few transitions. Operators' tools poll with ten calls a second each.
VEHICLE: Final = Quota(
    "vehicle", calls_per_s=20.0, burst=200.0, at_a_time=8, all_at_a_time=MAX_CONCURRENT_CALLS * 3 // 4
)
OPERATOR: Final = Quota(
    "operator", calls_per_s=200.0, burst=1000.0, at_a_time=128, all_at_a_time=MAX_CONCURRENT_CALLS // 4
)


@dataclass
class _Bucket:
    tokens: float
    filled_at_s: float
    running: int = 0


class Quotas:
    """The buckets of all callers. For one thread: the event loop's.

    Args:
        clock: the monotonic clock, in seconds.
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        # By last use, so that the one that was not used longest is forgotten first.
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._running: dict[str, int] = {}

    @contextmanager
    def admitted(self, caller: str, quota: Quota, *, cost: float = 1.0) -> Iterator[None]:
        """Take ``cost`` tokens of the caller's bucket, and count the call as running while the block runs.

        Raises:
            TooManyCalls: the bucket is empty, or too many calls run. Nothing was taken.
        """
        bucket = self._bucket(caller, quota)
        all_running = self._running.get(quota.name, 0)
        if bucket.running >= quota.at_a_time or all_running >= quota.all_at_a_time:
            raise TooManyCalls(f"{caller}: too many calls at a time", retry_after_s=_BUSY_RETRY_S)
        # A cost above the bucket's size could never be paid, and one of the whole bucket hardly ever.
        cost = min(cost, quota.burst / 2)
        if bucket.tokens < cost:
            retry_after_s = (cost - bucket.tokens) / quota.calls_per_s
            raise TooManyCalls(
                f"{caller}: more than {quota.calls_per_s:g} calls a second: again in {retry_after_s:.1f} s",
                retry_after_s=retry_after_s,
            )
        bucket.tokens -= cost
        bucket.running += 1
        self._running[quota.name] = all_running + 1
        try:
            yield
        finally:
            bucket.running -= 1
            self._running[quota.name] -= 1

    def _bucket(self, caller: str, quota: Quota) -> _Bucket:
        now_s = self._clock()
        bucket = self._buckets.get(caller)
        if bucket is None:
            self._forget_idle()
            bucket = self._buckets[caller] = _Bucket(tokens=quota.burst, filled_at_s=now_s)
        self._buckets.move_to_end(caller)
        bucket.tokens = min(quota.burst, bucket.tokens + (now_s - bucket.filled_at_s) * quota.calls_per_s)
        bucket.filled_at_s = now_s
        return bucket

    def _forget_idle(self) -> None:
        if len(self._buckets) < _MAX_CALLERS:
            return
        for caller, bucket in self._buckets.items():
            # A running call holds its bucket. Forgetting it would admit more calls than allowed.
            if bucket.running == 0:
                del self._buckets[caller]
                return
