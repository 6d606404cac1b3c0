"""Versions of software as texts, and the order in which one follows the other.

    rule = VersionRule(VersionOrder.NUMERIC)
    rule.is_newer("1.10", than="1.9")      # True

Each kind of ECU has its own rule. Rules of all orders:

* A text has 1 to 64 printable characters, without blanks at its ends.
* ``0.0.0`` is what is reported for an ECU that runs nothing because it is in its bootloader. Every version may follow it, and it
  is not the version of any software.

Dependencies between images need minimum versions in MCUboot's form. So only ECUs with the order ``semver`` have them, and are named in
them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from otabench.proto.image_format import NOTHING_RUNS, ImageVersion

MAX_VERSION_CHARACTERS: Final = 64
NO_SOFTWARE: Final = str(NOTHING_RUNS)
_SEPARATORS: Final = re.compile(r"[._+/ -]")
_NUMBERS: Final = re.compile(r"[0-9]{1,20}(?:[._+/ -][0-9]{1,20})*", re.ASCII)


class VersionOrder(StrEnum):
    """How two versions are compared."""

    SEMVER = "semver"
    """MAJOR.MINOR.PATCH[+BUILD]."""
    NUMERIC = "numeric"
    """Numbers, one after the other: 1.10 is newer than 1.9, and 0123 is newer than 99."""
    LIST = "list"
    """Their places in a list of all versions."""
    NONE = "none"
    """Not at all: any other version may follow."""


@dataclass(frozen=True)
class VersionRule:
    """How the versions of one kind of ECU are written and compared.

    Attributes:
        order: see ``VersionOrder``.
        known: all versions, the oldest first; for ``LIST`` only.
    """

    order: VersionOrder = VersionOrder.SEMVER
    known: tuple[str, ...] = ()

    def check(self, text: str) -> None:
        """Raise ValueError, with the reason, if ``text`` cannot be the version of software for this kind of ECU."""
        check_text(text)
        self._key(text)
        if self.is_no_software(text):
            raise ValueError(f"version {text!r}: it stands for an ECU that runs nothing; choose another one")

    def check_running(self, text: str) -> None:
        """Raise ValueError, with the reason, if no version could follow in an ECU that reports ``text``."""
        check_text(text)
        if not self.is_no_software(text):
            self._key(text)

    def is_newer(self, version: str, *, than: str) -> bool:
        """Return whether one version may follow another.

        Raises:
            ValueError: a text is not a version of this rule.
        """
        if self.is_no_software(than):
            return not self.is_no_software(version)
        if self.order is VersionOrder.NONE:
            return version != than
        return self._key(version) > self._key(than)

    def is_same(self, first: str, second: str) -> bool:
        """Return whether two texts denote the same version, as 2.0.0 and 2.0.0+0 do. Texts that cannot be read are compared as they are."""
        if first == second or self.order is VersionOrder.NONE:
            return first == second
        try:
            return self._key(first) == self._key(second)
        except ValueError:
            return False

    def is_no_software(self, text: str) -> bool:
        """Return whether a text stands for an ECU that runs nothing."""
        if self.order is VersionOrder.SEMVER:
            return self.is_same(text, NO_SOFTWARE)
        return text == NO_SOFTWARE and text not in self.known

    def _key(self, text: str) -> tuple[int, ...]:
        match self.order:
            case VersionOrder.SEMVER:
                version = ImageVersion.parse(text)
                return version.major, version.minor, version.revision, version.build
            case VersionOrder.NUMERIC:
                return _numbers(text)
            case VersionOrder.LIST:
                if text not in self.known:
                    raise ValueError(f"version {text!r} is not one of the list: {', '.join(self.known)}")
                return (self.known.index(text),)
            case VersionOrder.NONE:
                return ()  # nothing to compare, and every text is a version


SEMVER: Final = VersionRule()


def check_text(text: str) -> None:
    """Raise ValueError, with the reason, if ``text`` cannot be a version of any order."""
    if not text or not text.isprintable() or len(text) > MAX_VERSION_CHARACTERS or text != text.strip():
        raise ValueError(
            f"version {text[:MAX_VERSION_CHARACTERS]!r}: expected 1 to {MAX_VERSION_CHARACTERS} printable characters, "
            "without blanks at the ends"
        )


def path_part(version: str) -> str:
    """Return a version as a part of a file's name. Two versions may become the same text."""
    # A text may contain anything that prints, and a path must not lead to another folder.
    return re.sub(r"[^A-Za-z0-9.+_-]", "_", version)


def _numbers(text: str) -> tuple[int, ...]:
    if not _NUMBERS.fullmatch(text):
        raise ValueError(f"version {text!r}: expected numbers of up to 20 digits, such as 1.10 or 0123")
    numbers = [int(part) for part in _SEPARATORS.split(text)]
    # A number that is not written is zero: 1.10 is 1.10.0.
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
