"""What calls took: times and errors by the call's name, and their summary. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass
class Measurements:
    """The calls of a phase.

    Attributes:
        seconds: how long the phase took.
        times_s: of the answered calls, by the call's name.
        errors: how often each status was returned, by the call's name.
    """

    seconds: float = 0.0
    times_s: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, call: str, seconds: float) -> None:
        """Note an answered call."""
        self.times_s.setdefault(call, []).append(round(seconds, 5))

    def add_error(self, call: str, status: str) -> None:
        """Note a call that ended with a status."""
        of_call = self.errors.setdefault(call, {})
        of_call[status] = of_call.get(status, 0) + 1


@dataclass(frozen=True)
class Summary:
    """The calls of one name in a phase. Times in seconds."""

    call: str
    calls: int
    rate: float
    median_s: float
    p99_s: float
    longest_s: float
    errors: Mapping[str, int]


def merge(parts: Iterable[Measurements]) -> Measurements:
    """Return the calls of several load processes that ran at the same time."""
    merged = Measurements()
    for part in parts:
        merged.seconds = max(merged.seconds, part.seconds)
        for call, times_s in part.times_s.items():
            merged.times_s.setdefault(call, []).extend(times_s)
        for call, errors in part.errors.items():
            merged.errors[call] = dict(Counter(merged.errors.get(call, {})) + Counter(errors))
    return merged


def summarize(measured: Measurements) -> list[Summary]:
    """Return one summary for each name, in the order of the names."""
    summaries = []
    for call in sorted(measured.times_s.keys() | measured.errors.keys()):
        times_s = sorted(measured.times_s.get(call, ()))
        known = times_s or [0.0]
        summaries.append(
            Summary(
                call=call,
                calls=len(times_s),
                rate=len(times_s) / measured.seconds if measured.seconds else 0.0,
                median_s=known[len(known) // 2],
                p99_s=known[int(len(known) * 0.99)],
                longest_s=known[-1],
                errors=measured.errors.get(call, {}),
            )
        )
    return summaries
