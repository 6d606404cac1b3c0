"""The fixtures, markers and options of the pytest plugin as Markdown, read from its code and from pytest."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from otabench.bench.pytest_plugin import fixtures as fixtures_module
from otabench.bench.pytest_plugin import plugin as plugin_module

_NAME: Final = "otabench.bench.pytest_plugin.plugin"


@dataclass(frozen=True)
class Fixture:
    """One fixture: its name, scope, the type that it gives, and its docstring."""

    name: str
    scope: str
    gives: str
    text: str


def fixtures() -> list[Fixture]:
    """Return the plugin's public fixtures, in the order of its file."""
    found = []
    for node in ast.parse(Path(fixtures_module.__file__).read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        for decorator in node.decorator_list:
            call = decorator.func if isinstance(decorator, ast.Call) else decorator
            if ast.unparse(call) == "pytest.fixture":
                scopes = [keyword.value for keyword in getattr(decorator, "keywords", ()) if keyword.arg == "scope"]
                scope = str(ast.literal_eval(scopes[0])) if scopes else "function"
                gives = ast.unparse(node.returns) if node.returns else ""
                found.append(
                    Fixture(
                        node.name,
                        scope,
                        gives.removeprefix("Iterator[").rstrip("]") if gives.startswith("Iterator[") else gives,
                        ast.get_docstring(node) or "",
                    )
                )
    return found


def fixture_section(fixture: Fixture) -> str:
    """Return a fixture's part of the page."""
    return f"### `{fixture.name}`\n\nScope {fixture.scope}; gives `{fixture.gives}`.\n\n{_plain(fixture.text)}"


@cache
def markers() -> dict[str, str]:
    """Return the plugin's markers and what they mean: what `pytest --markers` lists with the plugin, and not without it."""
    own, others = _markers_with("-p", _NAME), _markers_with()
    return {name: text for name, text in own.items() if name not in others}


def _markers_with(*options: str) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--markers", *options],
            cwd=folder,
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    lines = [
        line.removeprefix("@pytest.mark.") for line in done.stdout.splitlines() if line.startswith("@pytest.mark.")
    ]
    return {name: text.strip() for name, _, text in (line.partition(": ") for line in lines)}


def options() -> list[Any]:
    """Return the plugin's command-line options, as pytest holds them."""
    parser = pytest.Parser(_ispytest=True)
    plugin_module.pytest_addoption(parser)
    return list(parser.getgroup("otabench").options)


def option_section(option: Any) -> str:
    """Return an option's part of the page."""
    attributes = option.attrs()
    value = f" {attributes['metavar']}" if attributes.get("metavar") else ""
    return f"### `{option.names()[0]}{value}`\n\n{' '.join(str(attributes['help']).split())}"


def _plain(text: str) -> str:
    return text.replace("``", "`")
