"""Wake-ups: the window that the cloud names is obeyed within limits, and nothing else of a message matters."""

from __future__ import annotations

import asyncio
import json

import pytest

from otabench.bench.gateway.cloud.wakeup import MAX_WINDOW_S, SpreadWakeUps, read_window


@pytest.mark.parametrize(
    ("payload", "window_s"),
    [
        (b'{"vin": "VIN1", "window_s": 12.5}', 12.5),
        (b'{"vin": "VIN1"}', 0),
        (b'{"window_s": 1e99}', MAX_WINDOW_S),
        (b'{"window_s": 1' + b"0" * 400 + b"}", MAX_WINDOW_S),
        (b'{"window_s": -5}', 0),
        (b'{"window_s": NaN}', 0),
        (b'{"window_s": Infinity}', 0),
        (b'{"window_s": "10"}', 0),
        (b'{"window_s": true}', 0),
        (b'{"window_s": null}', 0),
        (b"[1]", 0),
        (b"\xff\x00 not json", 0),
        (b"[" * 100_000, 0),
        (b"", 0),
        (None, 0),
    ],
    ids=range(15),
)
def test_a_window_is_read_within_its_limits(payload: object, window_s: float) -> None:
    assert read_window(payload) == window_s


def test_woken_vehicles_spread_over_the_window() -> None:
    async def moments() -> list[float]:
        loop = asyncio.get_running_loop()
        began, seen = loop.time(), []
        for _ in range(40):
            SpreadWakeUps(lambda: seen.append(loop.time() - began)).wake_within(0.2)
        while len(seen) < 40:
            await asyncio.sleep(0.01)
        return seen

    seen = asyncio.run(moments())

    # With 40 vehicles the chance that none comes in one half of the window is 2 in 10^12.
    assert min(seen) < 0.1 < max(seen)


def test_messages_without_end_keep_one_wake_up_waiting_and_an_urgent_one_replaces_it() -> None:
    async def story() -> list[str]:
        woken: list[str] = []
        spread = SpreadWakeUps(lambda: woken.append("woken"))
        for _ in range(100):
            spread.wake_within(0.02)
        await asyncio.sleep(0.1)
        assert woken == ["woken"]
        spread.wake_within(60)
        spread.wake_within(read_window(json.dumps({"vin": "VIN1"}).encode()))
        return woken

    assert asyncio.run(story()) == ["woken", "woken"]
