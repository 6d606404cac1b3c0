"""Bytes with fields: what a sequence sends, and the pattern of what an ECU may answer.

    Template.parse("31 01 FF 00 44 {address:4} {length:4}").render(scope)
    Pattern.parse("71 01 FF 00 00 *").mismatch(answer, scope)        # "" where it fits

Bytes are written as hexadecimal digits, spaces are free. A field is ``{name}``, ``{name:WIDTH}`` or ``{name:WIDTH:MODIFIER…}``:

* a number (``NUMBERS``: address, length, …) needs its width in bytes. It is big-endian without ``little``, and must fit without
  ``low``, which takes its lowest bytes;
* a value of the profile (``values:``) has a width of its own, and must not be given one.

A pattern has three more: ``??`` is any byte, ``?`` in place of a digit is any half byte, and ``*`` at the end is any further bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Protocol, Self, TypeVar

from pydantic import PlainValidator

from otabench.bench.finding import nearest

NUMBERS: Final = {
    "address": "the block's first address",
    "end_address": "the block's last address",
    "length": "the number of bytes of the block that are sent",
    "memory_length": "the number of bytes of the block in the ECU: more than `length` where it is compressed",
    "block_id": "the block's identifier, where the ECU numbers its memory",
    "block_number": "the block's place among those of the loop, from 1 on",
    "block_count": "how many blocks the loop has",
    "data_format": "the block's dataFormatIdentifier: 0 where it is neither compressed nor encrypted",
    "start_address": "where the ECU is to start what was loaded, e.g. VBF's call address",
    "counter": "blockSequenceCounter of the transfer (36)",
    "offset": "the number of bytes of the block that were sent before this transfer (36)",
    "data_length": "the number of data bytes in this transfer (36)",
    "record_address": "the address of the data in this transfer (36)",
}
"""Numbers that a template may name, and what they are."""
DATA: Final = "data"
"""The data bytes of one transfer (36). The field has no width."""
MAX_WIDTH: Final = 8
_T = TypeVar("_T")
_TOKEN: Final = re.compile(r"\s*(?:\{([^{}]*)\}|([0-9A-Fa-f?]{2})|(\*)\s*$)")


class Scope(Protocol):
    """The source of the values in a template's fields."""

    def number(self, name: str) -> int:
        """Return one of ``NUMBERS``."""
        ...

    def value(self, name: str, before: bytes) -> bytes:
        """Return a value of the profile, or ``DATA``. ``before``: the bytes of the message in front of it."""
        ...


class TemplateError(ValueError):
    """A template is wrong, or a number does not fit its field."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a template. ``width``: in bytes; 0: the value's own."""

    name: str
    width: int = 0
    is_little: bool = False
    is_low: bool = False

    def render(self, scope: Scope, before: bytes) -> bytes:
        """Return the field's bytes; ``before``: those of the message in front of it.

        Raises:
            TemplateError: the number does not fit.
        """
        if not self.width:
            return scope.value(self.name, before)
        number = scope.number(self.name)
        # Without ``low`` a number that is too large is an error: cut silently, it would flash another address.
        if self.is_low:
            number %= 1 << 8 * self.width
        try:
            return number.to_bytes(self.width, "little" if self.is_little else "big")
        except OverflowError as error:
            raise TemplateError(f"{self.name} is 0x{number:X}, which does not fit into {self.width} bytes") from error


@dataclass(frozen=True, slots=True)
class AnyBits:
    """A byte of a pattern of which only the bits in ``mask`` count."""

    value: int
    mask: int


