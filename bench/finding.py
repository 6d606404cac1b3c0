"""One thing that a check found: how severe it is, where, what is wrong, and what to do about it.

Doctor, bench check, environment and keys return findings; the command line prints them, as lines or as JSON. A finding is never
taken apart again from its text.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How severe a finding is."""

    OK = "ok"
    """Nothing to do."""
    WARN = "warn"
    """The bench works without it, or less well."""
    FAIL = "fail"
    """Something will not work."""


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        severity: ``Severity``.
        where: what it is about, e.g. ``bus powertrain`` or ``ecus.engine.power.on``.
        problem: what was found, in words; for ``OK`` the state.
        remedy: what to do; empty where there is nothing to do.
    """

    severity: Severity
    where: str
    problem: str
    remedy: str = ""

    def as_line(self) -> str:
        """Return the finding as the command line prints it."""
        return f"{self.severity:<5} {self.where:<16} {self.sentence()}"

    def sentence(self) -> str:
        """Return problem and remedy, as an error message quotes them."""
        return f"{self.problem}; {self.remedy}" if self.remedy else self.problem

    def as_json(self) -> dict[str, str]:
        """Return the finding as ``--json`` prints it."""
        return {**asdict(self), "severity": str(self.severity)}


def ok(where: str, problem: str) -> Finding:
    """Return a finding with nothing to do."""
    return Finding(Severity.OK, where, problem)


def warn(where: str, problem: str, remedy: str) -> Finding:
    """Return a finding that the bench can live with."""
    return Finding(Severity.WARN, where, problem, remedy)


def fail(where: str, problem: str, remedy: str = "") -> Finding:
    """Return a finding that keeps something from working. Without a remedy of its own, ``problem`` contains it."""
    return Finding(Severity.FAIL, where, problem, remedy)


def unknown_key_remedy(key: str, known: Collection[str]) -> str:
    """Return the remedy for an unknown key of a file: the key that was probably meant, else all known keys."""
    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(sorted(known))}"


def has_failed(findings: Iterable[Finding]) -> bool:
    """Return whether any finding is a ``FAIL``."""
    return any(finding.severity is Severity.FAIL for finding in findings)
