"""One line of the doctor's: how it stands, about what, in which words, and what to do.

Decides the three levels: ``ok``; ``warn``: the bench works without it, or less well; ``fail``: something will not work.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Level(StrEnum):
    """How it stands."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One line. ``remedy`` is empty where there is nothing to do."""

    level: Level
    about: str
    words: str
    remedy: str = ""

    def line(self) -> str:
        """As it is printed."""
        return f"{self.level:<5} {self.about:<16} {self.words}" + (f": {self.remedy}" if self.remedy else "")

    def as_json(self) -> dict[str, str]:
        """As ``--json`` prints it."""
        return {**asdict(self), "level": str(self.level)}


def ok(about: str, words: str) -> Finding:
    """Nothing to do."""
    return Finding(Level.OK, about, words)


def warn(about: str, words: str, remedy: str) -> Finding:
    """Works, but not as well as it could."""
    return Finding(Level.WARN, about, words, remedy)


def fail(about: str, words: str, remedy: str) -> Finding:
    """Will not work."""
    return Finding(Level.FAIL, about, words, remedy)
