"""The mistakes that pydantic finds in a file, in plain words: no Python type, no class.

    problem, remedy = words(detail, written="0x1F15A")     # "expected at most 0xFFFF, found 0x1F15A", ""

``KINDS``, ``quoted`` and ``shortened`` also serve ``topology.wording``, which has the keys of the bench file and how to write each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from otabench.bench.finding import nearest, unknown_key_remedy

KINDS: Final = {
    "int_parsing": "a number",
    "int_type": "a number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "name_or_number": "a name or a number",
}
"""What is expected, by pydantic's name of the mistake."""
_BOUNDS: Final = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}
_LENGTHS: Final = {
    "too_short": ("min_length", "at least"),
    "too_long": ("max_length", "at most"),
    "string_too_short": ("min_length", "at least"),
    "string_too_long": ("max_length", "at most"),
}
_MAX_QUOTED: Final = 100
"""The limit on the characters of a quoted value."""

Detail = Mapping[str, Any]
"""One mistake as ``ValidationError.errors`` returns it."""


def words(
    detail: Detail, *, written: str | None = None, known: Collection[str] = (), found: str | None = None
) -> tuple[str, str]:
    """Return what is wrong and what to do; the second may be empty.

    Args:
        detail: the mistake.
        written: the value as it stands in the file; None: in quotes, or not known.
        known: the keys of the section, for an unknown one.
        found: how to show the value that was found. None: as it is written, shortened.
    """
    kind = str(detail["type"])
    if kind == "missing":
        return "this key is missing", "add it"
    if kind == "extra_forbidden":
        return "unknown key", unknown_key_remedy(str(detail["loc"][-1]), known)
    message = str(detail["msg"])
    if kind == "value_error":
        return message.removeprefix("Value error, "), ""
    found = f"found {found or _found(detail.get('input'), written)}"
    if kind in KINDS:
        return f"expected {KINDS[kind]}, {found}", ""
    if kind in _BOUNDS:
        key, comparison = _BOUNDS[kind]
        limit = detail["ctx"][key]
        shown = (
            f"0x{limit:X}"
            if (written or "").startswith("0x") and isinstance(limit, int)
            else f"{limit:g}"
            if isinstance(limit, float)
            else f"{limit}"
        )
        return f"expected {comparison} {shown}, {found}", ""
    if kind in _LENGTHS:
        key, comparison = _LENGTHS[kind]
        return f"expected {comparison} {_counted(detail['ctx'][key], detail.get('input'))}, {found}", ""
    if kind in ("literal_error", "enum"):
        expected = str(detail["ctx"]["expected"])
        near = nearest(str(detail.get("input")), re.findall("'([^']*)'", expected))
        return f"expected {expected}, {found}", f"did you mean {near!r}?" if near else ""
    return f"{message[:1].lower()}{message[1:]}, {found}", ""


def without_echoes(details: Iterable[Detail], known_at: Callable[[tuple[Any, ...]], Collection[str]]) -> list[Detail]:
    """Leave out keys that are missing only because they are misspelt: the misspelt ones are mistakes of their own.

    Args:
        details: all mistakes of a file.
        known_at: returns the keys of the section at a place.
    """
    listed = list(details)
    meant = {
        (*each["loc"][:-1], nearest(str(each["loc"][-1]), known_at(each["loc"][:-1])))
        for each in listed
        if each["type"] == "extra_forbidden"
    }
    return [each for each in listed if each["type"] != "missing" or each["loc"] not in meant]


def quoted(value: Any, written: str | None) -> str:
    """Return a value as it is written in the file; in Python's quotes if it is text, or if the way of writing is not known."""
    return repr(value) if written is None or isinstance(value, str) else written


def shortened(text: str) -> str:
    """Return a text that is short enough for a message."""
    return text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "…"


def _counted(limit: int, value: Any) -> str:
    noun = "character" if isinstance(value, str) else "entry"
    if limit == 1:
        return f"1 {noun}"
    return f"{limit} {'entries' if noun == 'entry' else 'characters'}"


def _found(value: Any, written: str | None) -> str:
    """Return the value that was found, as messages show it."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "keys and values"
    if isinstance(value, list | tuple):
        return "a list"
    return shortened(quoted(value, written))
