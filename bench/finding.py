"""One thing that a check found: how severe it is, where, what is wrong, and what to do about it.

Every check returns findings (e.g. `otabench doctor`, ``bus.environment``, ``launcher.keys``); the command line prints them as text or
JSON. No code parses a finding's text: use its fields.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

_MIN_BEGINNING: Final = 3
"""Prefixes shorter than this are not matched."""


class Severity(StrEnum):
    """How severe a finding is."""

    OK = "ok"
    """Nothing to do."""
    WARN = "warn"
    """The bench works, but something is missing or works less well."""
    FAIL = "fail"
    """Something will not work."""


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        severity: ``Severity``.
        where: what it is about, e.g. ``bus powertrain`` or ``ecus.engine.power.on``.
        problem: what was found, in words. If the severity is OK, the healthy state, e.g. ``can, up, 500 kbit/s``.
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
    """Return a finding that keeps something from working. Leave ``remedy`` empty if ``problem`` contains it already."""
    return Finding(Severity.FAIL, where, problem, remedy)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant; None if none is like it.

    Case does not matter, nor whether words are joined by ``-`` or ``_``. If no known name is similar, return one that starts with
    ``name``, or that ``name`` starts with: ``boot-fail`` for ``boot``.
    """
    plain = {_plain(each): each for each in reversed([*known])}
    wanted = _plain(name)
    near = difflib.get_close_matches(wanted, plain, n=1)
    if near:
        return plain[near[0]]
    for each in reversed(plain):
        if min(len(each), len(wanted)) >= _MIN_BEGINNING and (each.startswith(wanted) or wanted.startswith(each)):
            return plain[each]
    return None


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def unknown_key_remedy(key: str, known: Collection[str]) -> str:
    """Return the remedy for an unknown key of a file: the key that was probably meant, else all known keys."""
    near = nearest(key, known)
    return f"did you mean {near!r}?" if near else f"known keys here: {', '.join(sorted(known))}"


def has_failed(findings: Iterable[Finding]) -> bool:
    """Return whether any finding is a ``FAIL``."""
    return any(finding.severity is Severity.FAIL for finding in findings)
