"""pytest-xdist with more than one worker: one bench serves them all, and a worker that dies does not hang the run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from xdist.scheduler import LoadGroupScheduling

from otabench.bench.launcher.lock import BenchInUse, BenchLock
from otabench.bench.pytest_plugin.run import BenchRun
from otabench.bench.pytest_plugin.workers import survive_dead_workers
from tests.plugin.conftest import UDP_BENCH_FILE, UDP_PORT

DIES_ONCE = """
import os
import pathlib
import signal

import pytest

MARK = pathlib.Path(__file__).with_name("died")


@pytest.mark.parametrize("number", range(6))
def test_it(number{fixture}):
    if number == 2 and not MARK.exists():
        MARK.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    print("done by", os.environ["PYTEST_XDIST_WORKER"])
"""


def run(pytester: pytest.Pytester, *arguments: str, fixture: str = "", timeout_s: float = 110.0) -> str:
    """Run the tests in two workers; return what was printed."""
    pytester.makepyfile(test_it=DIES_ONCE.replace("{fixture}", fixture))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2", "-rP", *arguments],
        capture_output=True, text=True, cwd=pytester.path, timeout=timeout_s, check=False,
    )  # fmt: skip
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr  # the one that died
    return done.stdout


class Worker:
    """A worker as the scheduler sees it: what it was sent, and whether it was told that there is no more."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.sent: list[list[int]] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: list[int]) -> None:
        self.sent.append(indices)

    def shutdown(self) -> None:
        self.shutting_down = True


def test_the_worker_that_replaces_a_dead_one_never_waits_for_a_test_that_does_not_come(
    pytester: pytest.Pytester,
) -> None:
    scheduler = LoadGroupScheduling(pytester.parseconfigure("--tx", "2*popen"))
    survive_dead_workers(scheduler)
    tests = [f"test_it.py::test_it[{number}]" for number in range(6)]
    first, second, third = Worker("gw0"), Worker("gw1"), Worker("gw2")
    for worker in (first, second):
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, tests)
    scheduler.schedule()
    for worker, index in ((second, 1), (first, 0), (second, 3), (second, 4)):
        scheduler.mark_test_complete(worker, index)
    assert scheduler.remove_node(first) == tests[2]  # it died in its second test, and had a third
    scheduler.add_node(third)
    scheduler.add_node_collection(third, tests)
    scheduler.schedule()
    assert [] not in second.sent + third.sent
    assert sum(map(len, third.sent)) >= 2 or third.shutting_down


@pytest.mark.timeout(120)
def test_a_worker_that_dies_does_not_hang_the_run(pytester: pytest.Pytester) -> None:
    printed = run(pytester, "--dist", "loadgroup")  # loadfile and loadscope distribute in the same way
    assert "crashed while running 'test_it.py::test_it[2]'" in printed
    assert re.search(r"1 failed, [56] passed", printed), printed


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_bench_serves_two_workers_and_outlives_one(pytester: pytest.Pytester) -> None:
    (pytester.path / "udp.bench.yaml").write_text(UDP_BENCH_FILE, encoding="utf-8")
    printed = run(pytester, "--bench", "udp.bench.yaml", "--dist", "load", fixture=", ecu", timeout_s=280)
    assert "used by one worker at a time: the others wait for it" in printed
    assert re.search(r"1 failed, 5 passed", printed), printed
    assert len(set(re.findall(r"done by (gw\d)", printed))) >= 2, "only one worker had bench tests"
    assert "is in use by" not in printed


HOLD = f"""
import sys
from otabench.bench.launcher.lock import BenchLock
lock = BenchLock([("udp_multicast", "port {UDP_PORT}")], bench="other.bench.yaml")
lock.acquire()
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[str]]:
    """Another process that has the bench, until a line is written to it."""
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def waiting_run(tmp_path: Path) -> Iterator[BenchRun]:
    file = tmp_path / "udp.bench.yaml"
    file.write_text(UDP_BENCH_FILE, encoding="utf-8")
    run = BenchRun(bench_file=file)
    yield run
    run.stop()


def test_a_worker_waits_for_another_one_of_its_run_and_then_has_the_bench(
    holder: subprocess.Popen[str], waiting_run: BenchRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getppid", os.getpid)  # this process controls the holder, as xdist controls both workers
    waiter = threading.Thread(target=waiting_run.wait_for_turn, daemon=True)
    waiter.start()
    waiter.join(0.5)
    assert waiter.is_alive()
    holder.communicate("end\n", timeout=10)
    waiter.join(10)
    assert not waiter.is_alive()
    with pytest.raises(BenchInUse):
        BenchLock([("udp_multicast", f"port {UDP_PORT}")], bench="a third").acquire()


def test_a_worker_does_not_wait_for_another_run(holder: subprocess.Popen[str], waiting_run: BenchRun) -> None:
    waiting_run.wait_for_turn()
    with pytest.raises(BenchInUse, match=rf"in use by process {holder.pid} .* --bench-wait"):
        waiting_run.start()


def test_a_worker_whose_bench_file_is_wrong_does_not_wait(tmp_path: Path) -> None:
    BenchRun(bench_file=tmp_path / "nowhere.yaml").wait_for_turn()
