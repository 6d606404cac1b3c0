"""Texts that an ECU reports in an identifier: which bytes of the record they are, and how these become text."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, model_validator

from otabench.bench.uds.sequence.steps import Word


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Decoding(StrEnum):
    """How the bytes of an identifier become text."""

    ASCII = "ascii"
    """Without NUL bytes and blanks at the ends."""
    UTF8 = "utf-8"
    """As ``ascii``, in UTF-8."""
    HEX = "hex"
    """Two capital digits for each byte."""
    BCD = "bcd"
    """Two decimal digits for each byte."""


class DidText(_Model):
    """A text that the ECU reports.

    Attributes:
        did: its data identifier (22).
        decode: see ``Decoding``.
        at: the first byte of the record that belongs to it.
        length: the number of bytes; None: up to the end.
        join: for ``hex`` and ``bcd``: put between the bytes. The bytes are then numbers without leading zeros: 01 02 10 is "1.2.10".
    """

    did: Word
    decode: Decoding = Decoding.ASCII
    at: int = Field(default=0, ge=0, le=4095)
    length: int | None = Field(default=None, ge=1, le=4095)
    join: str = Field(default="", max_length=1)

    @model_validator(mode="after")
    def _joins_numbers(self) -> DidText:
        if self.join and self.decode not in (Decoding.HEX, Decoding.BCD):
            raise ValueError("join is for hex and bcd; leave it out")
        return self

    def text_of(self, record: bytes) -> str:
        """Return the text in a record, without 62 and the identifier.

        Raises:
            ValueError: the record is too short, or is not in this code.
        """
        end = None if self.length is None else self.at + self.length
        if len(record) < (self.at + 1 if end is None else end):
            raise ValueError(f"{record.hex(' ').upper() or 'an empty record'} is too short")
        part = record[self.at : end]
        if self.decode in (Decoding.ASCII, Decoding.UTF8):
            return _characters(part, self.decode)
        numbers = [f"{each:02X}" for each in part]
        if self.decode is Decoding.BCD and not all(number.isdecimal() for number in numbers):
            raise ValueError(f"{part.hex(' ').upper()} is not BCD")
        if not self.join:
            return "".join(numbers)
        return self.join.join(number.lstrip("0") or "0" for number in numbers)


def text_of(record: bytes) -> str:
    """Return a record as text: without NUL and blanks at the ends if it is printable ASCII, otherwise as hexadecimal digits."""
    part = record.rstrip(b"\xff").strip(b"\0 ")
    return part.decode("ascii") if part.isascii() and part.decode("ascii").isprintable() else record.hex().upper()


def _characters(part: bytes, decode: Decoding) -> str:
    try:
        # Erased flash reads FF: a field that was never written is empty.
        text = part.rstrip(b"\xff").decode(decode)
    except UnicodeDecodeError as error:
        raise ValueError(f"{part.hex(' ').upper()} is not {decode.upper()}") from error
    return text.strip("\0 ")
