"""The phases of a run: added up by name, in their order, and kept if one fails."""

from __future__ import annotations

import time

import pytest

from otabench.bench.launcher import phases as module
from otabench.bench.launcher.phases import STARTED_AT, Phases, seconds_since_command


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 50.0

    def monotonic(self) -> float:
        return self.now_s


def test_durations_are_added_by_name_in_the_order_of_their_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, phases = Clock(), Phases()
    monkeypatch.setattr(module, "time", clock)
    for name, seconds in (("keys", 0.5), ("firmware", 1.5), ("keys", 0.25)):
        with phases.measure(name):
            clock.now_s += seconds
    with pytest.raises(ValueError, match="broken"), phases.measure("gateway"):
        clock.now_s += 2
        raise ValueError("broken")
    assert list(phases.seconds.items()) == [("keys", 0.75), ("firmware", 1.5), ("gateway", 2.0)]


@pytest.mark.parametrize(
    ("given", "is_known"),
    [
        (lambda: f"{time.time() - 2}", True),
        (lambda: "", False),
        (lambda: "soon", False),
        (lambda: f"{time.time() + 9}", False),
    ],
)
def test_the_time_since_the_command_is_that_of_with_can(
    monkeypatch: pytest.MonkeyPatch, given: object, is_known: bool
) -> None:
    assert callable(given)
    monkeypatch.setenv(STARTED_AT, given())
    seconds = seconds_since_command()
    assert (seconds is not None) == is_known
    assert seconds is None or 2.0 <= seconds < 60.0


def test_without_with_can_the_time_since_the_command_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STARTED_AT, raising=False)
    assert seconds_since_command() is None
