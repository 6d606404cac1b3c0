"""Names of vehicles, ECUs and hardware, checked once, here, because they become parts of paths, MQTT topics and certificates.

A VIN is not checked against ISO 3779: a bench may give its vehicle any safe name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

# No leading dot or hyphen: a hidden file, and an option of a command line. No "+", "#" or "/", which mean something in MQTT topics.
_SAFE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def checked(name: str, what: str) -> str:
    """Return the name if it is safe in a path, a topic and a certificate.

    Raises:
        ValueError: it is not; the message states what is allowed.
    """
    if not _SAFE.fullmatch(name):
        raise ValueError(
            f"{what} {name!r}: 1 to 64 letters, digits, dots, hyphens or underscores, the first a letter or digit"
        )
    return name


def repeated(values: Sequence[str]) -> list[str]:
    """Return the values that occur more than once, each once, sorted."""
    return sorted({value for value in values if values.count(value) > 1})
