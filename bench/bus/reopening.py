"""A capture's source that survives its bus: an adapter that is pulled, or an interface that is taken down, is opened again.

After each failure the source is closed, and opened again after a pause that doubles up to two seconds, for as long as the capture
lasts. What crossed the bus in the meantime is not in the capture; ``gaps`` counts the interruptions.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Final, Protocol

from otabench.bench.backoff import Backoff
from otabench.bench.bus.frame import Frame

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0


class _Source(Protocol):
    lost_frames: int

    def wait(self, timeout_s: float) -> None: ...

    def receive(self) -> list[Frame]: ...

    def close(self) -> None: ...


class ReopeningSource:
    """Opens at once.

    Args:
        open_source: makes the source; may raise whatever its interface raises.
        name: of the bus, for the log.

    Raises:
        Exception: the first opening failed.
    """

    def __init__(self, open_source: Callable[[], _Source], *, name: str) -> None:
        self._open_source = open_source
        self._name = name
        self._source: _Source | None = open_source()
        self._lost_before = 0
        self._pauses = Backoff(first_s=_FIRST_PAUSE_S, max_s=_LONGEST_PAUSE_S)
        self._not_before_s = 0.0
        self.gaps = 0

    @property
    def lost_frames(self) -> int:
        """Frames that came while the source was open and were not read in time."""
        return self._lost_before + (self._source.lost_frames if self._source is not None else 0)

    @lost_frames.setter
    def lost_frames(self, frames: int) -> None:
        self._lost_before = frames

    def wait(self, timeout_s: float) -> None:
        """Return once frames may be there or the time is over."""
        if self._source is None:
            time.sleep(min(timeout_s, max(0.0, self._not_before_s - time.monotonic())))
            return
        try:
            self._source.wait(timeout_s)
        except Exception as error:  # noqa: BLE001  # python-can's interfaces raise what they like
            self._gone(error)

    def receive(self) -> list[Frame]:
        """Return the frames that wait; none while the bus is away."""
        if self._source is None and not self._reopened():
            return []
        assert self._source is not None
        try:
            frames = self._source.receive()
        except Exception as error:  # noqa: BLE001
            self._gone(error)
            return []
        if frames:
            # Only a frame proves that the bus is back: an adapter may accept to be opened and fail at once.
            self._pauses.reset()
        return frames

    def close(self) -> None:
        """Close it for good."""
        self._let_go()
        self._not_before_s = float("inf")

    def _gone(self, error: Exception) -> None:
        # One line for one gap. Every failed attempt to open the bus again ends here too.
        if not self._pauses.failures:
            self.gaps += 1
            print(f"captures: {self._name} went away: {error}; opened again as soon as it is back", file=sys.stderr)
        # The next source counts from 0 again.
        self._lost_before = self.lost_frames
        self._let_go()
        self._put_off()

    def _let_go(self) -> None:
        """Close the source. One that is gone may fail even then: slcan sends its adapter a last command."""
        source, self._source = self._source, None
        if source is not None:
            with contextlib.suppress(Exception):
                source.close()

    def _reopened(self) -> bool:
        if time.monotonic() < self._not_before_s:
            return False
        try:
            self._source = self._open_source()
        except Exception:  # noqa: BLE001  # it is still away, which was reported once
            self._put_off()
            return False
        return True

    def _put_off(self) -> None:
        self._not_before_s = time.monotonic() + self._pauses.next_s()
