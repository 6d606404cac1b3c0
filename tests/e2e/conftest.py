"""The bench of the end-to-end tests is the plugin's: the built-in simulators, or whatever ``--bench FILE`` names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from otabench.bench.pytest_plugin.shared_bench import BenchState, SharedBench
from tests.e2e.living_bench import LivingBench


@pytest.fixture
def living(bench: SharedBench) -> Iterator[LivingBench]:
    """The bench, healthy before and proven healthy after."""
    if bench.state is not BenchState.APPLICATION:
        bench.transition(BenchState.APPLICATION)
    living = LivingBench(bench.running)
    living.heal()
    yield living
    living.heal()
