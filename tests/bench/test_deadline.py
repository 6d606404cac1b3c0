"""Deadlines: on the monotonic clock, never negative, and a condition is looked at once more when the time is over."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator

import pytest

from otabench.bench import deadline as module
from otabench.bench.deadline import Deadline, wait_until


class Clock:
    """A monotonic clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, pause_s: float) -> None:
        self.now_s += pause_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    yield clock


def test_a_deadline_passes_when_its_time_is_over_and_has_nothing_left(clock: Clock) -> None:
    deadline = Deadline(2.0)
    assert (deadline.has_passed(), deadline.remaining_s()) == (False, 2.0)
    clock.sleep(2.5)
    assert (deadline.has_passed(), deadline.remaining_s()) == (True, 0.0)


def test_a_pause_ends_at_the_deadline(clock: Clock) -> None:
    Deadline(0.5).pause(3.0)
    assert clock.now_s == 100.5


def test_a_pause_ends_when_it_is_stopped() -> None:
    stop = threading.Event()
    stop.set()
    started_s = time.monotonic()
    Deadline(math.inf).pause(60.0, stop=stop)
    assert time.monotonic() < started_s + 30


def test_waiting_ends_as_soon_as_the_condition_holds(clock: Clock) -> None:
    assert wait_until(lambda: clock.now_s >= 101, timeout_s=9.0, interval_s=0.25)
    assert clock.now_s == 101


def test_the_condition_is_tested_again_after_the_time_is_over(clock: Clock) -> None:
    answers = iter([False, False, True])
    assert wait_until(lambda: next(answers), timeout_s=0.1, interval_s=5.0)


def test_waiting_gives_up_after_its_timeout(clock: Clock) -> None:
    assert not wait_until(lambda: False, timeout_s=1.0)
    assert clock.now_s == pytest.approx(101.0)
