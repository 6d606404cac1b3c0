"""SIGTERM and SIGHUP end a run as Ctrl-C does: fixtures are undone, the bench comes down, and pytest's exit status is 2.

Without this the process would be gone at once. The kernel would release the lock and end the bench's processes, but nothing would
be written any more, the run's private keys included: they would stay.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)


class EndAsInterrupted:
    """Handlers for both signals, in place until ``undo``.

    A handler that somebody else has installed is left alone, and only the main thread can have one.
    """

    def __init__(self) -> None:
        self._installed: list[signal.Signals] = []
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _interrupt)
                self._installed.append(number)

    def undo(self) -> None:
        """Put the default action back. May be called twice."""
        while self._installed:
            signal.signal(self._installed.pop(), signal.SIG_DFL)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)
