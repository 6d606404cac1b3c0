"""Tell the vehicle that it must not be driven while its ECUs are updated: a frame on every bus, repeated (``proto.inhibit``)."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from otabench.proto.inhibit import InhibitFrame

if TYPE_CHECKING:
    import can

_log = logging.getLogger("gateway.inhibit")
_FREE_FRAMES: Final = 3
"""How often the end is sent: one frame may be lost."""


class Inhibitor:
    """The sender of the frame on all buses, from ``begin`` to ``end`` or ``abandon``. Each call may be repeated.

    Args:
        frame: None: this vehicle has no such frame, and nothing is sent.
        buses: the arguments of ``can.Bus`` for each bus.
    """

    def __init__(self, frame: InhibitFrame | None, buses: Iterable[Mapping[str, Any]]) -> None:
        self._frame = frame
        self._buses = [dict(bus) for bus in buses] if frame is not None else []
        self._over = threading.Event()
        self._is_free = False
        self._threads: list[threading.Thread] = []

    def begin(self) -> None:
        """Inhibit the vehicle from now on."""
        if self._frame is None or self._threads:
            return
        self._over.clear()
        self._is_free = False
        self._threads = [
            threading.Thread(target=self._send, args=(self._frame, bus), name="inhibit", daemon=True)
            for bus in self._buses
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Let the vehicle be driven again."""
        self._is_free = True
        self._stop()

    def abandon(self) -> None:
        """Send nothing more. The vehicle stays inhibited until its receivers miss the frame: the next process may go on with the update."""
        self._stop()

    def _stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _send(self, frame: InhibitFrame, arguments: dict[str, Any]) -> None:
        # Late: python-can takes a while to import, and most vehicles have no such frame.
        import can

        try:
            bus = can.Bus(**arguments)
        except (can.CanError, OSError, TypeError, ValueError) as error:
            _log.warning("the vehicle is not inhibited on %s: %s", arguments.get("channel"), error)
            return
        try:
            number = 0
            while not self._over.is_set():
                _send_one(bus, frame, number, is_inhibited=True)
                number += 1
                self._over.wait(frame.period_s)
            for _ in range(_FREE_FRAMES if self._is_free else 0):
                _send_one(bus, frame, number, is_inhibited=False)
                number += 1
        finally:
            with contextlib.suppress(can.CanError, OSError):  # the bus may be gone
                bus.shutdown()


def _send_one(bus: can.BusABC, frame: InhibitFrame, number: int, *, is_inhibited: bool) -> None:
    import can

    message = can.Message(
        arbitration_id=frame.id, is_extended_id=frame.is_29_bit, data=frame.data(number, is_inhibited=is_inhibited)
    )
    try:
        bus.send(message)
    except (can.CanError, OSError) as error:
        # A bus that is off or full for a moment: the next frame is due soon.
        _log.debug("inhibit frame: %s", error)
