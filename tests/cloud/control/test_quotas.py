"""How many calls one certificate may make."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from otabench.cloud.control.quotas import Quota, Quotas
from otabench.cloud.errors import TooManyCalls

_QUOTA = Quota("vehicle", calls_per_s=2.0, burst=4.0, at_a_time=2, all_at_a_time=3)


class _Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def _call(quotas: Quotas, caller: str, cost: float = 1.0) -> None:
    with quotas.admitted(caller, _QUOTA, cost=cost):
        pass


def test_a_bucket_empties_tells_when_it_fills_and_fills() -> None:
    clock = _Clock()
    quotas = Quotas(clock=clock)
    for _ in range(4):
        _call(quotas, "a")

    with pytest.raises(TooManyCalls) as caught:
        _call(quotas, "a")
    _call(quotas, "b")  # has a bucket of its own

    assert caught.value.retry_after_s == pytest.approx(0.5)
    clock.now_s += caught.value.retry_after_s
    _call(quotas, "a")
    clock.now_s += 1000.0
    for _ in range(4):
        _call(quotas, "a")
    with pytest.raises(TooManyCalls):
        _call(quotas, "a")


def test_a_cost_above_the_bucket_takes_half_of_a_full_one() -> None:
    clock = _Clock()
    quotas = Quotas(clock=clock)
    for _ in range(2):
        _call(quotas, "a", cost=99.0)

    with pytest.raises(TooManyCalls) as caught:
        _call(quotas, "a", cost=99.0)

    assert caught.value.retry_after_s == pytest.approx(1.0)


def test_calls_at_a_time_are_limited_for_one_and_for_all() -> None:
    quotas = Quotas(clock=_Clock())
    with ExitStack() as running:
        running.enter_context(quotas.admitted("a", _QUOTA))
        running.enter_context(quotas.admitted("a", _QUOTA))
        with pytest.raises(TooManyCalls):
            _call(quotas, "a")
        running.enter_context(quotas.admitted("b", _QUOTA))
        with pytest.raises(TooManyCalls):
            _call(quotas, "c")
        # Another kind of caller has its reserve.
        with quotas.admitted("op", Quota("operator", calls_per_s=1.0, burst=1.0, at_a_time=1, all_at_a_time=1)):
            pass

    _call(quotas, "a")
    _call(quotas, "c")


def test_a_call_that_fails_does_not_run_on() -> None:
    quotas = Quotas(clock=_Clock())
    for _ in range(3):
        with pytest.raises(KeyError), quotas.admitted("a", _QUOTA):
            raise KeyError

    _call(quotas, "a")
