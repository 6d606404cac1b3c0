"""Processor time and memory of processes, from ``/proc``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")


@dataclass(frozen=True)
class Usage:
    """What a process has used: processor time in seconds since its start, and memory in bytes at this moment."""

    cpu_s: float = 0.0
    memory_bytes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.cpu_s + other.cpu_s, self.memory_bytes + other.memory_bytes)


def usage_of(pid: int) -> Usage:
    """Return the usage of a process and its children; nothing if it has ended."""
    used = Usage(_cpu_s(pid, with_ended_children=True), _memory_bytes(pid))
    for child in _children(pid):
        used += Usage(_cpu_s(child), _memory_bytes(child))
    return used


def _cpu_s(pid: int, *, with_ended_children: bool = False) -> float:
    try:
        # The name in brackets may contain spaces.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    # utime, stime, and those of children that were waited for: proc_pid_stat(5), fields 14 to 17
    return sum(map(int, fields[11:15] if with_ended_children else fields[11:13])) / _TICKS


def _memory_bytes(pid: int) -> int:
    """Return the proportional set size: PostgreSQL's processes share most of their memory."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _children(pid: int) -> Iterator[int]:
    for path in (_PROC / str(pid) / "task").glob("*/children"):
        try:
            yield from map(int, path.read_text().split())
        except OSError:
            continue
