"""Docstrings with several names on a line, as the API reference needs them."""

from __future__ import annotations

from docs_site.docstrings import split_names

BEFORE = """Return it.

Args:
    setup, options: what it is
        made from.
    name: a, b: both.
    *args, **kwargs: passed on.

See also: this, that: prose with names, commas: and colons.

Raises:
    ValueError, OSError: bad.

Attributes:
    a, b: see above."""
AFTER = """Return it.

Args:
    setup: what it is
        made from.
    options: what it is
        made from.
    name: a, b: both.
    *args: passed on.
    **kwargs: passed on.

See also: this, that: prose with names, commas: and colons.

Raises:
    ValueError, OSError: bad.

Attributes:
    a: see above.
    b: see above."""


def test_a_line_for_several_names_becomes_one_for_each() -> None:
    assert split_names(BEFORE) == AFTER


def test_a_docstring_with_one_name_a_line_stays() -> None:
    assert split_names(AFTER) == AFTER
