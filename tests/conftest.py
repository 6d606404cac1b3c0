"""Tests of the project: capabilities, ``--require`` and the bench fixtures are the pytest plugin's (``bench.pytest_plugin``)."""

from __future__ import annotations

from typing import Any

import pytest

from otabench.bench.pytest_plugin.items import uses_bench
from tests.e2e.living_bench import QUICK

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def bench_options() -> dict[str, Any]:
    """Small images in many versions, short times: the same for every bench file."""
    return QUICK


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The shared bench comes up last: it stays until the end, and other tests want vcan0 for themselves."""
    items.sort(key=uses_bench)
