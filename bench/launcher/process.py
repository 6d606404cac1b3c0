"""One process of the bench: start it in a group of its own, watch it, stop it, and quote its last line if it fails.

A process cannot outlive the bench: ``setpriv`` sets a parent-death signal. It is asked to end with SIGTERM, then with SIGKILL.
Which processes there are is in ``launcher.bench`` and ``launcher.specs``.

Rule: a process is started by a thread that lives as long as the bench, because the kernel sends the parent-death signal when the
starting *thread* ends, not when its process does.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from otabench.bench.deadline import Deadline
from otabench.bench.errors import ProcessFailed
from otabench.bench.launcher import fork_server, readiness
from otabench.bench.launcher.fork_server import ForkedProcess, ServerDied

PYTHON: Final = (sys.executable, "-P", "-m")
"""How one of our own modules is run: ``-P`` keeps modules of the working directory from being found first."""
# Long enough for the gateway's journal and the cloud's database to be written, on a loaded machine too.
STOP_GRACE_S: Final = 5.0
_POLL_INTERVAL_S: Final = 0.03
# A traceback's last lines are quoted, and a log may have grown to megabytes.
_TAIL_BYTES: Final = 8192


@dataclass(frozen=True)
class ProcessSpec:
    """How to start one process, and how to recognize that it is ready.

    Attributes:
        name: unique in the bench; names the log.
        argv: program and arguments.
        log: where its output is appended.
        ready: polled; returns True once it serves. Must not raise.
        remedy: what the user can do if it does not come up.
        awaited: the clause of the error message if ``ready`` does not become true, such as "its port does not answer".
        ends_itself: it is expected to end by itself once it has come up.
    """

    name: str
    argv: Sequence[str]
    log: Path
    ready: Callable[[], bool]
    remedy: str = ""
    ends_itself: bool = False
    awaited: str = ""


class Process:
    """One process of the bench, started at most once; a restart makes another ``Process``."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.expected_to_run = False
        self._popen: subprocess.Popen[bytes] | ForkedProcess | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def pid(self) -> int | None:
        """The process id, None before the start."""
        return self._popen.pid if self._popen is not None else None

    @property
    def exit_status(self) -> int | None:
        """None while it runs or before it was started; negative: the signal that ended it."""
        return self._popen.poll() if self._popen is not None else None

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def start(self) -> None:
        """Start it.

        Raises:
            ProcessFailed: the program cannot be executed.
        """
        self.spec.log.parent.mkdir(parents=True, exist_ok=True)
        self._popen = self._fork() or self._execute()
        # Only now: a process that could not be started has not ended, and must not be reported twice.
        self.expected_to_run = True

    def _fork(self) -> ForkedProcess | None:
        """Start one of our own modules with the fork server; None if that cannot do what ``python -m`` would do."""
        if tuple(self.spec.argv[: len(PYTHON)]) != PYTHON or not fork_server.shared().fits():
            return None
        module, *arguments = self.spec.argv[len(PYTHON) :]
        try:
            return fork_server.shared().spawn(module, arguments, log=self.spec.log)
        except ServerDied:
            return None

    def _execute(self) -> subprocess.Popen[bytes]:
        argv = list(self.spec.argv)
        # Not preexec_fn with prctl: Python runs it between fork and exec, where other threads of this process may
        # hold locks for ever.
        setpriv = shutil.which("setpriv")
        if setpriv is not None:
            argv = [setpriv, "--pdeathsig", "TERM", "--", *argv]
        with self.spec.log.open("ab") as log:
            try:
                return subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # Ctrl-C in the terminal goes to the launcher alone, which ends the processes in their order.
                    start_new_session=True,
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )
            except OSError as error:
                raise ProcessFailed(
                    f"{self.name} cannot be started: {argv[0]}: {error.strerror}", process=self.name, log=self.spec.log
                ) from error

    def ask_to_stop(self) -> None:
        """Send SIGTERM; return at once."""
        self.expected_to_run = False
        if self.running:
            self._signal(signal.SIGTERM)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end of the process. Return whether it has ended within that time."""
        if self._popen is None:
            return True
        try:
            self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, *, grace_s: float = STOP_GRACE_S) -> None:
        """Send SIGTERM, and SIGKILL to its whole group if it does not end in time."""
        self.ask_to_stop()
        if not self.wait(grace_s):
            self.kill()

    def kill(self) -> None:
        """Send SIGKILL to its whole group: what a crash or a power cut does."""
        self.expected_to_run = False
        if self.running:
            self._signal(signal.SIGKILL)
            self.wait(STOP_GRACE_S)

    def _signal(self, number: signal.Signals) -> None:
        assert self._popen is not None
        try:
            # The whole group: the process may have started others.
            os.killpg(self._popen.pid, number)
        except (ProcessLookupError, PermissionError):  # it ended meanwhile, or has no group yet
            self._popen.send_signal(number)

    def last_lines(self, count: int = 1) -> list[str]:
        """Return the last lines of its log that are not blank."""
        try:
            with self.spec.log.open("rb") as log:
                log.seek(max(0, self.spec.log.stat().st_size - _TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except OSError:
            return []
        return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]

    def failure(self, what: str, *, remedy: str = "") -> ProcessFailed:
        """Return an error with what happened to the process, and its last line.

        Args:
            what: happened.
            remedy: what the user can do, where the specification has none.
        """
        last = self.last_lines()
        words = f" Its last line: {last[0].strip()}." if last else " It wrote nothing."
        advice = self.spec.remedy or remedy
        return ProcessFailed(
            f"{self.name} {what}.{words} Log: {self.spec.log}.{f' {advice}' if advice else ''}",
            process=self.name,
            log=self.spec.log,
        )

    def death(self) -> ProcessFailed | None:
        """Return the error if it ended without having been asked to; else None."""
        status = self.exit_status
        if not self.expected_to_run or status is None:
            return None
        how = f"was ended by signal {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return self.failure(how)

    def check(self) -> None:
        """Raise the error of ``death``, if there is one.

        Raises:
            ProcessFailed: it ended without having been asked to.
        """
        death = self.death()
        if death is not None:
            raise death


def wait_ready(processes: Sequence[Process], *, timeout_s: float, watch: Callable[[], None] = lambda: None) -> None:
    """Wait until all are ready, in whatever order they come up.

    Args:
        processes: started ones.
        timeout_s: how long to wait without any of them becoming ready.
        watch: called in between; may raise.

    Raises:
        ProcessFailed: one ended, or none became ready in time; the message contains what was waited for.
    """
    deadline = Deadline(timeout_s)
    pending = list(processes)
    while True:
        # A copy: what is ready is removed meanwhile.
        for process in list(pending):
            process.check()
            if process.spec.ready():
                pending.remove(process)
                deadline = Deadline(timeout_s)
        if not pending:
            return
        watch()
        if deadline.has_passed():
            late = [process.name for process in pending]
            ready = [process.name for process in processes if process not in pending]
            why = readiness.why_late(awaited=pending[0].spec.awaited, ready=ready, pending=late)
            raise pending[0].failure(f"did not come up within {timeout_s:.0f} s{why}", remedy=readiness.remedy())
        deadline.pause(_POLL_INTERVAL_S)


def stop_all(processes: Sequence[Process], *, grace_s: float = STOP_GRACE_S) -> None:
    """End all of them together: SIGTERM to each, then SIGKILL to those that do not end in time."""
    for process in processes:
        process.ask_to_stop()
    deadline = Deadline(grace_s)
    for process in processes:
        # One deadline for all of them: ten processes that hang take 5 s, not 50 s.
        if not process.wait(deadline.remaining_s()):
            process.kill()
