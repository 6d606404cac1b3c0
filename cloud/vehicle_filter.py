"""Filters over a fleet: which vehicles a campaign or a list is for, written as text.

    wanted = parse("region=eu and model_year>=2023 and engine.version<2.0.0")
    wanted.explain(vehicle)  # "" if the vehicle matches, else why it does not

    filter      = comparison, also joined by "and", "or", "not" and parentheses
    comparison  = name ("=" | "!=" | "<" | "<=" | ">" | ">=") value  |  name "in" "(" value {"," value} ")"
    name        = vin, hardware_id (of any ECU), ECU.version, ECU.hardware_id, or an attribute
    value       = a word, or text in single or double quotes; with "=", "!=" and "in" a "*" stands for any text

* "<" and its like compare numbers and versions ("2.10" is more than "2.9"). A value that is neither does not match.
* "!=" is the opposite of "=", so it matches a vehicle without that attribute.

Pure: what is known about a vehicle is an argument.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Protocol

MAX_CHARACTERS: Final = 4000
MAX_DEPTH: Final = 20
ATTRIBUTE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
RESERVED: Final = frozenset({"vin", "hardware_id", "and", "or", "not", "in"})
"""Names that an attribute cannot have."""
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<mark>!=|<=|>=|[=<>(),])|(?P<quoted>'[^']*'|\"[^\"]*\")|(?P<word>[^\s=<>!(),'\"]+))"
)
_NUMBERS: Final = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})*")
_ORDERS: Final[Mapping[str, Callable[[list[int], list[int]], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class FilterError(ValueError):
    """A filter that cannot be read. The text has the place and the remedy."""

    def __init__(self, place: int, problem: str) -> None:
        super().__init__(f"character {place + 1}: {problem}")


@dataclass(frozen=True)
class FilteredVehicle:
    """What filters know about a vehicle. ``ecus``: hardware id and version, by name."""

    vin: str
    attributes: Mapping[str, str]
    ecus: Mapping[str, tuple[str, str]]

    def values(self, name: str) -> Sequence[str]:
        """Return the values of a name: none, one, or one for each ECU."""
        if name == "vin":
            return [self.vin]
        if name == "hardware_id":
            return [hardware_id for hardware_id, _ in self.ecus.values()]
        ecu, dot, part = name.rpartition(".")
        if dot:
            hardware_id, version = self.ecus.get(ecu, ("", ""))
            return [value] if (value := version if part == "version" else hardware_id) else []
        return [self.attributes[name]] if name in self.attributes else []


class Filter(Protocol):
    """A filter, or a part of one."""

    def explain(self, vehicle: FilteredVehicle) -> str:
        """Return why the vehicle does not match; empty: it does."""


def parse(text: str) -> Filter:
    """Return the filter.

    Raises:
        FilterError: the text is not a filter.
    """
    if len(text) > MAX_CHARACTERS:
        raise FilterError(MAX_CHARACTERS, f"a filter has {MAX_CHARACTERS} characters at most")
    reader = _Reader(text)
    found = reader.read_alternatives(depth=0)
    reader.expect_end()
    return found


@dataclass(frozen=True)
class _Comparison:
    name: str
    sign: str
    values: Sequence[str]

    def explain(self, vehicle: FilteredVehicle) -> str:
        present = vehicle.values(self.name)
        if self.sign in _ORDERS:
            matches = any(_is_ordered(each, self.sign, self.values[0]) for each in present)
        else:
            matches = any(fnmatchcase(each, _pattern(value)) for each in present for value in self.values)
        if matches is not (self.sign == "!="):
            return ""
        wanted = f"in ({', '.join(self.values)})" if self.sign == "in" else f"{self.sign}{self.values[0]}"
        return f"{self.name} is {', '.join(present) or 'not set'}, and not {wanted}"


@dataclass(frozen=True)
class _All:
    parts: Sequence[Filter]

    def explain(self, vehicle: FilteredVehicle) -> str:
        return next((reason for part in self.parts if (reason := part.explain(vehicle))), "")


@dataclass(frozen=True)
class _Any:
    parts: Sequence[Filter]

    def explain(self, vehicle: FilteredVehicle) -> str:
        reasons = [part.explain(vehicle) for part in self.parts]
        return "; ".join(reasons) if all(reasons) else ""


@dataclass(frozen=True)
class _Not:
    part: Filter
    text: str

    def explain(self, vehicle: FilteredVehicle) -> str:
        return "" if self.part.explain(vehicle) else f"excluded by not {self.text}"


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    place: int


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._next = 0

    def read_alternatives(self, *, depth: int) -> Filter:
        parts = [self._read_conjunction(depth=depth)]
        while self._take_word("or"):
            parts.append(self._read_conjunction(depth=depth))
        return parts[0] if len(parts) == 1 else _Any(parts)

    def expect_end(self) -> None:
        if (token := self._peek()).kind != "end":
            raise FilterError(token.place, f"{token.text!r} is not expected here: join comparisons by and, or")

    def _read_conjunction(self, *, depth: int) -> Filter:
        parts = [self._read_factor(depth=depth)]
        while self._take_word("and"):
            parts.append(self._read_factor(depth=depth))
        return parts[0] if len(parts) == 1 else _All(parts)

    def _read_factor(self, *, depth: int) -> Filter:
        token = self._peek()
        if depth > MAX_DEPTH:
            raise FilterError(token.place, f"parentheses and nots are nested more than {MAX_DEPTH} deep")
        if self._take_word("not"):
            part = self._read_factor(depth=depth + 1)
            return _Not(part, self._text[token.place + 3 : self._peek().place].strip())
        if self._take_mark("("):
            part = self.read_alternatives(depth=depth + 1)
            self._expect_mark(")")
            return part
        return self._read_comparison()

    def _read_comparison(self) -> Filter:
        name = self._advance()
        if name.kind != "word" or name.text in RESERVED - {"vin", "hardware_id"}:
            raise FilterError(name.place, "a name is expected, as in region=eu")
        _, dot, part = name.text.rpartition(".")
        if dot and part not in ("version", "hardware_id"):
            raise FilterError(name.place, f"{name.text!r}: of an ECU there is .version and .hardware_id")
        if self._take_word("in"):
            self._expect_mark("(")
            values = [self._read_value()]
            while self._take_mark(","):
                values.append(self._read_value())
            self._expect_mark(")")
            return _Comparison(name.text, "in", tuple(values))
        sign = self._advance()
        if sign.kind != "mark" or sign.text in "(),":
            raise FilterError(sign.place, f"after {name.text!r} one of = != < <= > >= in is expected")
        place, value = self._peek().place, self._read_value()
        if sign.text in _ORDERS and not _NUMBERS.fullmatch(value):
            raise FilterError(
                place, f"{sign.text} compares numbers and versions, and {value!r} is neither: use = or !="
            )
        return _Comparison(name.text, sign.text, (value,))

    def _read_value(self) -> str:
        token = self._advance()
        if token.kind not in ("word", "quoted"):
            raise FilterError(token.place, "a value is expected; put one with spaces or signs in quotes")
        return token.text

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _advance(self) -> _Token:
        token = self._peek()
        # The end is never passed.
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _take_word(self, word: str) -> bool:
        return self._take("word", word)

    def _take_mark(self, mark: str) -> bool:
        return self._take("mark", mark)

    def _take(self, kind: str, text: str) -> bool:
        token = self._peek()
        if token.kind != kind or token.text != text:
            return False
        self._advance()
        return True

    def _expect_mark(self, mark: str) -> None:
        if not self._take_mark(mark):
            raise FilterError(self._peek().place, f"{mark!r} is expected")


def _tokens(text: str) -> list[_Token]:
    tokens, place = [], 0
    while text[place:].strip():
        found = _TOKEN.match(text, place)
        if found is None or found.lastgroup is None:
            start = place + len(text[place:]) - len(text[place:].lstrip())
            raise FilterError(start, f"{text[start]!r} cannot stand here: close the quote, or write != for not equal")
        kind = found.lastgroup
        value = found[kind][1:-1] if kind == "quoted" else found[kind]
        tokens.append(_Token(kind, value, found.start(kind)))
        place = found.end()
    return [*tokens, _Token("end", "", len(text))]


def _pattern(value: str) -> str:
    # Only "*" is a placeholder; fnmatch has others.
    return value.replace("[", "[[]").replace("?", "[?]")


def _is_ordered(present: str, sign: str, wanted: str) -> bool:
    if not _NUMBERS.fullmatch(present):
        return False
    left, right = ([int(part) for part in each.split(".")] for each in (present, wanted))
    # 2 and 2.0.0 are the same.
    length = max(len(left), len(right))
    return _ORDERS[sign](left + [0] * (length - len(left)), right + [0] * (length - len(right)))
