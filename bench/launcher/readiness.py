"""Wait until processes serve: for how long, and the error if one does not come up. Pure: the caller has processes and clock.

The limit is a limit on standing still. Each process that becomes ready starts it again, so that a loaded machine, which is slow but
gets on, is not given up. It also grows with the number of processes, which share the processors while they start.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

_BASE_S: Final = 45.0
_EACH_S: Final = 5.0
"""A process imports for up to 2 s on one processor of a guest kernel, where starting one is several times slower than on its host."""
OPTION: Final = "--ready-timeout SECONDS"


def limit_s(processes: int, *, wanted_s: float | None = None) -> float:
    """Return how long to wait without any process becoming ready.

    Args:
        processes: how many start together.
        wanted_s: what the user asked for; None: by the number of processes.
    """
    return wanted_s if wanted_s is not None else _BASE_S + _EACH_S * processes


def why_late(*, awaited: str, ready: Sequence[str], pending: Sequence[str]) -> str:
    """Return what is known when a process did not come up: what was waited for, and how far the others are.

    Args:
        awaited: what the process should have done, from its specification; empty: nobody wrote it down.
        ready, pending: names of the processes that are up, and of those that are not.
    """
    parts = [f": {awaited}"] if awaited else []
    if ready or len(pending) > 1:
        parts.append(f" ({_names('up', ready)}; {_names('not up', pending)})")
    return "".join(parts)


def remedy() -> str:
    """Return what to do, with the load of this machine, which is the usual reason."""
    load_average, processors = os.getloadavg()[0], len(os.sched_getaffinity(0))
    return f"This machine's load is {load_average:.1f} on {processors} processors; {OPTION} waits longer."


def _names(what: str, names: Sequence[str]) -> str:
    return f"{what}: {', '.join(names) or 'none'}"
