"""Values that a profile computes for its templates: checksums, digests, dates, texts, signatures, counters.

    values:
      block_crc:   {checksum: CRC-32, over: block}
      all_crc:     {checksum: {width: 16, polynomial: 0x3D65, reflect: true, xor_out: 0xFFFF}, over: all, width: 4}
      written_on:  {date: YYMMDD, as: bcd}
      workshop:    {text: OTABENCH, width: 10, pad: 0x20}
      part_number: {setting: part_number, width: 8}

The name of the value is the name of the field: ``{block_crc}``.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator

from otabench.bench.uds.sequence import checksums
from otabench.bench.uds.sequence.checksums import ByteOrder, CrcParameters
from otabench.bench.uds.sequence.template import TemplateText

_DATE_PARTS: Final = {"YYYY": "%Y", "YY": "%y", "MM": "%m", "DD": "%d", "hh": "%H", "mm": "%M", "ss": "%S"}
_DATE: Final = re.compile("|".join(_DATE_PARTS))


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Over(StrEnum):
    """The bytes that a checksum covers."""

    BLOCK = "block"
    """The block of the loop."""
    DRIVER = "driver"
    """All blocks of this kind, one after the other."""
    APPLICATION = "application"
    ALL = "all"
    """All blocks of the update."""
    MESSAGE = "message"
    """The bytes of the message in front of the checksum."""


class Checksum(_Model):
    """A CRC. ``width``: of the field, if it is longer than the CRC; zeros are in front (big) or behind (little)."""

    checksum: str | CrcParameters
    over: Over = Over.BLOCK
    order: ByteOrder = ByteOrder.BIG
    width: int | None = Field(default=None, ge=1, le=16)

    @field_validator("checksum")
    @classmethod
    def _exists(cls, given: str | CrcParameters) -> str | CrcParameters:
        checksums.crc(given)
        return given

    def compute(self, parts: list[bytes]) -> bytes:
        """Return the field's bytes."""
        # A wider field is filled with zeros; a narrower one would cut the CRC, so the CRC's own width is the least.
        own = checksums.crc(self.checksum).width // 8
        number = checksums.crc_over(self.checksum, parts)
        return number.to_bytes(max(own, self.width or own), self.order.value)


class Digest(_Model):
    """A cryptographic digest; ``width``: how many of its first bytes, all by default."""

    digest: Literal["sha256", "sha384", "sha512", "sha1", "md5"]
    over: Over = Over.BLOCK
    width: int | None = Field(default=None, ge=1, le=64)

    def compute(self, parts: list[bytes]) -> bytes:
        """Return the field's bytes."""
        return checksums.digest(self.digest, parts)[: self.width]


class Date(_Model):
    """The date or time of programming (UTC), made of YYYY, YY, MM, DD, hh, mm, ss and, as text, other characters."""

    date: str
    as_: Literal["bcd", "ascii"] = Field(default="bcd", alias="as")

    @field_validator("date")
    @classmethod
    def _has_parts(cls, given: str) -> str:
        if not _DATE.search(given):
            raise ValueError(f"{given!r} has none of {', '.join(_DATE_PARTS)}")
        return given

    def compute(self, now: datetime) -> bytes:
        """Return the field's bytes."""
        text = _DATE.sub(lambda part: now.strftime(_DATE_PARTS[part[0]]), self.date)
        if self.as_ == "ascii":
            return text.encode("ascii", "replace")
        # BCD has two digits in each byte. Characters between the parts, such as dots, are for text only.
        return bytes.fromhex("".join(each for each in text if each.isdecimal()))


class Text(_Model):
    """A text, constant or one of the settings of the run, cut or padded to ``width``."""

    text: str | None = None
    setting: str | None = None
    """Name of a setting: ``tester_serial``, ``workshop_code``, or a field of the program file."""
    width: int | None = Field(default=None, ge=1, le=255)
    pad: int = Field(default=0x00, ge=0, le=0xFF)
    encoding: Literal["ascii", "utf-8", "latin-1", "hex"] = "ascii"

    def compute(self, text: str) -> bytes:
        """Return the field's bytes.

        Raises:
            ValueError: the text cannot be written in the encoding, or is longer than the field.
        """
        data = bytes.fromhex(text) if self.encoding == "hex" else text.encode(self.encoding)
        if self.width is None:
            return data
        if len(data) > self.width:
            raise ValueError(f"{text!r} has {len(data)} bytes, and the field {self.width}")
        return data.ljust(self.width, bytes((self.pad,)))


class Signature(_Model):
    """The signature of the block: ``Material.signatures``. Neither program files nor campaigns provide one yet."""

    signature: Literal["block"]


class Attempt(_Model):
    """Number of programming attempts of this ECU in this job, from 1 on: a programming counter."""

    attempt: int = Field(ge=1, le=4)
    """Width in bytes."""
    order: ByteOrder = ByteOrder.BIG


class ProgramBytes(_Model):
    """Bytes of the program itself, by their address in the ECU's memory: an identification or a key that the file contains."""

    program_at: int = Field(ge=0, lt=2**64)
    length: int = Field(ge=1, le=256)


class Composed(_Model):
    """Bytes made of other values, to be named once where several steps send them."""

    bytes: TemplateText


VALUE_KINDS: Final[dict[str, type[BaseModel]]] = {
    "checksum": Checksum,
    "digest": Digest,
    "date": Date,
    "text": Text,
    "signature": Signature,
    "attempt": Attempt,
    "program_at": ProgramBytes,
    "bytes": Composed,
}


def _kind_of(given: Any) -> str | None:
    keys = given if isinstance(given, dict) else getattr(type(given), "model_fields", {})
    for key in (*VALUE_KINDS, "setting"):
        if key in keys:
            return "text" if key == "setting" else key
    return None


Value = Annotated[
    Annotated[Checksum, Tag("checksum")]
    | Annotated[Digest, Tag("digest")]
    | Annotated[Date, Tag("date")]
    | Annotated[Text, Tag("text")]
    | Annotated[Signature, Tag("signature")]
    | Annotated[Attempt, Tag("attempt")]
    | Annotated[ProgramBytes, Tag("program_at")]
    | Annotated[Composed, Tag("bytes")],
    Discriminator(
        _kind_of,
        custom_error_type="value_kind",
        custom_error_message="a value has one of: checksum, digest, date, text, setting, signature, attempt, program_at, bytes",
    ),
]
