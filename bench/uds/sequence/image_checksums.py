"""Checksums inside a program, which its bootloader compares. They are written before the program is sent, or only checked.

    layout:
      image_checksums:
        - {at: 0x08003FFC, checksum: CRC-32, start: 0x08000000, end: 0x08003FFC, order: little}

Some build chains leave the place of the checksum empty, and the maker's flash tool fills it. ``missing: fill`` does the same.
``missing: refuse`` sends nothing if the program does not carry the right checksum already. With a signed program, what is filled in is
not covered by the signature of the file; it follows from the signed bytes and the profile alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from otabench.bench.uds.sequence import checksums
from otabench.bench.uds.sequence.checksums import ByteOrder, CrcParameters

Piece = tuple[int, bytes]
"""Address and data of a contiguous piece of a program."""


class ImageChecksumError(ValueError):
    """The program does not carry the checksum, or does not contain what it covers. The message names address and values."""


class ImageChecksum(BaseModel):
    """One checksum inside the program.

    Attributes:
        at: the address of its first byte.
        checksum: a CRC by name or by parameters, as in ``values``.
        start, end: what it covers, without ``end`` itself.
        order: its byte order in memory.
        missing: what happens if another value is there: it is filled in, or the program is refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: int = Field(ge=0, lt=2**64)
    checksum: str | CrcParameters
    start: int = Field(ge=0, lt=2**64)
    end: int = Field(ge=1, lt=2**64)
    order: ByteOrder = ByteOrder.BIG
    missing: Literal["fill", "refuse"] = "fill"

    @field_validator("checksum")
    @classmethod
    def _exists(cls, given: str | CrcParameters) -> str | CrcParameters:
        checksums.crc(given)
        return given

    @model_validator(mode="after")
    def _apart(self) -> ImageChecksum:
        if self.end <= self.start:
            raise ValueError("image_checksums: end must be behind start")
        if self.start < self.at + self.width and self.at < self.end:
            raise ValueError("image_checksums: the checksum lies in what it covers; give the part before or behind it")
        return self

    @property
    def width(self) -> int:
        """Its length in bytes."""
        return checksums.crc(self.checksum).width // 8


def apply(rules: Iterable[ImageChecksum], pieces: Sequence[Piece]) -> list[bytes]:
    """Return the data of the pieces with the checksums of all rules, which are applied in order.

    Raises:
        ImageChecksumError: the program must carry a checksum and does not, or what a rule names is not in one piece.
    """
    data = [bytearray(each) for _, each in pieces]
    for rule in rules:
        # ``data``, not ``pieces``: a checksum may cover the checksum of an earlier rule.
        covered, at = _find(pieces, rule.start, rule.end, "what it covers")
        number = checksums.crc_over(rule.checksum, [bytes(data[covered][at : at + rule.end - rule.start])])
        right = number.to_bytes(rule.width, rule.order.value)
        target, at = _find(pieces, rule.at, rule.at + rule.width, "its place")
        found = bytes(data[target][at : at + rule.width])
        if found != right and rule.missing == "refuse":
            raise ImageChecksumError(
                f"checksum at 0x{rule.at:X}: the program carries {found.hex(' ').upper()}, and {right.hex(' ').upper()} is right"
            )
        data[target][at : at + rule.width] = right
    return [bytes(each) for each in data]


def _find(pieces: Sequence[Piece], start: int, end: int, what: str) -> tuple[int, int]:
    """Return the number of the piece that holds a range, and where in it the range begins."""
    for number, (address, data) in enumerate(pieces):
        if address <= start and end <= address + len(data):
            return number, start - address
    raise ImageChecksumError(f"checksum: {what}, 0x{start:X} up to 0x{end:X}, is not in one block of the program")
