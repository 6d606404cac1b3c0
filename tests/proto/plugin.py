"""Security algorithms of a user's own module: one that works, and some that do not."""

from __future__ import annotations


def xor_5a(seed: bytes, *, secret: bytes, level: int) -> bytes:
    """A key that anyone can compute: for tests only."""
    return bytes(byte ^ 0x5A for byte in seed)


def of_changing_length(seed: bytes, *, secret: bytes, level: int) -> bytes:
    return bytes(seed[0] or 1)


def text(seed: bytes, *, secret: bytes, level: int) -> str:
    return "key"


def takes_too_little(seed: bytes) -> bytes:
    return seed


NO_FUNCTION = 7
