"""The templates of the pages: one environment, so that they share a part of their style sheet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from otabench.bench.report import strokes


def render(name: str, *, filters: Mapping[str, Callable[..., str]] | None = None, **values: Any) -> str:
    """Return a page. All values are escaped, except what is ``Markup``.

    Args:
        name: of the template, in this folder.
        filters: further filters of the template.
        values: what it shows; one that is missing raises ``jinja2.UndefinedError``.
    """
    environment = Environment(
        loader=FunctionLoader(_read), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(filters or {})
    return environment.get_template(name).render(curve_style=Markup(strokes.STYLE), **values)


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
