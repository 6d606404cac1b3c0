"""Whether the vehicle is inhibited, according to the frames on the bus (``proto.inhibit``). One thread with a bus object of its own."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from otabench.proto.inhibit import LOST_AFTER, InhibitFrame

_log = logging.getLogger(__name__)
_REOPEN_S: Final = 1.0
_RECEIVE_S: Final = 0.5


class InhibitListener:
    """Listens until it is closed.

    Args:
        frame: None: this vehicle has no such frame, and is never inhibited.
        bus: arguments of ``can.Bus``.
    """

    def __init__(self, frame: InhibitFrame | None, bus: Mapping[str, Any]) -> None:
        self._frame = frame
        self._closed = threading.Event()
        self._inhibited_at_s: float | None = None
        self._thread: threading.Thread | None = None
        if frame is not None:
            self._thread = threading.Thread(target=self._listen, args=(frame, dict(bus)), name="inhibit", daemon=True)
            self._thread.start()

    @property
    def is_inhibited(self) -> bool:
        """Whether the vehicle must not be driven."""
        # Read once: the thread may write it in between.
        at_s = self._inhibited_at_s
        return (
            self._frame is not None and at_s is not None and time.monotonic() - at_s < LOST_AFTER * self._frame.period_s
        )

    def close(self) -> None:
        """End listening."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _listen(self, frame: InhibitFrame, arguments: dict[str, Any]) -> None:
        # Late: python-can takes a while to import, and most vehicles have no such frame.
        import can

        only = {"can_id": frame.id, "can_mask": 0x1FFFFFFF if frame.is_29_bit else 0x7FF, "extended": frame.is_29_bit}
        while not self._closed.is_set():
            try:
                bus = can.Bus(**arguments, can_filters=[only])
            except (can.CanError, OSError, TypeError, ValueError) as error:
                _log.warning("not listening for frames that inhibit the vehicle: %s", error)
                self._closed.wait(_REOPEN_S)
                continue
            with contextlib.suppress(can.CanError, OSError):  # the bus may be gone: open it again
                self._receive(bus, frame)
            with contextlib.suppress(can.CanError, OSError):
                bus.shutdown()

    def _receive(self, bus: Any, frame: InhibitFrame) -> None:
        while not self._closed.is_set():
            message = bus.recv(_RECEIVE_S)
            if message is None or message.arbitration_id != frame.id or message.is_error_frame:
                continue
            said = frame.read(bytes(message.data))
            if said is not None:
                self._inhibited_at_s = time.monotonic() if said else None
