"""A capture outlives an adapter that is pulled: it goes on when the bus is back, and counts the gap."""

from __future__ import annotations

import time

from otabench.bench.bus.frame import Frame
from otabench.bench.bus.reopening import ReopeningSource
from tests.waiting import PATIENCE_S

FRAME = Frame(0, 0x7E0, 0, b"\x02\x10\x03")


class Adapter:
    """Is plugged in or not; counts how often it was opened."""

    def __init__(self) -> None:
        self.plugged = True
        self.opened = 0

    def open(self) -> Adapter._Source:
        if not self.plugged:
            raise OSError("no such device")
        self.opened += 1
        return self._Source(self)

    class _Source:
        lost_frames = 2

        def __init__(self, adapter: Adapter) -> None:
            self._adapter = adapter
            self.closed = False

        def wait(self, timeout_s: float) -> None:
            return None

        def receive(self) -> list[Frame]:
            if not self._adapter.plugged or self.closed:
                raise OSError("network is down")
            return [FRAME]

        def close(self) -> None:
            self.closed = True


def test_what_comes_after_the_gap_is_captured_again() -> None:
    adapter = Adapter()
    source = ReopeningSource(adapter.open, name="can0")
    assert source.receive() == [FRAME]
    adapter.plugged = False
    for _ in range(3):
        source.wait(0.05)
        assert source.receive() == []
    adapter.plugged = True
    deadline = time.monotonic() + PATIENCE_S
    while not (frames := source.receive()):
        source.wait(0.05)
        assert time.monotonic() < deadline
    assert frames == [FRAME]
    assert (source.gaps, adapter.opened, source.lost_frames) == (1, 2, 4)
    source.close()
    assert source.receive() == []
