"""Which processes a process descends from, read from /proc. A number that the kernel has given to another program has other ancestors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def ancestors(pid: int | None = None) -> Iterator[int]:
    """Yield the processes that a process descends from, nearest first, without the first process of the system.

    Args:
        pid: None: this process. One that does not exist has no ancestors.
    """
    parent = os.getppid() if pid is None else _parent(pid)
    while parent is not None and parent > 1:
        yield parent
        parent = _parent(parent)


def _parent(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:  # it has ended
        return None
    return int(stat.rpartition(")")[2].split()[1])  # the command's name, in parentheses, may have spaces
