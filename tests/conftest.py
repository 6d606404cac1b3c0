"""Tests of the project: capabilities, ``--require`` and the bench fixtures are the pytest plugin's (``bench.pytest_plugin``)."""

from __future__ import annotations

from typing import Any

import pytest

from otabench.bench.pytest_plugin.items import uses_bench
from tests.e2e.living_bench import QUICK
from tests.needs import check_needs

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def bench_options() -> dict[str, Any]:
    """Small images in many versions, short times: the same for every bench file."""
    return QUICK


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--exhaustive",
        action="store_true",
        help="also run what `make test` leaves to `make test-all`: full products of combinations, whole sweeps",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked ``exhaustive``, and put the tests of the shared bench last.

    The shared bench stays up until the end of the run, and other tests need vcan0 for themselves.
    """
    if not config.getoption("--exhaustive"):
        left_out = [item for item in items if item.get_closest_marker("exhaustive")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("exhaustive")]
    items.sort(key=uses_bench)


@pytest.hookimpl(tryfirst=True)  # before fixtures are set up
def pytest_runtest_setup(item: pytest.Item) -> None:
    check_needs(item)
