"""The suite is divided without a gap: every test is in exactly one part, and on at least one bench file."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.selection import LONGEST_FIRST, is_in_share, rank
from tests.test_layering import ROOT

Select = Callable[..., set[str]]

SUITE = """
    import pytest

    @pytest.mark.vcan
    def test_can(): pass

    def test_bench(_otabench): pass

    @pytest.mark.parametrize("n", range(20))
    def test_pure(n): pass

    @pytest.mark.exhaustive
    def test_product(): pass

    @pytest.mark.every_bench
    def test_core(): pass
"""
CONFTEST = """
    from tests import selection

    def pytest_addoption(parser): selection.add_options(parser)
    def pytest_configure(config):
        for name in ("exhaustive", "every_bench"): config.addinivalue_line("markers", name)
    def pytest_collection_modifyitems(config, items): selection.select(config, items)
"""


@pytest.fixture
def selected(pytester: pytest.Pytester) -> Select:
    """Return the names of the tests that options leave of a small suite."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(SUITE)

    def select(*options: str) -> set[str]:
        result = pytester.runpytest_inprocess("--collect-only", "-q", *options)
        return {line.partition("::")[2] for line in result.outlines if "::" in line}

    return select


def test_needed_and_unneeded_are_the_whole_suite_and_share_nothing(selected: Select) -> None:
    needed, unneeded = selected("--kernel-can", "needed"), selected("--kernel-can", "unneeded")
    assert needed == {"test_can", "test_bench"}
    assert needed | unneeded == selected() and not needed & unneeded
    assert "test_product" not in unneeded and "test_product" in selected("--exhaustive")


def test_the_files_of_the_other_part_are_listed(selected: Select, pytester: pytest.Pytester) -> None:
    selected("--kernel-can", "unneeded", "--kernel-can-files", "files")
    (name,) = (pytester.path / "files").read_text().splitlines()
    assert name.endswith(".py") and (pytester.path / name).exists()


def test_shares_are_the_whole_suite_and_each_has_the_core(selected: Select) -> None:
    shares = [selected("--bench-share", f"{index}/3") for index in (1, 2, 3)]
    assert set.union(*shares) == selected()
    assert set.intersection(*shares) == {"test_core"}


def test_long_files_come_first() -> None:
    assert rank("tests/a.py::test") > rank(f"{LONGEST_FIRST[-1]}::test") > rank(f"{LONGEST_FIRST[0]}::test[1]")
    assert [name for name in LONGEST_FIRST if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("share", ["", "0/3", "4/3", "x/3", "1"])
def test_a_share_that_does_not_exist_is_refused(share: str) -> None:
    with pytest.raises(pytest.UsageError, match="for example 1/5"):
        is_in_share("test", share)
