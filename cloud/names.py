"""What a name may look like: names become parts of paths, MQTT topics and certificates, so they are checked once, here.

A VIN is not checked against ISO 3779: a bench may call its vehicle what it likes, as long as the name is safe.
"""

from __future__ import annotations

import re
from typing import Final

_SAFE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def checked(name: str, what: str) -> str:
    """The name itself, if it is safe in a path, a topic and a certificate.

    Raises:
        ValueError: it is not; the message says what is allowed.
    """
    if not _SAFE.fullmatch(name):
        raise ValueError(
            f"{what} {name!r}: 1 to 64 letters, digits, dots, hyphens or underscores, the first a letter or digit"
        )
    return name
