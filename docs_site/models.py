"""The keys of a file that a pydantic model describes, as a table in Markdown: path, type, default, range, meaning.

The meaning is the string below a field in the class body, or what the class's docstring says below *Attributes*. For a key that holds
further keys it is the docstring of their class.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from html import escape
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag
from pydantic.fields import FieldInfo

from docs_site.docstrings import split_names


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        path: e.g. ``buses.NAME.bitrate``.
        values: type and range.
        default: as it is written in YAML; ``required`` where there is none.
        meaning: may be empty.
    """

    path: str
    values: str
    default: str
    meaning: str


Named = Mapping[type[BaseModel], str]
"""Models that have a table of their own, and the word for them elsewhere, e.g. ``step``."""


def keys(model: type[BaseModel], *, above: str = "", named: Named | None = None) -> Iterator[Key]:
    """Yield every key of a model, and of the models in it, in the order of the file."""
    words_of = named or {}
    meanings = _field_docs(model)
    for name, field in model.model_fields.items():
        path = f"{above}{field.alias or name}"
        inner = [(found, suffix) for found, suffix in _models_in(field.annotation) if found not in words_of]
        meaning = meanings.get(name, "")
        if len(inner) == 1 and not meaning:
            meaning = _first_paragraph(inner[0][0].__doc__)
        yield Key(path, _values(field, words_of), _default(name, field), meaning)
        for found, suffix in inner:
            yield from keys(found, above=f"{path}{suffix}.", named=words_of)


def table(model: type[BaseModel], *, named: Named | None = None) -> str:
    """Return the keys as a table."""
    rows = [
        f"| `{key.path}` | {_cell(key.values)} | {_cell(key.default)} | {_cell(key.meaning)} |"
        for key in keys(model, named=named)
    ]
    return "\n".join(["| key | values | default | meaning |", "|---|---|---|---|", *rows])


def summary(model: type[BaseModel]) -> str:
    """Return the first paragraph of a model's docstring."""
    return _cell(_first_paragraph(model.__doc__))


def tagged(union: Any) -> dict[str, type[BaseModel]]:
    """Return the models of a discriminated union, by their tags, in order."""
    found = {}
    for part in get_args(get_args(union)[0]):
        model, *metadata = get_args(part)
        (tag,) = (each.tag for each in metadata if isinstance(each, Tag))
        found[str(tag)] = model
    return found


def _models_in(annotation: Any, suffix: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    """Yield the models that a field may hold, and what their keys' paths have in between: ``.NAME`` in a mapping, ``[]`` in a list."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is None:
        if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
            yield annotation, suffix
    elif origin is Annotated:
        yield from _models_in(arguments[0], suffix)
    elif origin is not Literal:
        between = ".NAME" if origin is dict else "[]" if origin in (tuple, list) else ""
        for part in dict.fromkeys(arguments):
            yield from _models_in(part, suffix + between)


def _values(field: FieldInfo, named: Named) -> str:
    ranges = []
    for rule in field.metadata:
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
            bound = getattr(rule, name, None)
            if bound is not None:
                ranges.append(f"{sign} {_number(bound)}")
        pattern = getattr(rule, "pattern", None)
        if pattern:
            ranges.append(f"matches <code>{escape(pattern, quote=False).replace('|', '&#124;')}</code>")
    return ", ".join([_type(field.annotation, named), *ranges])


def _type(annotation: Any, named: Named) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], named)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_type(part, named) for part in arguments if part is not NoneType))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is dict:
        return (
            "mapping"
            if not arguments or _type(arguments[1], named) == "mapping"
            else f"mapping of {_type(arguments[1], named)}"
        )
    if origin in (tuple, list):
        return f"list of {_type(arguments[0], named)}"
    if not inspect.isclass(annotation):
        return "any value"
    if issubclass(annotation, Enum):
        return " or ".join(f"`{member.value}`" for member in annotation)
    if issubclass(annotation, BaseModel):
        return named.get(annotation, "mapping")
    return _PLAIN.get(annotation.__name__, "any value")


_PLAIN: Final = {
    "str": "text",
    "int": "integer",
    "float": "number",
    "bool": "`true` or `false`",
    "Path": "path",
    "Template": "bytes, as a template",
    "Pattern": "bytes, as a pattern",
}


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel | tuple) or value in ((), {}, None, ""):
        return ""
    if name.endswith("_id") and isinstance(value, int):  # CAN identifiers
        return f"`0x{value:X}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _number(value: float) -> str:
    """Return a bound as people write it: a mask of bits in hexadecimal, any other number with groups of digits."""
    if isinstance(value, int) and value > 0xFFFF and value & (value + 1) == 0:
        return f"0x{value:X}"
    return f"{value:,}"


def _field_docs(model: type[BaseModel]) -> dict[str, str]:
    """Return the string below each field, by the field's name."""
    docs: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        docs |= _attributes_in(base.__doc__ or "")
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
                text = below.value.value if isinstance(below.value, ast.Constant) else None
                if isinstance(text, str):
                    docs[field.target.id] = text
    return docs


def _attributes_in(docstring: str) -> dict[str, str]:
    """Return what the section *Attributes* of a docstring says, by name."""
    section = split_names(inspect.cleandoc(docstring)).partition("\nAttributes:\n")[2].partition("\n\n")[0]
    return dict(re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section, re.MULTILINE))


def _first_paragraph(docstring: str | None) -> str:
    return inspect.cleandoc(docstring or "").partition("\n\n")[0]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("``", "`")
