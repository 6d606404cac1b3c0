"""A run that is cut off in a test with a sick bench: the bench comes down, its lock is free, and pytest ends as it always does.

On UDP multicast, so that no guest kernel has to come up for it.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from otabench.bench.launcher.lock import BenchLock, buses_of
from otabench.bench.topology import bench_file as topology
from tests.plugin.conftest import UDP_BENCH_FILE
from tests.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

USERS_TESTS = """
import time

import pytest


@pytest.fixture
def own(bench):
    yield
    print("undone with", bench.processes.is_running("gateway"), file=open("undone", "w"))


def test_is_cut_off(bench, own, power, can_log):
    bench.processes.get("ecu-engine").kill()
    bench.processes.get("ecu-adas").kill()
    open("ready", "w").close()
    time.sleep(120)


def test_is_not_reached(bench):
    assert False
"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> Iterator[subprocess.Popen[str]]:
    """A user's run whose test makes the bench sick and then takes very long."""
    pytester.makepyfile(test_it=USERS_TESTS)
    (pytester.path / "udp.bench.yaml").write_text(UDP_BENCH_FILE, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--bench", "udp.bench.yaml", "--junitxml", "junit.xml"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=pytester.path,
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


def test_a_run_that_is_ended_brings_the_bench_down(run: subprocess.Popen[str], pytester: pytest.Pytester) -> None:
    eventually((pytester.path / "ready").exists, "the test has begun", timeout_s=90)
    folder = pytester.path / "runs" / "latest"
    processes = json.loads((folder / "bench.json").read_text())["processes"].values()
    run.send_signal(signal.SIGTERM)  # Ctrl-C takes the same way from here, without our handler
    said, _ = run.communicate(timeout=60)
    # pytest's own exit status and ending: no traceback, and at most three lines about it
    assert run.returncode == pytest.ExitCode.INTERRUPTED, said
    assert "Traceback" not in said and "INTERNALERROR" not in said, said
    about = re.search(r"!+ KeyboardInterrupt: SIGTERM !+\n(.*?)\n=+ ", said, flags=re.DOTALL)
    assert about is not None and len(about[1].splitlines()) <= 3, said
    assert re.search(r"=+ no tests ran in .* =+\s*$", said), said
    # the user's own fixture was undone while the bench was still up
    assert (pytester.path / "undone").read_text() == "undone with True\n"
    # nothing of the bench is left
    assert not [process for process in processes if Path(f"/proc/{process['pid']}").exists()]
    assert not (folder / "keys").exists()
    lock = BenchLock(buses_of(topology.load(pytester.path / "udp.bench.yaml")), bench="the next")
    lock.acquire()
    lock.release()
    assert "otabench.bench" in (pytester.path / "junit.xml").read_text()
