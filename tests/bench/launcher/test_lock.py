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

from otabench.bench.errors import BenchError
from otabench.bench.launcher import lock as bench_lock
from otabench.bench.launcher.lock import BenchInUse, BenchLock, name_of
from otabench.bench.topology import bench_file

BUS = [("socketcan", "can0")]
OWN_CHANNEL = f"vcan{os.getpid()}"
OTABENCH = ("-c", "from otabench.bench.cli import main; main()")
REPOSITORY = Path(__file__).parents[3]
"""Nobody else's, on whatever machine this runs."""
HOLD = """
import sys, time
from pathlib import Path
from otabench.bench.launcher.lock import BenchLock
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


def test_whoever_would_wait_for_the_process_that_started_it_is_refused_at_once(tmp_path: Path) -> None:
    lock = BenchLock(BUS, bench="mine", folder=tmp_path)
    lock.acquire()
    code = HOLD.replace("lock.acquire()", "lock.acquire(wait_s=60)")
    child = [
        sys.executable,
        "-c",
        f"import subprocess, sys; sys.exit(subprocess.call({[sys.executable, '-c', code]} + sys.argv[1:]))",
    ]
    started = time.monotonic()
    done = subprocess.run([*child, tmp_path, "can0"], capture_output=True, text=True, check=False, timeout=60)
    assert time.monotonic() - started < 30
    assert f"in use by process {os.getpid()} of user" in done.stderr
    assert "which started this command" in done.stderr
    lock.release()


def test_a_bench_is_held_as_long_as_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_lock, "place", lambda: tmp_path)
    buses = bench_lock.buses_of(bench_file.load())
    with bench_lock.held(buses, bench="mine", wait_s=0, say=print), pytest.raises(BenchInUse, match="vcan0"):
        BenchLock(buses, bench="other").acquire()
    BenchLock(buses, bench="other").acquire()


@pytest.mark.parametrize(
    "command",
    [
        pytest.param([*OTABENCH, "bench", "run", "--bench", "lock.yaml"], id="bench run"),
        pytest.param([*OTABENCH, "up", "--bench", "lock.yaml"], id="up"),
        pytest.param(["-m", "tests.benchmarks.flash", "--channel", OWN_CHANNEL], id="benchmark"),
        pytest.param([*OTABENCH, "perf", "message-cut"], id="perf message-cut", marks=pytest.mark.vcan),
        pytest.param([*OTABENCH, "perf", "frames"], id="perf frames", marks=pytest.mark.vcan),
    ],
)
def test_a_command_that_finds_the_bench_in_use_says_by_whom_and_ends_with_1(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "lock.yaml").write_text(bench_file.default_text().replace("vcan0", OWN_CHANNEL))
    channel = "vcan0" if command[-1] in ("message-cut", "frames") else OWN_CHANNEL
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, bench_lock.place(), channel], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        done = subprocess.run(
            [sys.executable, *command, "--bench-wait", "0.3"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        other.kill()
        other.communicate()
    assert done.returncode == 1, done
    assert f"bus {channel} is in use by process {other.pid}" in done.stdout, "said while it waits"
    (line,) = done.stderr.splitlines()
    who = f"process {other.pid} of user {getpass.getuser()} (bench other.bench.yaml, since "
    program = "benchmark" if command[0] == "-m" else "otabench"
    assert line.startswith(f"{program}: bus {channel} is in use by {who}")
    assert line.endswith(" after 0.3 s of waiting; wait for it with --bench-wait SECONDS, or end that run")
    assert not (tmp_path / "runs").exists()
