"""What a test asks for, against what there is: it runs, is skipped with the missing thing named, or fails where that is required.

Only names are compared here; ``capabilities`` and ``features`` find what this machine and this bench have. Pure.

Rules:

* A missing thing is a skip on a user's machine; ``--require`` with its name makes it a failure (in CI a skip goes unseen).
* ``--require`` takes the names of capabilities, ``hil``, ``feature`` (any feature), ``feature:NAME`` (one), and ``all``.
* Consent is not a capability: a destructive test that was not allowed is skipped, whatever is required.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

HIL: Final = "hil"
FEATURE: Final = "feature"
ALL: Final = "all"
_FEATURE_PREFIX: Final = f"{FEATURE}:"


@dataclass(frozen=True)
class Missing:
    """Something that a test needs and that is missing.

    Attributes:
        name: as ``--require`` has it: ``vcan``, ``hil``, ``feature:canfd``.
        reason: what is missing and what to do.
    """

    name: str
    reason: str

    @property
    def skip_text(self) -> str:
        return f"{self.name}: {self.reason}"

    @property
    def failure_text(self) -> str:
        return f"required capability {self.name!r} is missing: {self.reason}"


@dataclass(frozen=True)
class Requirements:
    """What ``--require`` named."""

    names: frozenset[str] = frozenset()

    def __contains__(self, missing: object) -> bool:
        if not isinstance(missing, Missing):
            return False
        if ALL in self.names or missing.name in self.names:
            return True
        return missing.name.startswith(_FEATURE_PREFIX) and FEATURE in self.names

    @classmethod
    def parse(cls, text: str, *, capabilities: Collection[str]) -> Requirements:
        """Read ``vcan,hil,feature:canfd``.

        Raises:
            ValueError: a name that means nothing; the message names the nearest.
        """
        names = frozenset(name.strip() for name in text.split(",") if name.strip())
        known = [*capabilities, HIL, FEATURE, ALL]
        for name in sorted(names):
            if name in known or (name.startswith(_FEATURE_PREFIX) and name != _FEATURE_PREFIX):
                continue
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"unknown capability {name!r}; {hint}known: {', '.join(known)}, {_FEATURE_PREFIX}NAME")
        return cls(names)


def missing_feature(wanted: str, *, present: Collection[str], bench: str, ecu: str | None = None) -> Missing | None:
    """Return what is missing where a test asks for a feature.

    Args:
        wanted: its name.
        present: the features of the bench, or of that ECU.
        bench: the bench file's name, for the message.
        ecu: None: the bench as a whole.
    """
    if wanted in present:
        return None
    who = f"ECU {ecu!r} of bench {bench}" if ecu else f"bench {bench}"
    near = difflib.get_close_matches(wanted, present, n=1)
    hint = f" (it has {near[0]!r})" if near else ""
    return Missing(
        f"{_FEATURE_PREFIX}{wanted}", f"{who} has no {wanted!r}{hint}; it has: {', '.join(sorted(present)) or 'none'}"
    )


def missing_board(*, boards: Collection[str], bench: str) -> Missing | None:
    """Return what is missing where a test asks for a real board."""
    if boards:
        return None
    return Missing(HIL, f"bench {bench} has no real board; set `kind: board` for an ECU of the bench file")
