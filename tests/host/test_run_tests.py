"""``setup/run-tests``, interrupted: nothing that it started is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_layering import ROOT
from tests.waiting import eventually


def is_gone(pid: int) -> bool:
    """Return whether a process has ended; one that waits to be reaped has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def parents_of(pid: int) -> list[int]:
    """Return a process's parents up to this one's."""
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return [] if parent in (0, 1, os.getpid()) else [parent, *parents_of(parent)]


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.exhaustive), signal.SIGTERM, signal.SIGKILL]
)
def test_a_suite_that_is_interrupted_or_killed_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    # given a suite in the middle of a test that has started processes
    told = tmp_path / "pids"
    # One worker: the others would only look for a test that there is not.
    command = ["setup/run-tests", "tests/host/sleeper.py::test_it_sleeps", "-n1", "-p", "no:cacheprovider"]
    environment = {**os.environ, "OTABENCH_SLEEPER": str(told)}
    with (tmp_path / "output").open("wb") as output:
        suite = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        eventually(told.exists, "the test runs", timeout_s=60)
        pids = [int(pid) for pid in told.read_text().split()]
        family = {*pids, *parents_of(pids[0])} - {suite.pid}
        # when it is interrupted or killed
        suite.send_signal(number)
        suite.wait(60)
    # then all of them are gone, and its status tells the signal
    eventually(lambda: all(map(is_gone, family)), f"{family} have ended", timeout_s=40)
    assert suite.returncode == (-number if number is signal.SIGKILL else 128 + number)


def test_what_failed_in_any_part_is_shown_once_more_at_the_end(tmp_path: Path) -> None:
    # given a part that fails, before one with much output
    failing = "print('FAILED tests/a.py::test_b - assert 1 == 2'); print('1 failed in 0.1s'); raise SystemExit(1)"
    long = "print('much output'); print('2 passed in 0.1s')"
    program = f"""
import runpy, sys
namespace = runpy.run_path("setup/run-tests")
commands = [[sys.executable, "-c", {failing!r}], [sys.executable, "-c", {long!r}]]
namespace["main"].__globals__["run_all"] = lambda kernel, arguments, suite: suite.run(
    *(namespace["Part"](f"part {{number}}", command) for number, command in enumerate(commands)))
sys.exit(namespace["main"]([]))
"""
    # when the parts have run
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=60)
    # then the end of the output has the test that failed
    assert run.returncode == 1
    assert run.stdout.partition("2 passed in 0.1s")[2].split("\n")[2] == "FAILED tests/a.py::test_b - assert 1 == 2"
