"""The table of clauses: it is up to date, every marker names a clause, and a clause without a test has a gap."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs_site import compliance
from docs_site.compliance import Clause


def test_the_page_is_what_clauses_and_markers_make() -> None:
    assert compliance.PAGE.read_text(encoding="utf-8") == compliance.page(), "run: python -m docs_site.compliance"


def test_every_marker_names_a_clause_and_a_clause_without_a_test_has_a_gap() -> None:
    clauses = compliance.read_clauses()
    tests = compliance.marked_tests()
    assert tests.keys() <= {each.clause for each in clauses}
    assert [each.clause for each in clauses if each.clause not in tests and not each.gap] == []
    assert [each.clause for each in clauses if not each.has and not each.gap] == []


def test_markers_are_read_from_the_source(tmp_path: Path) -> None:
    (tmp_path / "tests/x").mkdir(parents=True)
    (tmp_path / "tests/x/test_a.py").write_text(
        '@pytest.mark.clause("R156 1", "R156 2")\ndef test_one(): ...\n\n\ndef test_two(): ...\n'
    )
    assert compliance.marked_tests(tmp_path / "tests") == {
        "R156 1": ["tests/x/test_a.py::test_one"],
        "R156 2": ["tests/x/test_a.py::test_one"],
    }
    row = compliance.render([Clause("R156 1", "a", "b")], {"R156 1": ["tests/x/test_a.py::test_one"]}).splitlines()[-1]
    assert row == "| R156 1 | a | b | [one](../tests/x/test_a.py) |  |  |"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- {clause: A, asks: b, wrong: c}", "A: unknown keys wrong"),
        ("- {clause: A, asks: b}\n- {clause: A, asks: c}", "A stands twice"),
    ],
)
def test_a_mistake_in_the_clauses_is_told(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "clauses.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=problem):
        compliance.read_clauses(path)
