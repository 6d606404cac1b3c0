"""Tests of the project: capabilities, ``--require`` and the bench's fixtures are the pytest plugin's (``bench.pytest_plugin``)."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest

from otabench.bench.pytest_plugin.items import uses_bench
from tests import selection
from tests.e2e.living_bench import QUICK
from tests.needs import check_needs

pytest_plugins = ["pytester"]

# An example that takes longer than 200 ms is a busy machine, not a fault: hypothesis's own limit is off.
hypothesis.settings.register_profile("otabench", deadline=None)
hypothesis.settings.load_profile("otabench")


def pytest_addoption(parser: pytest.Parser) -> None:
    selection.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "every_bench: runs on every bench file, whatever --bench-share says")


@pytest.fixture(scope="session")
def bench_options() -> dict[str, Any]:
    """Small images in many versions, short times: the same for every bench file."""
    return QUICK


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The shared bench comes up last: it stays until the end, and other tests want vcan0 for themselves."""
    selection.select(config, items)
    items.sort(key=lambda item: (uses_bench(item), selection.rank(item.nodeid)))


@pytest.hookimpl(tryfirst=True)  # before fixtures are set up
def pytest_runtest_setup(item: pytest.Item) -> None:
    check_needs(item)
