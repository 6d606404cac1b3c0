"""Periodic frames on a bus without a broadcast manager: one thread with a bus object of its own.

python-can's own periodic tasks may send one more frame after they were stopped, and cannot be waited for. An ECU that must be silent (28,
a reset, power off) must not send that frame.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from threading import Event, Thread
from typing import Any

import can

from otabench.ecu_firmware_sim.errors import BusUnavailable
from otabench.proto.periodic import PeriodicFrame

log = logging.getLogger(__name__)


class PeriodicSender:
    """A sender that is active from its construction until it is closed.

    Args:
        bus: arguments of ``can.Bus``.
        frames: each is sent with its own period, and its data repeat with its cycle.

    Raises:
        BusUnavailable: the bus cannot be opened.
    """

    def __init__(self, bus: Mapping[str, Any], frames: Sequence[PeriodicFrame]) -> None:
        try:
            self._bus = can.Bus(**bus)
        except (can.CanError, OSError, TypeError, ValueError) as error:
            raise BusUnavailable(str(error)) from error
        self._closed = Event()
        self._thread = Thread(target=self._send_all, args=(frames,), name="application", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End sending: no frame is sent after this returns."""
        self._closed.set()
        self._thread.join()
        with contextlib.suppress(can.CanError, OSError):  # the bus may be gone
            self._bus.shutdown()

    def _send_all(self, frames: Sequence[PeriodicFrame]) -> None:
        now = time.monotonic()
        streams = [(frame.period_ms / 1000, _endless(frame)) for frame in frames]
        due = [(now, index) for index in range(len(streams))]
        while not self._closed.wait(max(0.0, due[0][0] - time.monotonic())):
            at, index = due[0]
            period_s, messages = streams[index]
            try:
                self._bus.send(next(messages))
            except (can.CanError, OSError) as error:
                log.warning("no more periodic frames: %s", error)
                return
            # A frame that is late delays the next ones: a burst that makes up for it would be worse for a busy bus.
            heapq.heapreplace(due, (max(at + period_s, time.monotonic()), index))


def _endless(frame: PeriodicFrame) -> Iterator[can.Message]:
    return itertools.cycle(
        [can.Message(arbitration_id=frame.id, is_extended_id=frame.is_29_bit, data=data) for data in frame.cycle()]
    )
