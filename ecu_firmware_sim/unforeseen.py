"""Reports of unforeseen exceptions in one line: the ECU goes on, and the mistake can be found."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

# The innermost calls: enough to find the mistake, and short enough for one line.
_FRAMES: Final = 4


def report(error: Exception, *, ecu: str, doing: str) -> None:
    """Log the exception with its place. The whole traceback is logged at level DEBUG only."""
    log.error(
        "%s: %s: unforeseen %s: %s (at %s); this is a mistake of the simulator, which goes on",
        ecu,
        doing,
        type(error).__name__,
        error,
        place(error),
    )
    log.debug("traceback", exc_info=error)


def place(error: Exception) -> str:
    """Return the place where it was raised, innermost frame first: "security.py:52 _send_key < server.py:131 _perform"."""
    frames = reversed(traceback.extract_tb(error.__traceback__)[-_FRAMES:])
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
