"""The processes of a running bench, by name: broker, cloud-control, cloud-artifacts, gateway, ecu-<name>, can-<bus>,
gate-<bus>, load-<bus>.

Decides what may be done with one of them while the bench is up: kill, stop, start, restart, wait for its end. Which there
are, and in which order they come up, is the launcher's; how one is started, ``launcher.process``'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from otabench.bench.errors import WaitTimeout, WrongUsage
from otabench.bench.launcher.options import BenchOptions
from otabench.bench.launcher.process import Process, ProcessSpec, stop_all, wait_ready

CAPTURES = "can-"
"""How the names of captures begin."""


class BenchProcesses:
    """Part of ``launcher.bench.Bench``."""

    options: BenchOptions

    def __init__(self) -> None:
        self._processes: dict[str, Process] = {}
        self._specs: dict[str, Callable[[], ProcessSpec]] = {}

    @property
    def process_names(self) -> tuple[str, ...]:
        """All that this bench can run, started or not."""
        return tuple(self._specs)

    def process(self, name: str) -> Process:
        """Return a started process.

        Raises:
            WrongUsage: there is no such process, or it was not started.
        """
        if name not in self._processes:
            raise WrongUsage(f"no process {name!r} was started; this bench has: {', '.join(self._specs)}")
        return self._processes[name]

    def is_running(self, name: str) -> bool:
        """Return whether that process was started and has not ended."""
        return name in self._processes and self._processes[name].running

    def kill(self, name: str) -> None:
        """SIGKILL: what a crash does."""
        self.process(name).kill()

    def stop_process(self, name: str) -> None:
        """SIGTERM, and SIGKILL if that is not heeded."""
        self.process(name).stop()

    def start_process(self, name: str, *, timeout_s: float = 30.0, stop_before: str = "") -> None:
        """Start a process that is absent or was stopped, and wait until it is ready.

        Args:
            name: see above.
            timeout_s: until it is ready.
            stop_before: for the gateway: see ``BenchOptions.gateway_stop_before``.

        Raises:
            ProcessFailed: it does not come up.
            WrongUsage: there is no such process, or it runs.
        """
        if name not in self._specs:
            raise WrongUsage(f"there is no process {name!r}; this bench has: {', '.join(self._specs)}")
        if name in self._processes and self._processes[name].running:
            raise WrongUsage(f"{name} runs already; stop it first")
        self._before_start(name, stop_before=stop_before)
        process = self._start(name)
        wait_ready([process], timeout_s=timeout_s)
        if stop_before:
            process.expected_to_run = False
        self._bench_changed()

    def restart(self, name: str, *, timeout_s: float = 30.0, stop_before: str = "") -> None:
        """Stop a process, if it runs, and starts it again."""
        if name in self._processes:
            self.stop_process(name)
        self.start_process(name, timeout_s=timeout_s, stop_before=stop_before)

    def wait_exit(self, name: str, *, timeout_s: float = 30.0) -> int:
        """Wait until a process ends by itself; its exit status (negative: the signal).

        Raises:
            WaitTimeout: it goes on.
        """
        process = self.process(name)
        if not process.wait(timeout_s):
            raise WaitTimeout(f"{name} still runs after {timeout_s:.0f} s; see {process.spec.log}")
        process.expected_to_run = False
        status = process.exit_status
        assert status is not None
        return status

    def check_processes(self) -> None:
        """Raise for the first process that ended though nobody asked it to.

        Raises:
            ProcessFailed: with its name and last line.
        """
        for process in self._processes.values():
            death = process.death()
            if death is not None:
                raise death

    def stop_captures(self) -> None:
        """End the captures, so that their files are whole; the rest goes on."""
        stop_all([process for name, process in self._processes.items() if name.startswith(CAPTURES)])

    def _before_start(self, name: str, *, stop_before: str) -> None:
        """Hook: the launcher tells a process anew what it needs to know."""

    def _bench_changed(self) -> None:
        """Hook: a process was started, or a campaign made."""

    def _stop_in_order(self, *first: str) -> None:
        """Those named first, then the rest, and the captures last, whatever happens to the others."""
        captures = [process for name, process in self._processes.items() if name.startswith(CAPTURES)]
        leading = [process for name, process in self._processes.items() if name in first]
        others = [process for process in self._processes.values() if process not in (*captures, *leading)]
        try:
            stop_all(leading)
            stop_all(others)
        finally:
            stop_all(captures)
            self._processes.clear()

    def _start_unless_absent(self, names: Iterable[str]) -> list[str]:
        started = []
        for name in names:
            if name not in self.options.absent and name not in self._processes:
                self._start(name)
                started.append(name)
        return started

    def _start(self, name: str) -> Process:
        process = self._processes[name] = Process(self._specs[name]())
        process.start()
        return process
