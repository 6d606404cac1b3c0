"""An ECU that a test leaves without supply has it again for the next test, a board as well as a simulated ECU.

The tests depend on each other on purpose: each finds the bench as the one before left it. They name the ECU that is a board on the
mixed bench of `setup/run-tests`.
"""

from __future__ import annotations

import pytest

from otabench.bench.pytest_plugin.handles import Ecu
from otabench.bench.pytest_plugin.shared_bench import SharedBench

pytestmark = pytest.mark.every_bench


def test_1_leaves_it_off(bench: SharedBench, ecus: dict[str, Ecu]) -> None:
    assert ecus["adas"].software_version()
    bench.ecus.power("adas").off()


def test_2_finds_it_on(ecus: dict[str, Ecu]) -> None:
    assert ecus["adas"].identity().active.state == "CONFIRMED"


def test_3_reaches_a_state_though_it_is_off(bench: SharedBench, ecus: dict[str, Ecu]) -> None:
    bench.ecus.power("adas").off()
    bench.transition("default")
    assert ecus["adas"].identity().active.state == "CONFIRMED"
