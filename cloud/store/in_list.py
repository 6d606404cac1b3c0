"""A condition on a list of texts, in the form that each database works off fastest.

    statement = select(...).where(in_list(column, "vins"))
    connection.execute(statement, {"vins": ["VIN1", "VIN2"]})

* PostgreSQL receives the list as one array. Then the statement is the same for any length, and the driver prepares it after a few calls
  (psycopg's ``prepare_threshold``). With a parameter for each text, every length would be planned again.
* SQLite receives a parameter for each text, as ``column.in_(…)`` sends it. Its statements are prepared in no time.
"""

from __future__ import annotations

from typing import Any, Self

from sqlalchemy import ARRAY, Boolean, ColumnElement, Text, any_, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType


class _InList(FunctionElement[bool]):
    """The condition in both forms: as an array, and as a list of parameters. Only one of them is compiled."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: OperatorType | None = None) -> Self:
        """Return the condition as it is. SQLAlchemy would make ``… = 1`` of it for SQLite, which then uses no index."""
        return self


def in_list(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """Return the condition that the column is one of the texts of the parameter ``name``."""
    as_array = column == any_(bindparam(name, type_=ARRAY(Text())))
    return _InList(as_array, column.in_(bindparam(name, expanding=True)))


@compiles(_InList, "postgresql")
def _as_array(element: _InList, compiler: Any, **options: Any) -> str:
    as_array, _ = element.clauses
    return str(compiler.process(as_array, **options))


@compiles(_InList)
def _as_list(element: _InList, compiler: Any, **options: Any) -> str:
    _, as_list = element.clauses
    return str(compiler.process(as_list, **options))
