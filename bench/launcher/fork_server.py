"""Start the bench's Python processes by fork, from a process that has imported everything already.

A bench starts eight processes that import much the same modules. In a guest kernel each import costs a second or two of its only
processor. The fork server imports once; then it forks a child for each request, which runs its module as ``python -m`` would:

    process = shared().spawn("otabench.cloud", ["control", "--config", "cloud.json"], log=Path("cloud.log"))
    process.wait(5.0)

Rules:

* A child looks like a process that was started separately: own session and process group, working directory, environment,
  standard streams (input empty, output to its log), signals, exit status.
* Nothing outlives the bench. When the process that started the server ends, however it ends, the server reads the end of its socket,
  sends SIGTERM to its children and ends. When the server itself is killed, the kernel sends SIGTERM to its children.
* The server imports, forks and reaps, nothing else. A fork copies one thread only: locks that other threads hold would stay
  locked in the child for ever. ``tests/bench/launcher/test_fork_server.py`` proves that the imports start no thread.

This module does not know what the children do. ``launcher.specs`` lists their modules.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from otabench.bench.bus import rights

PRELOADED: Final = (
    "typer",
    "otabench.bench.captures.recorder",
    "otabench.bench.faults.bus_load",
    "otabench.ecu_firmware_sim.ecu",
    "otabench.ecu_firmware_sim.control_port",
    "otabench.ecu_firmware_sim.bus.kernel",
    "otabench.ecu_firmware_sim.bus.application",
    "otabench.cloud.process",
    "otabench.cloud.trust.keys",
    "otabench.cloud.control.server",
    "otabench.cloud.control.operator",
    "otabench.cloud.control.vehicles",
    "otabench.cloud.campaigns.orchestrator",
    "otabench.cloud.campaigns.announcer",
    "otabench.cloud.events.publisher",
    "otabench.cloud.artifacts.app",
    "otabench.cloud.store.artifact_store",
    "otabench.cloud.store.database",
    "otabench.bench.gateway.process",
    "otabench.bench.gateway.agent",
    "otabench.bench.gateway.flashing.uds_vehicle",
    "otabench.bench.gateway.hmi.server",
    "otabench.bench.uds.transport.kernel",
    # What libraries import by themselves once they are used.
    "sqlalchemy.dialects.sqlite",
    "fsspec.implementations.local",
    "uvicorn.loops.asyncio",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.h11_impl",
)
"""What the bench's processes import. A module that is missing here is imported by the child: slower, not wrong."""

_MAX_REQUEST_BYTES: Final = 1 << 18
"""Arguments and environment of one request. A longer one cannot be sent, so its process is started by an exec (``Process.start``)."""
_INT: Final = struct.Struct("=i")
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15  # linux/prctl.h
_STATUS_UNKNOWN: Final = -signal.SIGKILL
"""Exit status of a child whose server was killed before it could report it."""


class ServerDied(Exception):
    """The fork server has ended; its children have received SIGTERM."""


