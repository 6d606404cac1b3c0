"""A limit of time that a busy machine does not break, and a slow block does."""

from __future__ import annotations

import time

import pytest

from tests.stalls import Stalls, within


def test_a_block_that_is_slow_itself_fails() -> None:
    with pytest.raises(AssertionError, match=r"not 0\.01 s"), within(0.01):
        time.sleep(0.15)


def test_what_the_machine_has_lost_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stalls, "since", lambda *_: 10.0)
    with within(0.01):
        time.sleep(0.05)
