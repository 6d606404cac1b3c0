"""What a test may leave behind, row by row of the table in docs/pytest.md: it is tidied, or it stays, as the table says."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from otabench.bench.launcher.specs.names import GATEWAY, ecu_process
from otabench.bench.pytest_plugin import health
from otabench.bench.pytest_plugin.handles import Campaign
from otabench.bench.pytest_plugin.shared_bench import BenchState, SharedBench
from otabench.proto.job_states import JobState, from_wire, is_final

PAGE: Final = Path(__file__).parents[2] / "docs" / "pytest.md"
EXTENDED: Final = 0x03
ACTIVE_SESSION: Final = 0xF186

Act = Callable[[SharedBench], None]


@dataclass(frozen=True)
class Leftover:
    """One row: how a test leaves it, and how it is seen that the row's second column is true."""

    leave: Act
    check: Act
    is_destructive: bool = False


def first(bench: SharedBench) -> str:
    """Return a simulated ECU."""
    return bench.topology.simulated()[0]


def set_fault(bench: SharedBench) -> None:
    bench.ecus.control_port(first(bench)).fault("silent", count=1000)
    bench.ecus.control_port(first(bench)).fault("speed", km_h=30)


def no_fault(bench: SharedBench) -> None:
    assert bench.ecus.control_port(first(bench)).state()["faults"] == []


def load_the_bus(bench: SharedBench) -> None:
    bench.bus_ports.load_of(next(iter(bench.topology.buses))).fault("load", share=20)


def no_load(bench: SharedBench) -> None:
    assert bench.bus_ports.load_of(next(iter(bench.topology.buses))).state()["faults"] == []


def switch_off(bench: SharedBench) -> None:
    bench.ecus.power(first(bench)).off()


def answers(bench: SharedBench) -> None:
    assert bench.tester.identity(first(bench)).software_version


def enter_extended_and_unlock(bench: SharedBench) -> None:
    bench.transition(BenchState.DEFAULT)
    with bench.tester.client(first(bench)) as client:
        client.enter_session(EXTENDED, step="10 03 extended session")
        client.unlock()


def in_default_session(bench: SharedBench) -> None:
    with bench.tester.client(first(bench)) as client:
        assert client.read(ACTIVE_SESSION) == b"\x01"


def offer(bench: SharedBench) -> None:
    bench.transition(BenchState.APPLICATION)
    Campaign(bench).offer()
    bench.jobs.wait_for(JobState.WAITING_FOR_APPROVAL)


def no_open_job(bench: SharedBench) -> None:
    jobs = [job for campaign in bench.operator.list_campaigns() for job in campaign.jobs]
    assert jobs and all(is_final(from_wire(job.state)) for job in jobs)


def stop_processes(bench: SharedBench) -> None:
    bench.transition(BenchState.APPLICATION)
    bench.processes.kill(GATEWAY)
    bench.processes.stop(ecu_process(first(bench)))


def processes_run(bench: SharedBench) -> None:
    answers(bench)
    assert bench.processes.is_running(GATEWAY) and bench.hmi.is_up()


def set_trouble_code(bench: SharedBench) -> None:
    bench.ecus.control_port(first(bench)).fault("voltage", volts=7.5)
    assert "P0562" in " ".join(health.read_trouble_codes(bench)[first(bench)])


def no_trouble_codes(bench: SharedBench) -> None:
    assert set(map(tuple, health.read_trouble_codes(bench).values())) == {()}


def to_default(bench: SharedBench) -> None:
    bench.transition(BenchState.DEFAULT)


def still_default(bench: SharedBench) -> None:
    assert bench.state is BenchState.DEFAULT and not bench.processes.is_running(GATEWAY)


def damage_a_slot(bench: SharedBench) -> None:
    slot = bench.tester.identity(first(bench)).active_slot
    bench.ecus.control_port(first(bench)).fault("bit-rot", slot=slot, offset=4096)


def as_delivered(bench: SharedBench) -> None:
    slots = bench.ecus.control_port(first(bench)).state()["slots"]
    assert [slot["state"] for slot in slots] == ["CONFIRMED", "EMPTY"]
    # the cloud has heard of it, too: the next campaign is not refused as one for an older version
    assert Campaign(bench).install().state is JobState.SUCCEEDED


LEFTOVERS: Final = {
    "a fault, a voltage, a speed": Leftover(set_fault, no_fault),
    "a loaded bus, faults of frames": Leftover(load_the_bus, no_load),
    "an ECU without supply": Leftover(switch_off, answers),
    "another session, unlocked": Leftover(enter_extended_and_unlock, in_default_session),
    "an open job": Leftover(offer, no_open_job),
    "a stopped or killed process": Leftover(stop_processes, processes_run),
    "trouble codes": Leftover(set_trouble_code, no_trouble_codes),
    "another state of the bench": Leftover(to_default, still_default),
    "a damaged ECU (`destructive`)": Leftover(damage_a_slot, as_delivered, is_destructive=True),
}


@pytest.mark.vcan
@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("left", LEFTOVERS)
def test_a_leftover_becomes_what_the_table_says(bench: SharedBench, left: str) -> None:
    before = health.read_counters(bench)
    leftover = LEFTOVERS[left]
    leftover.leave(bench)
    after = health.after_test(bench, before=before, is_destructive=leftover.is_destructive)
    assert after.sickness is None, after.sickness
    leftover.check(bench)


def test_the_page_lists_what_is_tested() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## After each test")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", section, flags=re.MULTILINE)
    assert rows[0] == "left by a test"
    assert set(rows[1:]) - {"files in `artifacts_dir`", "installed versions", "wrong keys"} == set(LEFTOVERS)
