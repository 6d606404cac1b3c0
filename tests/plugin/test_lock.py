"""One bench, one run at a time."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.pytest_plugin.lock import BenchInUse, BenchLock, name_of

BUS = [("socketcan", "can0")]
HOLD = """
import sys, time
from pathlib import Path
from bench.pytest_plugin.lock import BenchLock
lock = BenchLock([("socketcan", channel) for channel in sys.argv[2:]], bench="other.bench.yaml", folder=Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds can0."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path, "can0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_bench_in_use_is_refused_and_its_user_is_named(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    lock = BenchLock(BUS, bench="mine", folder=tmp_path)
    with pytest.raises(BenchInUse) as refusal:
        lock.acquire()
    assert refusal.value.holder["pid"] == holder.pid
    assert refusal.value.holder["user"] == getpass.getuser()
    text = str(refusal.value)
    assert text.startswith(
        f"bus can0 is in use by process {holder.pid} of user {getpass.getuser()} (bench other.bench.yaml"
    )
    assert "--bench-wait SECONDS" in text


def test_waiting_ends_when_the_time_is_over(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    said: list[str] = []
    started = time.monotonic()
    with pytest.raises(BenchInUse, match=r"after 0\.3 s of waiting"):
        BenchLock(BUS, bench="mine", folder=tmp_path).acquire(wait_s=0.3, say=said.append)
    assert 0.3 <= time.monotonic() - started < 5
    assert [str(holder.pid) in line and "waiting for up to 0.3 s" in line for line in said] == [True]


def test_whoever_waits_gets_the_bench_when_its_user_is_killed(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    lock = BenchLock(BUS, bench="mine", folder=tmp_path)
    lock.acquire(wait_s=30, say=lambda _: os.kill(holder.pid, signal.SIGKILL))
    assert f'"pid": {os.getpid()}' in (tmp_path / name_of(*BUS[0])).read_text()
    lock.release()


def test_a_bench_given_back_can_be_taken(tmp_path: Path) -> None:
    first, second = (BenchLock(BUS, bench="mine", folder=tmp_path) for _ in range(2))
    first.acquire()
    with pytest.raises(BenchInUse):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_benches_on_different_buses_do_not_wait_for_each_other(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    lock = BenchLock([("socketcan", "can1"), ("pcan", "PCAN_USBBUS1")], bench="mine", folder=tmp_path)
    lock.acquire()
    lock.release()


def test_who_gets_one_bus_of_two_keeps_none(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    both = BenchLock([("pcan", "PCAN_USBBUS1"), ("socketcan", "can0")], bench="mine", folder=tmp_path)
    with pytest.raises(BenchInUse):
        both.acquire()
    other = BenchLock([("pcan", "PCAN_USBBUS1")], bench="other", folder=tmp_path)
    other.acquire()
    other.release()


def test_everybody_may_use_the_lock_file(tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        lock = BenchLock(BUS, bench="mine", folder=tmp_path)
        lock.acquire()
    finally:
        os.umask(mask)
    assert (tmp_path / name_of(*BUS[0])).stat().st_mode & 0o777 == 0o666
    lock.release()


def test_a_lock_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        BenchError, match=r"nowhere/otabench-socketcan-can0-\w+\.lock: the lock file cannot be used: No such"
    ):
        BenchLock(BUS, bench="mine", folder=tmp_path / "nowhere").acquire()
