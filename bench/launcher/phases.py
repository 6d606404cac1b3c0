"""Measures the phases of a run, to show the time spent outside the update itself.

phases = Phases()
with phases.measure("keys"):
    make_keys(…)
phases.seconds  # {"keys": 0.62}
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

STARTED_AT: Final = "OTABENCH_STARTED_AT"
"""Set by ``setup/with-can``: when it was called, in seconds since 1970. The guest's boot and this program's start happen before the
first phase, so no phase includes them."""


class Phases:
    """The phases of one run, in the order in which they began."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add the duration of the block to a phase, also if it ends by an error."""
        started_s = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started_s


def seconds_since_command() -> float | None:
    """Return the seconds since the command was given; None if ``setup/with-can`` did not hand the time over.

    By the wall clock, which host and guest share. A clock that was set in between makes it meaningless, so a negative or absurd
    value counts as unknown.
    """
    try:
        seconds = time.time() - float(os.environ[STARTED_AT])
    except (KeyError, ValueError):
        return None
    return seconds if 0.0 <= seconds < 3600.0 else None
