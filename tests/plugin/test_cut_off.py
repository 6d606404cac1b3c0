"""A run that is cut off in a test with a sick bench: the bench comes down, its lock is free, and pytest ends as it always does.

On UDP multicast, so that no guest kernel has to come up for it. `make test` tries Ctrl-C with a bench, and the handlers of the other
signals without one; `--exhaustive` tries all of them, and a test that is timed out, with a bench.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otabench.bench.launcher.lock import BenchLock, buses_of
from otabench.bench.pytest_plugin.interruption import EndAsInterrupted
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


def test_is_next(bench):
    assert bench.processes.is_running("ecu-engine") and bench.processes.is_running("ecu-adas")
"""


@pytest.fixture
def start(pytester: pytest.Pytester) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts a user's run, whose test makes the bench sick and then takes very long."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> subprocess.Popen[str]:
        pytester.makepyfile(test_it=USERS_TESTS)
        (pytester.path / "udp.bench.yaml").write_text(UDP_BENCH_FILE, encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "--bench",
            "udp.bench.yaml",
            "--junitxml",
            "junit.xml",
        ]
        process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=pytester.path
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for_the_test(folder: Path) -> list[int]:
    """Wait until the user's test has made the bench sick, and return the numbers of the bench's processes."""
    eventually((folder / "ready").exists, "the test has begun", timeout_s=90)
    content = json.loads((folder / "runs" / "latest" / "bench.json").read_text())
    return [process["pid"] for process in content["processes"].values()]


def assert_nothing_is_left(folder: Path, pids: list[int]) -> None:
    """The bench's processes and keys are gone, its lock is free, and the user's fixture was undone while the bench was up."""
    assert (folder / "undone").read_text() == "undone with True\n"
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not (folder / "runs" / "latest" / "keys").exists()
    lock = BenchLock(buses_of(topology.load(folder / "udp.bench.yaml")), bench="the next")
    lock.acquire()
    lock.release()


SIGNALS = {signal.SIGINT: "", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
"""What stands behind KeyboardInterrupt in pytest's ending."""


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(each, marks=pytest.mark.exhaustive) for each in (signal.SIGTERM, signal.SIGHUP))],
)
def test_a_run_that_is_ended_brings_the_bench_down(
    start: Callable[..., subprocess.Popen[str]], pytester: pytest.Pytester, number: signal.Signals
) -> None:
    run = start()
    pids = wait_for_the_test(pytester.path)
    run.send_signal(number)
    said, _ = run.communicate(timeout=60)
    # pytest's own exit status and ending: no traceback, and at most three lines about it
    assert run.returncode == pytest.ExitCode.INTERRUPTED, said
    assert "Traceback" not in said and "INTERNALERROR" not in said, said
    about = re.search(rf"!+ KeyboardInterrupt(?:: {SIGNALS[number]})? !+\n(.*?)\n=+ ", said, flags=re.DOTALL)
    assert about is not None and len(about[1].splitlines()) <= 3, said
    assert re.search(r"=+ no tests ran in .* =+\s*$", said), said
    assert_nothing_is_left(pytester.path, pids)
    assert "otabench.bench" in (pytester.path / "junit.xml").read_text()


@pytest.mark.exhaustive
def test_a_test_that_is_timed_out_fails_and_the_next_has_a_healthy_bench(
    start: Callable[..., subprocess.Popen[str]], pytester: pytest.Pytester
) -> None:
    run = start("-o", "timeout=20", "-o", "timeout_func_only=true")
    pids = wait_for_the_test(pytester.path)
    said, _ = run.communicate(timeout=120)
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, said
    assert "INTERNALERROR" not in said and "Timeout (>20.0s)" in said, said
    assert re.search(r"=+ 1 failed, 1 passed in .* =+\s*$", said), said
    assert_nothing_is_left(pytester.path, pids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_interrupt_as_ctrl_c_does_until_the_handlers_are_gone(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    signal.signal(number, signal.SIG_DFL)
    try:
        handlers = EndAsInterrupted()
        with pytest.raises(KeyboardInterrupt, match=number.name):
            signal.raise_signal(number)
        handlers.undo()
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
