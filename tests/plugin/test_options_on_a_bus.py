"""The plugin's options on a real bench: each does what its help says, all in one run."""

from __future__ import annotations

import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugin.conftest import BenchFile

pytestmark = [pytest.mark.vcan, pytest.mark.slow, pytest.mark.timeout(400)]

HOLD = """
import sys
from otabench.bench.launcher.lock import BenchLock
lock = BenchLock([("socketcan", "vcan0")], bench="other.bench.yaml")
lock.acquire()
print("held", flush=True)
sys.stdin.readline()
lock.release()
"""
USERS_TESTS = """
import pytest


def test_1_the_ecu_is_the_one_that_was_named_and_the_bus_is_paced(bench, ecu):
    assert ecu.name == "adas"
    assert bench.pacings["powertrain"].applied


@pytest.mark.destructive
def test_2_damages_an_ecu(bench, ecu, campaign):
    assert campaign.install(ecus=["adas"]).state == "SUCCEEDED"
    assert ecu.software_version() == "1.1.0"
    slot = ecu.identity().active_slot
    bench.ecus.control_port("adas").fault("bit-rot", slot=slot, offset=4096)


def test_3_finds_it_as_it_was_delivered(ecus):
    adas, engine = ecus["adas"].identity(), ecus["engine"].identity()
    assert (adas.software_version, adas.active_slot, adas.active.state) == ("1.0.0", 0, "CONFIRMED")
    assert [slot.state for slot in adas.slots] == ["CONFIRMED", "EMPTY"]
    assert engine.software_version == "1.0.0"
"""


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the bus, until a line is written to it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=A user", "-c", "user.email=user@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", folder, *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_options(pytester: pytest.Pytester, bench_file: BenchFile, holder: subprocess.Popen[str]) -> None:
    # given a repository with a commit, and a bench that somebody else uses
    pytester.makepyfile(test_it=USERS_TESTS)
    bench_file(channel="vcan0")
    git(pytester.path, "init", "--quiet")
    git(pytester.path, "add", ".")
    git(pytester.path, "commit", "--quiet", "--message", "tests")
    # when a run that may wait begins, then it says so, and goes on once the other has ended
    options = ("--bench", "my.bench.yaml", "--bench-wait", "90", "--bench-ecu", "adas", "--bench-pace")
    consent = ("--bench-destructive", "--keep-can-log", "--junitxml", "junit.xml", "-s", "-p", "no:cacheprovider")
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, *consent],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=pytester.path,
    )  # fmt: skip
    assert run.stdout is not None and holder.stdin is not None
    said = ""
    deadline = time.monotonic() + 90
    for line in run.stdout:
        said += line
        if "waiting for up to 90 s" in line:
            assert f"process {holder.pid}" in said
            holder.stdin.write("\n")
        assert time.monotonic() < deadline + 200, said
    assert run.wait(60) == 0, said
    assert "waiting for up to 90 s" in said and "3 passed" in said, said
    # and every test's CAN log is kept, though none failed
    logs = (pytester.path / "runs" / "latest" / "tests").glob("*/powertrain.log")
    kept = sorted(path.parent.name for path in logs if path.stat().st_size)
    assert [name[name.index("test_", 8) :][:6] for name in kept] == ["test_1", "test_2", "test_3"]
    # and the JUnit file has the commit of the tests
    properties = {
        entry.get("name"): entry.get("value")
        for entry in ElementTree.parse(pytester.path / "junit.xml").iter("property")
    }
    assert properties["otabench.git_commit"] == git(pytester.path, "rev-parse", "HEAD")