@dataclass(frozen=True)
class Template:
    """Bytes and fields, in order."""

    text: str
    parts: tuple[bytes | Field, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a template.

        Raises:
            TemplateError: it is not one.
        """
        parts, has_rest = _parse(text)
        plain = tuple(part for part in parts if not isinstance(part, AnyBits))
        if has_rest or len(plain) != len(parts):
            raise TemplateError(f"{text!r}: ? and * belong into an expected answer; what is sent has no open bytes")
        return cls(text, plain)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields, in order."""
        return tuple(part for part in self.parts if isinstance(part, Field))

    @property
    def constant(self) -> bytes | None:
        """The bytes of a template without fields; None with fields."""
        return None if self.fields else b"".join(part for part in self.parts if isinstance(part, bytes))

    def render(self, scope: Scope) -> bytes:
        """Return the bytes.

        Raises:
            TemplateError: a number does not fit its field.
        """
        out = b""
        # A checksum over the message covers the bytes in front of it, so every field receives them.
        for part in self.parts:
            out += part if isinstance(part, bytes) else part.render(scope, out)
        return out

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Pattern:
    """The form that an answer must have."""

    text: str
    parts: tuple[bytes | Field | AnyBits, ...]
    has_rest: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern.

        Raises:
            TemplateError: it is not one.
        """
        parts, has_rest = _parse(text)
        return cls(text, parts, has_rest)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields, in order."""
        return tuple(part for part in self.parts if isinstance(part, Field))

    def mismatch(self, answer: bytes, scope: Scope) -> str:
        """Return where the answer differs, in words; "" if it fits.

        Raises:
            TemplateError: a number does not fit its field.
        """
        at = 0
        for expected in self._expected(scope):
            for value, mask in expected:
                if at >= len(answer):
                    return f"it ends after {len(answer)} bytes, where {self.text} is expected"
                if answer[at] & mask != value & mask:
                    return f"byte {at} is {answer[at]:02X}, where {self.text} is expected"
                at += 1
        if at < len(answer) and not self.has_rest:
            return f"it has {len(answer) - at} bytes more than {self.text}"
        return ""

    def matches(self, answer: bytes, scope: Scope) -> bool:
        """Return whether the answer fits."""
        return not self.mismatch(answer, scope)

    def example(self, scope: Scope) -> bytes:
        """Return the shortest answer that fits, with zeros for open bits. A dry run uses it as the ECU's answer."""
        return bytes(value & mask for expected in self._expected(scope) for value, mask in expected)

    def _expected(self, scope: Scope) -> Iterable[Sequence[tuple[int, int]]]:
        before = b""
        for part in self.parts:
            if isinstance(part, AnyBits):
                expected = [(part.value, part.mask)]
            else:
                expected = [(each, 0xFF) for each in (part if isinstance(part, bytes) else part.render(scope, before))]
            before += bytes(value for value, _ in expected)
            yield expected

    def __str__(self) -> str:
        return self.text


def check_names(template: Template | Pattern, *, values: Iterable[str], is_transfer: bool = False) -> None:
    """Check that every field exists and has the width that it needs.

    Args:
        template: what to check.
        values: the names of the profile's values.
        is_transfer: whether the numbers and the data of one transfer (36) exist here.

    Raises:
        TemplateError: one does not.
    """
    # ``data`` has no width either, so it is checked as a value is.
    own = {DATA, *values} if is_transfer else set(values)
    of_transfers = {"counter", "offset", "data_length", "record_address"}
    numbers = set(NUMBERS) if is_transfer else set(NUMBERS) - of_transfers
    for each in template.fields:
        if each.name in own:
            if each.width:
                raise TemplateError(f"{{{each.name}}} has a width of its own; leave out the :{each.width}")
        elif each.name in numbers:
            if not each.width:
                raise TemplateError(f"{{{each.name}}} needs a width in bytes, such as {{{each.name}:4}}")
        else:
            near = nearest(each.name, sorted(own | numbers))
            meant = f"did you mean {{{near}}}? " if near else ""
            place = "only in a transfer" if each.name in of_transfers | {DATA} else "unknown"
            raise TemplateError(f"{{{each.name}}} is {place}; {meant}known: {', '.join(sorted(own | numbers))}")


def _parse(text: str) -> tuple[tuple[bytes | Field | AnyBits, ...], bool]:
    parts: list[bytes | Field | AnyBits] = []
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None:
            here = text[at:].strip()
            raise TemplateError(f"{text!r}: {here[:12]!r} is neither a byte in two hexadecimal digits nor a {{field}}")
        at = found.end()
        field, byte, rest = found.groups()
        if rest:
            return tuple(parts), True
        if field is not None:
            parts.append(_field(field, text))
        # An open digit counts with mask 0, each other one with mask F.
        elif "?" in byte:
            parts.append(AnyBits(_digits(byte, "0"), _digits("".join("0" if c == "?" else "F" for c in byte), "")))
        elif parts and isinstance(parts[-1], bytes):
            parts[-1] += bytes.fromhex(byte)
        else:
            parts.append(bytes.fromhex(byte))
    return tuple(parts), False


def _digits(text: str, open_digit: str) -> int:
    return int(text.replace("?", open_digit), 16)


def _field(text: str, whole: str) -> Field:
    name, *rest = (part.strip() for part in text.split(":"))
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise TemplateError(f"{whole!r}: {{{text}}} is not a field; write {{name}} or {{name:WIDTH}}")
    width = 0
    if rest and rest[0].isdecimal():
        width = int(rest.pop(0))
        if not 1 <= width <= MAX_WIDTH:
            raise TemplateError(f"{whole!r}: {{{text}}}: a width is 1 to {MAX_WIDTH} bytes")
    if (rest and not width) or not {"little", "big", "low"}.issuperset(rest):
        raise TemplateError(f"{whole!r}: {{{text}}}: behind the name comes a width, then little or low")
    return Field(name, width, is_little="little" in rest, is_low="low" in rest)


def _from_yaml(parse: Callable[[str], _T]) -> Callable[[Any], _T]:
    def validate(given: Any) -> Any:
        if isinstance(given, Template | Pattern):
            return given
        if isinstance(given, bool) or not isinstance(given, str):
            # YAML reads 1001 as a number and 10:03 as minutes: the leading zeros and the base would be lost.
            raise TemplateError(f"{given!r} must be in quotes: bytes are written as text")
        return parse(given)

    return validate


TemplateText = Annotated[Template, PlainValidator(_from_yaml(Template.parse))]
"""A template as a key of a profile."""
PatternText = Annotated[Pattern, PlainValidator(_from_yaml(Pattern.parse))]
"""A pattern as a key of a profile."""
