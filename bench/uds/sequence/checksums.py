"""Checksums over flashed data: CRCs by name or by parameters, and cryptographic digests.

    crc_over("CRC-16/X-25", [b"1234", b"56789"])          # 0x906E
    crc_over(CrcParameters(width=16, polynomial=0x3D65, reflect=True, xor_out=0xFFFF), [data])

The names are those of the CRC catalogue of Greg Cook (reveng). The package anycrc computes the CRCs.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from typing import Final

import anycrc
from pydantic import BaseModel, ConfigDict, Field

DIGESTS: Final = ("sha256", "sha384", "sha512", "sha1", "md5")
"""The last two are for old bootloaders, which compare them. They are not used for security here."""


class ByteOrder(StrEnum):
    """Order of the bytes of a number."""

    BIG = "big"
    LITTLE = "little"


class CrcParameters(BaseModel):
    """A CRC in the parameters of the Rocksoft model. ``reflect`` is for input and output alike: in practice they are the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(ge=8, le=64, multiple_of=8)
    polynomial: int = Field(ge=0, lt=2**64)
    init: int = Field(default=0, ge=0, lt=2**64)
    reflect: bool = False
    xor_out: int = Field(default=0, ge=0, lt=2**64)


@cache
def _named(name: str) -> CrcParameters:
    """Return a CRC of the catalogue. The comparison ignores punctuation and case: ``crc-16/x-25`` is CRC16-X-25."""
    known = {_letters(each): each for each in (*anycrc.models, *anycrc.aliases)}
    found = known.get(_letters(name))
    if found is None:
        near = difflib.get_close_matches(name.upper(), known.values(), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"there is no checksum {name!r}{hint}")
    model = anycrc.models[anycrc.aliases.get(found, found)]
    if model.width % 8 or model.refin != model.refout:
        raise ValueError(f"checksum {name!r} does not fill whole bytes; choose one that does")
    return CrcParameters(
        width=model.width, polynomial=model.poly, init=model.init, reflect=model.refin, xor_out=model.xorout
    )


def _letters(name: str) -> str:
    return "".join(each for each in name.upper() if each.isalnum())


def crc(which: str | CrcParameters) -> CrcParameters:
    """Return the parameters of a CRC that is given by name or by parameters.

    Raises:
        ValueError: the CRC does not exist; the message contains the nearest name.
    """
    return _named(which) if isinstance(which, str) else which


def crc_over(which: str | CrcParameters, parts: Iterable[bytes]) -> int:
    """Return the CRC of several parts, as if they were one.

    Raises:
        ValueError: see ``crc``.
    """
    # The parts are not joined: together they may be as large as the program.
    running = _computer(crc(which))
    total = running.calc(b"")
    for part in parts:
        total = running.calc(part, total)
    return int(total)


@cache
def _computer(parameters: CrcParameters) -> anycrc.CRC:
    each = parameters
    return anycrc.CRC(each.width, each.polynomial, each.init, each.reflect, each.reflect, each.xor_out)


def digest(name: str, parts: Iterable[bytes]) -> bytes:
    """Return a cryptographic digest; ``name`` is one of ``DIGESTS``."""
    running = hashlib.new(name, usedforsecurity=False)
    for part in parts:
        running.update(part)
    return running.digest()
