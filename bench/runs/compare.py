"""Two runs side by side: which figures differ, and by how much. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from otabench.bench.runs.summary import EcuFigures, RunSummary

Value = str | float | None


@dataclass(frozen=True)
class Row:
    """One figure of two runs.

    Attributes:
        what: its name, e.g. ``INSTALLING``, ``engine rate``.
        unit: ``s``, ``bytes/s``, ``%``, ``bytes``, ``frames``; empty for words.
        first, second: None where a run does not have it.
    """

    what: str
    unit: str
    first: Value
    second: Value

    @property
    def difference(self) -> float | None:
        """The second less the first; None for words, or where one is missing."""
        if isinstance(self.first, str) or isinstance(self.second, str) or self.first is None or self.second is None:
            return None
        return self.second - self.first

    @property
    def change(self) -> float | None:
        """The difference over the first; None where there is none, and for percentages."""
        if self.difference is None or not self.first or isinstance(self.first, str) or self.unit == "%":
            return None
        return self.difference / self.first

    def as_json(self) -> dict[str, Any]:
        """Return the row as ``--json`` prints it."""
        return {**asdict(self), "difference": self.difference, "change": self.change}


def rows(first: RunSummary, second: RunSummary) -> list[Row]:
    """Return all figures of two runs, in the order of a report."""
    found = [
        Row("result", "", first.result, second.result),
        Row("target version", "", first.target_version, second.target_version),
        Row("faults", "", ", ".join(first.faults), ", ".join(second.faults)),
        Row("duration", "s", first.duration_s, second.duration_s),
    ]
    for state in dict.fromkeys([*first.states, *second.states]):
        found.append(Row(state, "s", first.states.get(state), second.states.get(state)))
    for ecu in dict.fromkeys([*first.ecus, *second.ecus]):
        both = first.ecus.get(ecu), second.ecus.get(ecu)
        for what, unit, of in _OF_ECUS:
            found.append(Row(f"{ecu} {what}", unit, *(None if figures is None else of(figures) for figures in both)))
    for bus in dict.fromkeys([*first.frames, *second.frames]):
        found.append(Row(f"{bus} frames", "frames", first.frames.get(bus), second.frames.get(bus)))
    return found


def percent(share: float | None) -> float | None:
    """Return a share of 1 in percent; None stays."""
    return None if share is None else share * 100


_OF_ECUS: Final[tuple[tuple[str, str, Callable[[EcuFigures], Value]], ...]] = (
    ("transfer", "", lambda figures: figures.kind),
    ("bytes", "bytes", lambda figures: figures.bytes),
    ("rate", "bytes/s", lambda figures: figures.bytes_per_s),
    ("rate/limit", "%", lambda figures: percent(figures.share_of_limit)),
    ("bus load", "%", lambda figures: percent(figures.bus_load)),
)
