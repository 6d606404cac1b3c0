"""Check the names of vehicles, ECUs and hardware, which become parts of paths, MQTT topics and certificates.

A VIN is not checked against ISO 3779: a bench may give its vehicle any safe name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

# A leading dot would make a hidden file, and a leading hyphen an option of a command line. "+", "#" and "/" have a meaning in MQTT topics.
_SAFE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def require_safe_name(name: str, what: str) -> str:
    """Return the name if it is safe in a path, a topic and a certificate.

    Args:
        name: the name.
        what: the kind of name, for the message, e.g. "VIN".

    Raises:
        ValueError: the name is not safe; the message states what is allowed.
    """
    if not _SAFE.fullmatch(name):
        raise ValueError(
            f"{what} {name!r}: 1 to 64 letters, digits, dots, hyphens or underscores, the first a letter or digit"
        )
    return name


def find_duplicates(values: Sequence[str]) -> list[str]:
    """Return the values that occur more than once, sorted and without repetition."""
    return sorted(value for value, count in Counter(values).items() if count > 1)
