"""`otabench perf powercut`: what it prints and how it ends."""

from __future__ import annotations

import pytest
from rich.console import Console
from typer.testing import CliRunner

from otabench.bench.cli.app import app
from otabench.bench.errors import BenchError, WrongUsage
from otabench.bench.perf.powercut import PowercutOptions, run
from otabench.ecu_firmware_sim.sweep.powercut import Scenario


@pytest.mark.clause("R156 7.2.2.1.1")
def test_a_whole_sweep_prints_its_count_and_ends_with_0() -> None:
    done = CliRunner().invoke(app, ["perf", "powercut", "--no-second-cut", "--image-size", "2048"])
    assert done.exit_code == 0, done.output
    assert all(str(scenario) in done.output for scenario in Scenario)
    assert "different memories" in done.output
    assert ", 0 bricked   (seed 0, " in done.output
    cut_points = int(done.output.splitlines()[-1].split()[0])
    assert cut_points > 1100


@pytest.mark.parametrize("scenario", ["update-delta", "update-encrypted"])
def test_a_sequence_is_replayed(scenario: str) -> None:
    options = PowercutOptions(2048, replay=f"{scenario}:torn@37,garbage@4")
    counts = run(options, Console(quiet=True))
    assert (counts.cut_points, counts.findings) == (2, 0)


@pytest.mark.parametrize(
    ("sequence", "text"),
    [("update-full", "such as update-full:torn@37"), ("update-full:torn@9999", "fewer than 9999 operations")],
)
def test_a_sequence_that_means_nothing_is_an_error_without_traceback(sequence: str, text: str) -> None:
    with pytest.raises(BenchError, match=text) as caught:
        run(PowercutOptions(2048, replay=sequence), Console(quiet=True))
    assert "Traceback" not in str(caught.value)


def test_a_size_out_of_range_is_wrong_usage() -> None:
    with pytest.raises(WrongUsage, match="--image-size 10"):
        PowercutOptions(10)
