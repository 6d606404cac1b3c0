"""The shared bench of the end-to-end tests; it ends with them, so that other tests find the bus free."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.launcher import Bench
from tests.e2e.living_bench import VERSIONS, LivingBench, quick_options


@pytest.fixture(scope="package")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingBench]:
    runs = tmp_path_factory.mktemp("runs")
    with Bench(quick_options(runs, versions=VERSIONS)) as bench:
        yield LivingBench(bench)


@pytest.fixture
def living(shared_bench: LivingBench) -> Iterator[LivingBench]:
    """The bench, healthy before and proven healthy after."""
    yield shared_bench
    shared_bench.heal()
