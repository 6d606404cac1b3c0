"""The table of Uptane's requirements: it is current, and every file and test that it names exists."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from docs_site import uptane
from docs_site.uptane import Requirement


def test_the_page_is_what_the_requirements_make() -> None:
    page = uptane.PAGE.read_text(encoding="utf-8")
    assert page == uptane.render(uptane.read_requirements()), "run: python -m docs_site.uptane"


def test_every_file_and_every_test_of_the_table_exists() -> None:
    requirements = uptane.read_requirements()
    assert [path for each in requirements for path in each.where if not (uptane.ROOT / path).exists()] == []
    assert [test for each in requirements for test in each.tests if not _exists(test)] == []


def _exists(test: str) -> bool:
    path, _, name = test.partition("::")
    file = uptane.ROOT / "tests" / path
    if not file.is_file():
        return False
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return any(isinstance(node, functions) and node.name == name for node in ast.parse(file.read_text()).body)


def test_a_row_says_whether_the_requirement_is_met() -> None:
    met = Requirement("1", "SHALL", "a", ["bench"], ["x/test_a.py::test_one"])
    page = uptane.render(
        [met, Requirement("2", "SHALL", "b", gap="all of it"), Requirement("3", "SHOULD", "c", gap="-")]
    )
    assert "3 requirements: 1 met, 0 partly, 2 not met. Of 2 with SHALL, 1 have a gap." in page
    assert "| 1 | SHALL | a | met | `bench` | [one](../tests/x/test_a.py) |  |" in page
    assert "| 2 | SHALL | b | **not met** |  |  | all of it |" in page


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- {clause: A, level: SHALL, asks: b, wrong: c}", "A: unknown keys wrong"),
        ("- {clause: A, level: MAY, asks: b, gap: c}", "A: the level is SHALL or SHOULD, not MAY"),
        ("- {clause: A, level: SHALL, asks: b}", "A: give tests, or a gap"),
    ],
)
def test_a_mistake_in_the_requirements_is_told(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "requirements.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=problem):
        uptane.read_requirements(path)
