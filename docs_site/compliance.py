"""``docs/compliance.md``: a table from clause to feature, test and evidence, made of ``clauses.yaml`` and of the markers on the tests.

    python -m docs_site.compliance            # writes docs/compliance.md

A test shows that a clause is met by ``@pytest.mark.clause("R156 7.2.1.1", …)``. Markers are read from the source: nothing is imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[1]
CLAUSES: Final = Path(__file__).with_name("clauses.yaml")
PAGE: Final = ROOT / "docs" / "compliance.md"
_HEAD: Final = (
    "# Compliance\n\n"
    "Which clause is met by what, shown by which test, and where it stands in the [evidence of an update](evidence.md). "
    "This is no certificate: an approval authority judges a vehicle and an organization, not a test bench. Gaps are listed as gaps.\n\n"
    "This page is generated: `python -m docs_site.compliance` makes it out of `docs_site/clauses.yaml` and the markers on the tests. "
    "R156 is UN Regulation No. 156 in the text of 2021.\n\n"
    "| clause | asks | here | shown by | in the evidence | gap |\n|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True)
class Clause:
    """One clause: what it asks, what there is for it, and what is missing."""

    clause: str
    asks: str
    has: str = ""
    evidence: str = ""
    gap: str = ""


def read_clauses(path: Path = CLAUSES) -> list[Clause]:
    """Return the clauses in the order of the file.

    Raises:
        ValueError: an entry has an unknown key, or a clause stands twice.
    """
    entries: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    known = {field.name for field in fields(Clause)}
    for entry in entries:
        if unknown := entry.keys() - known:
            raise ValueError(f"{path}: {entry.get('clause')}: unknown keys {', '.join(sorted(unknown))}")
    clauses = [Clause(**entry) for entry in entries]
    names = [each.clause for each in clauses]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{path}: {', '.join(sorted(twice))} stands twice")
    return clauses


def marked_tests(tests: Path = ROOT / "tests") -> dict[str, list[str]]:
    """Return the tests of each clause, as ``path::name`` relative to the checkout."""
    found: dict[str, list[str]] = {}
    for path in sorted(tests.rglob("test_*.py")):
        source = path.read_text(encoding="utf-8")
        if "mark.clause(" not in source:
            continue
        for name, clauses in _marks(ast.parse(source)):
            for clause in clauses:
                found.setdefault(clause, []).append(f"{path.relative_to(tests.parent)}::{name}")
    return found


def render(clauses: Sequence[Clause], tests: Mapping[str, Sequence[str]]) -> str:
    """Return the page."""
    rows = []
    for each in clauses:
        links = "<br>".join(map(_link, tests.get(each.clause, ())))
        rows.append(" | ".join((f"| {each.clause}", each.asks, each.has, links, each.evidence, each.gap)) + " |")
    return _HEAD + "\n".join(rows) + "\n"


def page() -> str:
    """Return the page of this checkout."""
    return render(read_clauses(), marked_tests())


def _marks(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.clause":
                yield node.name, [str(ast.literal_eval(argument)) for argument in decorator.args]


def _link(test: str) -> str:
    path, _, name = test.partition("::")
    return f"[{name.removeprefix('test_').replace('_', ' ')}](../{path})"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
