"""The fork server: its children are what ``python -m`` would have started, and none outlives the bench."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from otabench.bench.launcher.fork_server import PRELOADED, ForkServer, ServerDied
from tests.waiting import eventually

MODULE = """
    import atexit, json, os, signal, sys, time
    print(json.dumps({
        "name": __name__, "argv": sys.argv[1:], "cwd": os.getcwd(), "variable": os.environ.get("OF_THE_TEST"),
        "session": os.getsid(0) == os.getpid(), "input": sys.stdin.read(), "fds": sorted(os.listdir("/proc/self/fd")),
    }))
    atexit.register(lambda: print("at exit"))
    what = sys.argv[1]
    if what == "exit": sys.exit(int(sys.argv[2]))
    if what == "text": sys.exit("words")
    if what == "raise": raise ValueError("broken")
    if what == "sleep": time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, which a module ``childs_module`` can be imported from."""
    (tmp_path / "childs_module.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[ForkServer]:
    server = ForkServer(preload=("json",))
    yield server
    server.close()


def test_a_server_that_is_a_fork_of_its_user_does_the_same_and_ends_with_it(folder: Path) -> None:
    code = """
        import signal, sys
        from pathlib import Path
        from otabench.bench.launcher.fork_server import ForkServer
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of the user alone
        server = ForkServer(preload=("json",), is_fork=True)
        print(server.spawn("childs_module", ["exit", "7"], log=Path("log")).wait(60))
        sleeper = server.spawn("childs_module", ["sleep"], log=Path("log"))
        print(server.pid, sleeper.pid, server.fits())
        sleeper.send_signal(signal.SIGTERM)
        print(sleeper.wait(60))
        sys.stdout.flush()
        server.close()
        print(server.fits())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=60
    )
    status, pids, terminated, after = done.stdout.splitlines()
    assert (status, terminated, after) == ("7", str(-signal.SIGTERM), "False")
    assert pids.endswith("True") and all(is_gone(int(pid)) for pid in pids.split()[:2])


def test_a_process_with_threads_starts_a_server_that_is_no_fork_of_it(folder: Path) -> None:
    code = """
        import threading, time
        from pathlib import Path
        from otabench.bench.launcher.fork_server import ForkServer
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        server = ForkServer(preload=(), is_fork=True)
        print(server.spawn("childs_module", ["exit", "7"], log=Path("log")).wait(60))
        print(b"fork_server" in Path(f"/proc/{server.pid}/cmdline").read_bytes())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["7", "True"]


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_child_is_what_python_m_starts(server: ForkServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_TEST", "yes")
    forked, executed = folder / "forked.log", folder / "executed.log"
    assert server.spawn("childs_module", ["exit", "0"], log=forked).wait(60) == 0
    with executed.open("wb") as log:
        subprocess.run(
            [sys.executable, "-P", "-m", "childs_module", "exit", "0"],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    assert forked.read_text() == executed.read_text()
    assert '"variable": "yes"' in forked.read_text() and forked.read_text().endswith("at exit\n")


@pytest.mark.parametrize(
    ("arguments", "status", "last"),
    [
        (["exit", "7"], 7, "at exit"),
        (["text"], 1, "at exit"),
        (["raise"], 1, "at exit"),
    ],
)
def test_a_child_ends_with_the_status_that_python_gives(
    server: ForkServer, folder: Path, arguments: list[str], status: int, last: str
) -> None:
    log = folder / "log"
    child = server.spawn("childs_module", arguments, log=log)
    assert (child.wait(60), child.poll()) == (status, status)
    assert log.read_text().splitlines()[-1] == last
    assert ("ValueError: broken" in log.read_text()) == (arguments == ["raise"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_childs_status_names_the_signal_that_ended_it(server: ForkServer, folder: Path, number: int) -> None:
    child = server.spawn("childs_module", ["sleep"], log=folder / "log")
    eventually(lambda: "argv" in (folder / "log").read_text(), "the child runs")
    assert child.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.01)
    child.send_signal(number)
    assert child.wait(60) == -number
    child.send_signal(number)  # to nobody: it has ended


def test_closing_the_server_ends_its_children(server: ForkServer, folder: Path) -> None:
    child = server.spawn("childs_module", ["sleep"], log=folder / "log")
    server.close()
    eventually(lambda: is_gone(child.pid), "the child is gone")
    with pytest.raises(ServerDied):
        server.spawn("childs_module", ["exit", "0"], log=folder / "log")


def test_a_killed_server_takes_its_children_along(server: ForkServer, folder: Path) -> None:
    child = server.spawn("childs_module", ["sleep"], log=folder / "log")
    eventually(lambda: "argv" in (folder / "log").read_text(), "the child runs")
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: is_gone(child.pid), "the child is gone")
    assert child.wait(60) < 0
    eventually(lambda: not server.fits(), "its end is seen")


def test_nothing_outlives_a_killed_user_of_the_server(folder: Path) -> None:
    code = """
        import time
        from pathlib import Path
        from otabench.bench.launcher.fork_server import ForkServer
        server = ForkServer(preload=())
        print(server.pid, server.spawn("childs_module", ["sleep"], log=Path("log")).pid, flush=True)
        time.sleep(600)
    """
    user = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert user.stdout is not None
    pids = [int(pid) for pid in user.stdout.readline().split()]
    assert len(pids) == 2 and not any(is_gone(pid) for pid in pids)
    user.kill()
    user.wait()
    user.stdout.close()
    eventually(lambda: all(is_gone(pid) for pid in pids), "server and child are gone")


def test_a_changed_setting_of_the_interpreter_is_noticed(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server.fits()
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    assert not server.fits()


def test_what_is_preloaded_exists_and_starts_no_thread() -> None:
    code = f"import importlib, os\nfor name in {PRELOADED}: importlib.import_module(name)\nprint(len(os.listdir('/proc/self/task')))"
    environment = {**os.environ, "GRPC_VERBOSITY": "NONE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert (done.stdout, done.stderr) == ("1\n", "")
