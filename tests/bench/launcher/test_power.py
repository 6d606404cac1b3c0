"""Power by command: what was asked is run, and a command that fails or hangs is named."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from otabench.bench.errors import PowerError
from otabench.bench.faults.control_port import ControlPort
from otabench.bench.launcher import power
from otabench.bench.launcher.power import CommandPower, NoPower, SimulatedPower
from otabench.bench.topology import bench_file
from otabench.bench.topology.entries import PowerEntry


def commands(on: str, off: str = "true", **settings: float) -> CommandPower:
    return CommandPower("adas", PowerEntry.model_validate({"driver": "command", "on": on, "off": off, **settings}))


def test_a_cycle_is_off_a_pause_and_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    entry = PowerEntry(driver="command", on=f"echo on >> {log}", off=f"echo off >> {log}", off_s=3.0)
    slept: list[float] = []
    CommandPower("adas", entry, sleep=slept.append).cycle()
    assert log.read_text().split() == ["off", "on"]
    assert slept == [3.0]


def test_a_command_that_fails_is_quoted_with_its_last_words() -> None:
    with pytest.raises(PowerError) as caught:
        commands("echo relay not found; exit 7").on()
    assert caught.value.ecu == "adas"
    assert str(caught.value).startswith(
        "power of adas: the command for 'on' (echo relay not found; exit 7) ended with status 7: relay"
    )


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(PowerError, match=r"did not end within 0\.2 s and was killed; .* ecus\.adas\.power\.timeout_s"):
        commands("sleep 60 | cat", timeout_s=0.2).on()
    assert time.monotonic() - started < 10


def test_the_driver_is_what_the_bench_file_says() -> None:
    simulated = bench_file.load().ecus["engine"]
    board = simulated.model_copy(update={"kind": "board"})
    port = ControlPort("engine", 1)
    assert isinstance(power.driver("engine", simulated, port), SimulatedPower)
    assert isinstance(power.driver("engine", board, port), NoPower)
    with_commands = board.model_copy(update={"power": PowerEntry(driver="command", on="true", off="true")})
    assert isinstance(power.driver("engine", with_commands, None), CommandPower)
    with pytest.raises(PowerError, match=r"names no power driver; add ecus\.engine\.power"):
        power.driver("engine", board, None).cycle()
