"""Tests of the project: capabilities, ``--require`` and the bench fixtures are the pytest plugin's (``bench.pytest_plugin``)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.living_bench import QUICK

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def bench_options() -> dict[str, Any]:
    """Small images in many versions, short times: the same for every bench file."""
    return QUICK