class ForkedProcess:
    """A child of the fork server, with the part of ``subprocess.Popen``'s interface that the bench uses."""

    def __init__(self, pid: int, status_fd: int) -> None:
        self.pid = pid
        self._status: int | None = None
        self._status_fd = status_fd
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal, or None while the process runs."""
        return self._read_status(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once the process has ended.

        Args:
            timeout: seconds; None waits for ever.

        Raises:
            subprocess.TimeoutExpired: the process still runs.
        """
        status = self._read_status(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _read_status(self, timeout_s: float | None) -> int | None:
        with self._lock:
            if self._status is None and select.select([self._status_fd], [], [], timeout_s)[0]:
                # At the end of file there is no status: the server, which held the other end, was killed.
                written = os.read(self._status_fd, _INT.size)
                self._status = _INT.unpack(written)[0] if len(written) == _INT.size else _STATUS_UNKNOWN
                os.close(self._status_fd)
            return self._status


class _Fork:
    """A child of this process, with the part of ``subprocess.Popen``'s interface that a server needs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._has_ended = False

    def poll(self) -> int | None:
        if not self._has_ended:
            self._has_ended = os.waitpid(self.pid, os.WNOHANG)[0] != 0
        return 0 if self._has_ended else None

    def wait(self) -> None:
        if not self._has_ended:
            os.waitpid(self.pid, 0)
            self._has_ended = True


class ForkServer:
    """The server process, as its user sees it. Threads may share it.

    Args:
        preload: modules that it imports first, in this order.
        is_fork: fork the server from this process instead of starting a new interpreter. Use it in a command that needs most of these
            modules itself: they are imported once instead of twice. A process with more than one thread starts a new interpreter all the
            same, because a fork copies one thread only.
    """

    def __init__(self, preload: Sequence[str] = PRELOADED, *, is_fork: bool = False) -> None:
        # SEQPACKET: each request or pid is one packet, and an empty read means that the other end was closed.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._interpreter = _interpreter_settings(os.environ)
        may_fork = is_fork and _import_without_threads(preload)
        self._process = self._fork(ours, theirs) if may_fork else self._execute(theirs, preload)
        theirs.close()
        self._socket = ours
        self._lock = threading.Lock()

    @staticmethod
    def _fork(ours: socket.socket, theirs: socket.socket) -> _Fork:
        pid = os.fork()
        if pid == 0:
            # What a new program would get: no Ctrl-C of the terminal, no way back to root's rights, default signals, empty input.
            ours.close()
            os.setsid()
            rights.give_up_root()
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            serve(theirs, ())
        return _Fork(pid)

    @staticmethod
    def _execute(theirs: socket.socket, preload: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            # -P: without it, a module of the working directory would be imported in place of an installed one.
            [sys.executable, "-P", "-m", __name__, str(theirs.fileno()), *preload],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is for the bench, which then stops the processes in order
            # gRPC reads this at import. Without it, its C++ core writes log lines of its own to stderr.
            env={**os.environ, "GRPC_VERBOSITY": "NONE"},
        )

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def fits(self) -> bool:
        """Return whether a child would behave as a fresh ``python -m``: the server runs, and no variable PYTHON… has changed.

        Variables such as PYTHONPATH are read when an interpreter starts, so a child cannot follow a later change.
        """
        return self._process.poll() is None and _interpreter_settings(os.environ) == self._interpreter

    def spawn(self, module: str, arguments: Sequence[str], *, log: Path) -> ForkedProcess:
        """Run ``python -m module arguments`` in a child; its output is appended to ``log``.

        Raises:
            ServerDied: the server has ended.
            OSError: the log cannot be opened.
        """
        request = {
            "module": module,
            "arguments": list(arguments),
            "cwd": str(Path.cwd()),
            "environment": dict(os.environ),
        }
        with log.open("ab") as output:
            status_reader, status_writer = os.pipe()
            try:
                with self._lock:
                    socket.send_fds(self._socket, [json.dumps(request).encode()], [output.fileno(), status_writer])
                    (pid,) = _INT.unpack(self._socket.recv(_INT.size))
            except (OSError, struct.error) as error:
                os.close(status_reader)
                raise ServerDied(f"the fork server (pid {self.pid}) has ended") from error
            finally:
                os.close(status_writer)
        return ForkedProcess(pid, status_reader)

    def close(self) -> None:
        """End the server. Children that still run receive SIGTERM. May be called twice."""
        self._socket.close()
        self._process.wait()


def _import_without_threads(names: Sequence[str]) -> bool:
    """Import modules, and return whether this process still has one thread only."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for name in names:
        importlib.import_module(name)
    return len(list(Path("/proc/self/task").iterdir())) == 1


_shared: list[ForkServer] = []
"""This process's fork server, once it has one."""


def shared(*, is_fork: bool = False) -> ForkServer:
    """Return this process's fork server, started at the first call and ended with the process.

    Args:
        is_fork: see ``ForkServer``. It has an effect at the first call only.
    """
    if not _shared:
        _shared.append(ForkServer(is_fork=is_fork))
        atexit.register(_shared[0].close)
    return _shared[0]


def _interpreter_settings(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith("PYTHON")}


# The server process.


def serve(connection: socket.socket, preload: Sequence[str]) -> NoReturn:
    """Import, then fork on request, until the other end closes the connection."""
    for name in preload:
        importlib.import_module(name)
    # A garbage collection writes to the header of every object, and would so copy all shared pages into each child.
    gc.freeze()
    server = os.getpid()
    status_fds: dict[int, int] = {}
    wake_reader, wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # only a signal with a handler wakes the loop
    while True:
        readable, _, _ = select.select([connection.fileno(), wake_reader], [], [])
        if wake_reader in readable:
            os.read(wake_reader, 4096)
            _reap(status_fds)
        if connection.fileno() in readable:
            message, fds, _, _ = socket.recv_fds(connection, _MAX_REQUEST_BYTES, 2)
            if not message:
                break
            log_fd, status_fd = fds
            pid = os.fork()
            if pid == 0:
                # A child that kept a writer of another child's status would hide the end of file when the server is killed.
                for inherited in (connection.fileno(), wake_reader, wake_writer, status_fd, *status_fds.values()):
                    os.close(inherited)
                _become(json.loads(message), log_fd, server=server)
            os.close(log_fd)
            status_fds[pid] = status_fd
            connection.send(_INT.pack(pid))
    for pid in status_fds:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    os._exit(0)


def _reap(status_fds: dict[int, int]) -> None:
    """Report the exit status of every child that has ended."""
    while status_fds:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        fd = status_fds.pop(pid)
        with contextlib.suppress(BrokenPipeError):  # no process waits for it any more
            os.write(fd, _INT.pack(os.waitstatus_to_exitcode(status)))
        os.close(fd)


def _become(request: dict[str, Any], log_fd: int, *, server: int) -> NoReturn:
    """Turn this forked child into the process that was requested."""
    status: Any = 1
    try:
        _detach(request, log_fd, server=server)
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
    except BaseException:  # noqa: BLE001  # as the interpreter does: a traceback, and status 1
        traceback.print_exc()
    # As Py_FinalizeEx does, in its order: wait for the threads that are not daemons, then atexit. Both functions are private, and the
    # same in Python 3.11 to 3.14.
    with contextlib.suppress(Exception):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


def _detach(request: dict[str, Any], log_fd: int, *, server: int) -> None:
    """Take on a session, signals, streams, working directory and environment as after an exec."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    # The server ended before prctl was called, so no SIGTERM will come.
    if os.getppid() != server:
        os._exit(1)
    prctl(_PR_SET_NAME, request["module"].removeprefix("otabench.")[:15].encode(), 0, 0, 0)
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    os.close(log_fd)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [request["module"], *request["arguments"]]
    for name in ("stdout", "stderr"):  # line by line, so that a log shows at once what a process wrote
        stream = getattr(sys, name)
        stream.reconfigure(line_buffering=True, write_through=True, errors="backslashreplace")


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
