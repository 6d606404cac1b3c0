"""Folders of tests: every test has its own, whatever its parameters are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otabench.bench.pytest_plugin.items import folder_name

ALIKE = (
    "a/b",
    "a b",
    "a:b",
    "a_b",
    "a::b",
    "_a_b_",
    "A_b",
    "",
    ".",
    "..",
    "日本語の長い名前" * 16,
    "日本語の長い名前" * 17,
    "\udcff",
)


def node_id(parameter: str) -> str:
    return f"tests/test_it.py::test_it[{parameter}]"


def test_tests_that_differ_in_punctuation_have_different_folders(tmp_path: Path) -> None:
    names = [folder_name(node_id(parameter)) for parameter in ALIKE]
    assert len(set(names)) == len(ALIKE)
    for name in names:
        (tmp_path / name).mkdir()  # the file system takes each of them
    assert len(list(tmp_path.iterdir())) == len(ALIKE)


@pytest.mark.parametrize("parameter", ALIKE)
def test_a_folder_s_name_is_one_part_of_a_path_and_readable(parameter: str) -> None:
    name = folder_name(node_id(parameter))
    assert Path(name).name == name and name not in (".", "..")
    assert len(name.encode()) <= 255
    assert name == folder_name(node_id(parameter)), "not the same at the next run"
    if len(parameter) < 10:
        assert name.startswith("tests_test_it.py__test_it")


@given(st.lists(st.text(max_size=30), unique=True, max_size=5), st.text(max_size=200))
def test_any_two_tests_have_different_folders(parameters: list[str], common: str) -> None:
    assert len({folder_name(common + parameter) for parameter in parameters}) == len(parameters)
