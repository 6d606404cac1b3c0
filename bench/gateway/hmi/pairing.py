"""The pairing code and the sessions that it opens. Pure.

Whoever has the code may open a session: by the link ``/pair/CODE``, by the form of the pairing page, or, without a browser, by sending
``Authorization: Bearer CODE`` with each request. A session is a random number with its HMAC under the code, so that a gateway that is
started again accepts the sessions it had, and a new code ends them all.

The code has 80 bits from the system's random numbers. It cannot be guessed within any rate limit, nor computed from a session.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

_ALPHABET: Final = "ABCDEFGHJKMNPQRSTVWXYZ0123456789"
"""Crockford's 32 characters: none is taken for another."""
_GROUPS: Final = 4
_GROUP_LENGTH: Final = 4
_MAX_TEXT_LENGTH: Final = 200


def new_code() -> str:
    """Return a new pairing code, such as ``K7QM-2XFD-9RTP-AB3C``."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_LENGTH)) for _ in range(_GROUPS))
    return "-".join(groups)


class Pairing:
    """What one pairing code opens.

    Args:
        code: the code, as ``new_code`` returns it.

    Raises:
        ValueError: the code has not the form of one.
    """

    def __init__(self, code: str) -> None:
        self._code = _plain(code)
        if len(self._code) != _GROUPS * _GROUP_LENGTH or not set(self._code) <= set(_ALPHABET):
            raise ValueError(
                f"expected {_GROUPS} groups of {_GROUP_LENGTH} letters and digits, such as K7QM-2XFD-9RTP-AB3C"
            )

    @property
    def fingerprint(self) -> str:
        """A name of the code, from which the code cannot be found: it has 80 random bits."""
        return hashlib.sha256(b"otabench HMI pairing " + self._code.encode()).hexdigest()[:32]

    def accepts(self, text: str) -> bool:
        """Return whether that is the code. Dashes, spaces and case do not matter."""
        return hmac.compare_digest(_plain(text).encode(), self._code.encode())

    def new_session(self) -> str:
        """Return the value of the cookie of a new session."""
        number = secrets.token_hex(16)
        return f"{number}.{self._mac(number)}"

    def is_session(self, token: str) -> bool:
        """Return whether that is the cookie of a session of this code."""
        number, _, mac = token[:_MAX_TEXT_LENGTH].partition(".")
        return hmac.compare_digest(mac.encode(), self._mac(number).encode())

    def _mac(self, number: str) -> str:
        return hmac.new(self._code.encode(), b"otabench HMI session " + number.encode(), hashlib.sha256).hexdigest()


def _plain(text: str) -> str:
    return text[:_MAX_TEXT_LENGTH].replace("-", "").replace(" ", "").upper()
