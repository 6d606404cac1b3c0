"""The keys of a file that a pydantic model describes, as a table in Markdown: path, type, default, range, meaning.

The meaning is the string below a field in the class body, as everywhere in this code base; the class's own docstring stands for a key
that holds further keys.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from html import escape
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


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


def keys(model: type[BaseModel], *, above: str = "") -> Iterator[Key]:
    """Yield every key of a model, and of the models in it, in the order of the file."""
    meanings = _field_docs(model)
    for name, field in model.model_fields.items():
        path = f"{above}{name}"
        inner, suffix = _inner_model(field.annotation)
        words = meanings.get(name, "")
        if inner is not None and not words:
            words = _first_paragraph(inner.__doc__)
        yield Key(path, _values(field), _default(name, field), words)
        if inner is not None:
            yield from keys(inner, above=f"{path}{suffix}.")


def table(model: type[BaseModel]) -> str:
    """Return the keys as a table."""
    rows = [
        f"| `{key.path}` | {_cell(key.values)} | {_cell(key.default)} | {_cell(key.meaning)} |" for key in keys(model)
    ]
    return "\n".join(["| key | values | default | meaning |", "|---|---|---|---|", *rows])


def _inner_model(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """Return the model that a field holds, and what its keys' paths have in between: ``.NAME`` for a dictionary, ``[]`` for a list."""
    for part in (annotation, *get_args(annotation)):
        if inspect.isclass(part) and get_origin(part) is None and issubclass(part, BaseModel):
            origin = get_origin(annotation)
            return part, ".NAME" if origin is dict else "[]" if origin in (tuple, list) else ""
    return None, ""


def _values(field: FieldInfo) -> str:
    ranges = []
    for rule in field.metadata:
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
            bound = getattr(rule, name, None)
            if bound is not None:
                ranges.append(f"{sign} {_number(bound)}")
        pattern = getattr(rule, "pattern", None)
        if pattern:
            ranges.append(f"matches <code>{escape(pattern, quote=False).replace('|', '&#124;')}</code>")
    return ", ".join([_type(field.annotation), *ranges])


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(_type(part) for part in arguments if part is not NoneType)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is dict:
        return "mapping"
    if origin in (tuple, list):
        return f"list of {_type(arguments[0])}"
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return " or ".join(f"`{member.value}`" for member in annotation)
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "mapping"
    return {"str": "text", "int": "integer", "float": "number", "bool": "`true` or `false`", "Path": "path"}.get(
        getattr(annotation, "__name__", ""), "any value"
    )


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel) or value in ((), {}, None, ""):
        return ""
    if name.endswith("_id") and isinstance(value, int):  # CAN identifiers
        return f"`0x{value:X}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _number(value: float) -> str:
    """Return a bound as people write it: a mask of bits in hexadecimal, any other number with groups of digits."""
    if isinstance(value, int) and value > 0xFF and value & (value + 1) == 0:
        return f"0x{value:X}"
    return f"{value:,}"


def _field_docs(model: type[BaseModel]) -> dict[str, str]:
    """Return the string below each field, by the field's name."""
    docs: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
                text = below.value.value if isinstance(below.value, ast.Constant) else None
                if isinstance(text, str):
                    docs[field.target.id] = text
    return docs


def _first_paragraph(docstring: str | None) -> str:
    return inspect.cleandoc(docstring or "").partition("\n\n")[0]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("``", "`")
