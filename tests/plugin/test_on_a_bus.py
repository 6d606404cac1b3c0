"""One run of a user's tests on a bench of its own: states, health, evidence and properties, in an xdist worker.

The tests depend on each other on purpose: each finds the bench as the one before left it.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.plugin.conftest import UDP_PORT, BenchFile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@dataclass(frozen=True)
class Bus:
    """The bus of the user's bench file. ``more``: its other keys; ``in_logs``: its name in candump logs."""

    interface: str
    channel: str
    in_logs: str
    more: str = ""


VCAN0 = Bus("socketcan", "vcan0", in_logs="vcan0")
UDP_MULTICAST = Bus("udp_multicast", "239.74.163.61", in_logs="powertrain", more=f", port: {UDP_PORT}, hop_limit: 0")

USERS_TESTS = """
import os
import signal
import pytest

ACTIVE_SESSION = 0xF186


def test_1_programming_session_is_kept(bench, ecus):
    bench.transition("programming")
    assert [ecu.read(ACTIVE_SESSION) for ecu in ecus.values()] == [b"\\x02", b"\\x02"]
    assert not bench.processes.is_running("gateway")


def test_2_session_is_default_again(bench, ecus, uds_client):
    assert bench.state == "default"
    assert [ecu.read(ACTIVE_SESSION) for ecu in ecus.values()] == [b"\\x01", b"\\x01"]
    uds_client.change_session(0x03)
    uds_client.unlock_security_access(0x01)


def test_3_off_is_silent(bench, power, can_bus):
    bench.transition("off")
    while can_bus.recv(0):
        pass
    assert can_bus.recv(0.3) is None
    with pytest.raises(ValueError, match="no bench state 'asleep'; known: off, default, programming, application"):
        bench.transition("asleep")


def test_4_fails_and_leaves_evidence(isotp, can_log, fault):
    fault("voltage", volts=7.5)
    assert isotp.request(bytes.fromhex("22F186")) == bytes.fromhex("62F18601")
    assert len(can_log.frames()) == 2
    assert False, "wanted"


def test_5_may_leave_what_is_tidied(bench, campaign, gateway, fault, ecu, artifacts_dir):
    (artifacts_dir / "note.txt").write_text("kept")
    campaign.offer()
    campaign.wait("WAITING_FOR_APPROVAL", timeout_s=30)
    gateway.kill()
    fault("silent", count=1000)
    bench.ecus.power("adas").off()


def test_6_finds_it_tidied(bench, hmi, cloud, ecus):
    assert hmi.state()["vin"] == bench.topology.vehicle.vin
    assert [job.state for campaign in cloud.list_campaigns() for job in campaign.jobs]
    assert {ecu.active_slot().state for ecu in ecus.values()} == {"CONFIRMED"}


def test_7_leaves_a_dead_process(bench):
    os.kill(bench.processes.get("ecu-engine").pid, signal.SIGKILL)
    bench.processes.get("ecu-engine").wait(60)


def test_8_goes_on(ecu):
    assert ecu.name == "engine" and ecu.software_version() == "1.0.0"


def test_9_breaks_the_bench(bench, fault):
    fault("nrc", service=0x10, nrc=0x22, count=1000)
    bench.transition("default")


def test_a_is_skipped(bench):
    assert False, "not reached"


def test_b_is_not_the_bench_s():
    pass
"""


# On this kernel by default: a guest kernel takes four times as long to start pytest, its worker and a bench.
@pytest.mark.parametrize(
    "bus",
    [UDP_MULTICAST, pytest.param(VCAN0, marks=[pytest.mark.vcan, pytest.mark.exhaustive])],
    ids=lambda bus: bus.channel,
)
def test_states_health_and_evidence(pytester: pytest.Pytester, bench_file: BenchFile, bus: Bus) -> None:
    pytester.makepyfile(test_it=USERS_TESTS)
    file = bench_file(interface=bus.interface, channel=f"{bus.channel}{bus.more}")
    result = pytester.runpytest_subprocess(
        *("-n1", "--dist", "loadgroup", "-rsfE", "-p", "no:cacheprovider"),
        *("--bench", file, "--junitxml", "junit.xml"),
    )
    said = result.stdout.str()
    cases = {case.get("name", ""): case for case in ElementTree.parse(pytester.path / "junit.xml").iter("testcase")}

    def outcome(name: str) -> tuple[set[str], str]:
        case = next(case for key, case in cases.items() if key.startswith(name))
        ends = [child for child in case if child.tag in ("failure", "error", "skipped")]
        return {end.tag for end in ends}, " ".join(f"{end.get('message')} {end.text}" for end in ends)

    for name in ("test_1", "test_2", "test_3", "test_5", "test_6", "test_8", "test_b"):
        assert outcome(name) == (set(), ""), said

    tags, text = outcome("test_4")
    assert tags == {"failure"} and "wanted" in text
    run_folder = (pytester.path / "runs" / "latest").resolve()
    evidence = {path.parent.name[:23]: path.parent for path in (run_folder / "tests").glob("*/powertrain.log")}
    _assert_evidence(next(path for key, path in evidence.items() if "test_4" in key), bus)
    assert f"frames, trace, logs and trouble codes of this test: {run_folder / 'tests'}" in said
    assert not any("test_1" in key or "test_2" in key for key in evidence)
    assert [path.name for path in (run_folder / "tests").glob("*test_5*/*")] == ["note.txt"]

    tags, text = outcome("test_7")
    assert tags == {"error"}
    assert "the bench is not healthy after this test" in text
    assert "ecu-engine was ended by signal SIGKILL" in text
    assert "a power cycle of all ECUs has mended that" in text

    tags, text = outcome("test_9")
    assert tags == {"failure"}
    assert "transition from 'application' to 'default' failed: engine: 10 01 default session: NRC 22" in text
    tags, text = outcome("test_a")
    assert tags == {"skipped"}
    assert "the bench is broken since test_it.py::test_9_breaks_the_bench" in text

    properties = {
        entry.get("name"): entry.get("value", "")
        for entry in ElementTree.parse(pytester.path / "junit.xml").iter("property")
    }
    assert properties["otabench.bench"] == file
    assert properties["otabench.adapters"] == f"powertrain: {bus.interface} {bus.channel}, 500000 bit/s"
    assert properties["otabench.ecu.engine"].startswith("1.0.0 (simulated, hardware engine-mcu-a, serial ")
    assert properties["otabench.git_commit"] == "none"

    report = json.loads((run_folder / "report.json").read_text())
    assert (report["result"], report["before"]["engine"]["version"]) == ("CANCELED", "1.0.0"), report["reason"]
    assert not (run_folder / "keys").exists()
    assert f'<a href="{run_folder.name}/report.html">' in (run_folder.parent / "index.html").read_text()


def _assert_evidence(folder: Path, bus: Bus) -> None:
    lines = (folder / "powertrain.log").read_text().splitlines()
    payloads = [line.rpartition("#")[2] for line in lines]
    assert any(payload.startswith("0322F186") for payload in payloads)
    assert any(payload.startswith("0462F18601") for payload in payloads)
    assert all(f" {bus.in_logs} " in line for line in lines)
    assert (folder / "powertrain.pcap").stat().st_size > 24 + 24 * len(lines) // 2
    events = [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()]
    assert "fault" in " ".join(event["event"] for event in events), events
    assert "bench.up" not in {event["event"] for event in events}
    codes = (folder / "trouble-codes.txt").read_text().splitlines()
    assert codes[0].startswith("engine: P0562-00 the supply's voltage is too low")
    assert codes[-1] == "adas: none"
