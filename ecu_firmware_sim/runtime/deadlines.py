"""The table of what the ECU's loop has to do, and when. Pure; times are seconds of the monotonic clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum


class Due(StrEnum):
    """The kinds of deadlines."""

    POWER_ON = "power on"
    BOOT = "boot"
    TRIAL_WATCHDOG = "trial watchdog"
    HANG = "hang"
    HANG_WATCHDOG = "hang watchdog"
    TRIAL_CRASH = "trial crash"
    CRASH = "crash"
    REOPEN = "reopen"
    ANNOUNCE = "announce"
    SUPPLY = "supply"
    S3 = "S3"


class Deadlines:
    """At most one deadline of each kind."""

    def __init__(self) -> None:
        self._at_s: dict[Due, float] = {}

    def __contains__(self, due: Due) -> bool:
        return due in self._at_s

    @property
    def next_s(self) -> float | None:
        """The earliest deadline; None if there is none."""
        return min(self._at_s.values(), default=None)

    def set(self, due: Due, at_s: float) -> None:
        self._at_s[due] = at_s

    def drop(self, due: Due) -> None:
        self._at_s.pop(due, None)

    def clear(self) -> None:
        self._at_s.clear()

    def run(self, actions: Mapping[Due, Callable[[], None]], *, now_s: float) -> None:
        """Perform the action of each deadline that is over, the earliest first.

        An action may set and drop deadlines: power that goes drops all others. So each is looked up again when its turn comes.
        """
        # ``sorted`` makes a copy: a deadline that an action sets is looked at in the next turn, even if it is over at once.
        for due in sorted(self._at_s, key=self._at_s.__getitem__):
            at_s = self._at_s.get(due)
            if at_s is not None and at_s <= now_s:
                # Deleted first, because an action may set its own deadline again (78).
                del self._at_s[due]
                actions[due]()
