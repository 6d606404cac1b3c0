"""A condition on a list of texts whose statement is the same for any length.

    statement = select(...).where(in_list(column, "vins"))
    connection.execute(statement, {"vins": ["VIN1", "VIN2"]})

``column.in_(…)`` has a parameter for each text, so each length is another statement, which PostgreSQL would plan again at almost each call:
the driver prepares only what it sends often (psycopg's ``prepare_threshold``). The list travels as one array there, and as JSON to SQLite.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, Boolean, ColumnElement, Dialect, Text, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine


class _TextList(TypeDecorator[Sequence[str]]):
    """A list of texts as one parameter."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ARRAY(Text()) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> Any:
        return value if dialect.name == "postgresql" or value is None else json.dumps(list(value))


class _InList(FunctionElement[bool]):
    """The condition. Its clauses are the column and the parameter."""

    type = Boolean()
    inherit_cache = True


def in_list(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """Return the condition that the column is one of the texts of the parameter ``name``."""
    return _InList(column, bindparam(name, type_=_TextList()))


@compiles(_InList, "postgresql")
def _as_array(element: _InList, compiler: Any, **options: Any) -> str:
    column, parameter = element.clauses
    return f"{compiler.process(column, **options)} = ANY ({compiler.process(parameter, **options)})"


@compiles(_InList)
def _as_json(element: _InList, compiler: Any, **options: Any) -> str:
    column, parameter = element.clauses
    return f"{compiler.process(column, **options)} IN (SELECT value FROM json_each({compiler.process(parameter, **options)}))"
