"""The processes of a bench, by name: broker, cloud-control, cloud-artifacts, gateway, ecu-<name>, can-<bus>, gate-<bus>,
load-<bus>.

A process is declared first, with a factory of its specification, and started by name. The factory runs at every start, so that
a restarted process reads a fresh configuration file. A process that ends without having been asked to is an error, which
``check`` raises with the process's name and its last line.

Which processes there are, and the order in which they come up, is in ``launcher.bench``; how one process is started and
stopped is in ``launcher.process``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from otabench.bench.errors import UnknownName, WaitTimeout, WrongUsage
from otabench.bench.launcher.process import Process, ProcessSpec, stop_all, wait_ready
from otabench.bench.launcher.specs.names import CAPTURES


class Processes:
    """The declared and the started processes of one bench.

    Args:
        absent: names that ``start_present`` leaves out; ``start`` starts them all the same.
        on_change: called after a process was started with ``start``, so that its process id can be published.
    """

    def __init__(self, *, absent: Collection[str] = (), on_change: Callable[[], None] = lambda: None) -> None:
        self._absent = frozenset(absent)
        self._on_change = on_change
        self._factories: dict[str, Callable[..., ProcessSpec]] = {}
        self._started: dict[str, Process] = {}

    def declare(self, name: str, factory: Callable[..., ProcessSpec]) -> None:
        """Make a process known under a name.

        Args:
            name: see the module.
            factory: returns the specification; receives the keyword arguments that ``start`` was given.
        """
        self._factories[name] = factory

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all declared processes, started or not."""
        return tuple(self._factories)

    @property
    def started(self) -> tuple[Process, ...]:
        """All processes that were started, in the order of their first start; some may have ended."""
        return tuple(self._started.values())

    def get(self, name: str) -> Process:
        """Return a started process.

        Raises:
            UnknownName: the process does not exist.
            WrongUsage: it was not started.
        """
        if name not in self._factories:
            raise UnknownName("process", name, self._factories, where="in this bench")
        if name not in self._started:
            raise WrongUsage(f"{name} was not started; `bench.processes.start({name!r})` starts it")
        return self._started[name]

    def was_started(self, name: str) -> bool:
        """Return whether that process was started; it may have ended."""
        return name in self._started

    def is_running(self, name: str) -> bool:
        """Return whether that process was started and has not ended."""
        return name in self._started and self._started[name].running

    def start(self, name: str, *, timeout_s: float = 30.0, **spec_arguments: Any) -> None:
        """Start a process that is absent or was stopped, and wait until it is ready.

        Args:
            name: see the module.
            timeout_s: until it is ready.
            spec_arguments: for the factory of its specification, such as ``stop_before`` for the gateway
                (``BenchOptions.gateway_stop_before``).

        Raises:
            ProcessFailed: it does not come up.
            UnknownName: the process does not exist.
            WrongUsage: it is running.
        """
        if name not in self._factories:
            raise UnknownName("process", name, self._factories, where="in this bench")
        if self.is_running(name):
            raise WrongUsage(f"{name} runs already; stop it first")
        process = self._start(name, **spec_arguments)
        # The other processes are not watched here: a test may restart several that have died, one by one.
        wait_ready([process], timeout_s=timeout_s)
        _release_expectation([process])
        self._on_change()

    def start_present(self, names: Iterable[str], **spec_arguments: Any) -> list[str]:
        """Start the processes that are neither absent nor started. Return their names without waiting for them."""
        started = []
        for name in names:
            if name not in self._absent and name not in self._started:
                self._start(name, **spec_arguments)
                started.append(name)
        return started

    def wait_ready(self, names: Iterable[str], *, timeout_s: float) -> None:
        """Wait until these processes, as far as they were started, are ready; the others are watched meanwhile.

        Raises:
            ProcessFailed: a process ended, or one of these is not ready in time.
        """
        waited_for = [self._started[name] for name in names if name in self._started]
        wait_ready(waited_for, timeout_s=timeout_s, watch=lambda: self._check_except(waited_for))
        _release_expectation(waited_for)

    def stop(self, name: str) -> None:
        """Send SIGTERM, and SIGKILL if the process does not end in time."""
        self.get(name).stop()

    def kill(self, name: str) -> None:
        """Send SIGKILL: what a crash does."""
        self.get(name).kill()

    def restart(self, name: str, *, timeout_s: float = 30.0, **spec_arguments: Any) -> None:
        """Stop a process, if it was started, and start it again. Takes the arguments of ``start``."""
        if name in self._started:
            self.stop(name)
        self.start(name, timeout_s=timeout_s, **spec_arguments)

    def wait_exit(self, name: str, *, timeout_s: float = 30.0) -> int:
        """Wait until a process ends by itself, and return its exit status (negative: the signal).

        Raises:
            WaitTimeout: it is still running.
        """
        process = self.get(name)
        if not process.wait(timeout_s):
            raise WaitTimeout(f"{name} still runs after {timeout_s:.0f} s; see {process.spec.log}")
        # It was meant to end, so ``check`` must not report it.
        process.expected_to_run = False
        status = process.exit_status
        assert status is not None
        return status

    def check(self) -> None:
        """Make sure that every started process is running, unless it was asked to end.

        Raises:
            ProcessFailed: the first one that ended, with its name and last line.
        """
        self._check_except([])

    def stop_captures(self) -> None:
        """End the captures, so that their files are complete; everything else continues."""
        stop_all(self._captures())

    def stop_in_order(self, *first: str) -> None:
        """Stop the named processes, then the others, then the captures, and forget them all.

        The captures end last, so that they record the last frame, and they end even if stopping another process fails.
        """
        captures = self._captures()
        leading = [process for name, process in self._started.items() if name in first]
        others = [process for process in self._started.values() if process not in (*captures, *leading)]
        try:
            stop_all(leading)
            stop_all(others)
        finally:
            stop_all(captures)
            self._started.clear()

    def _captures(self) -> list[Process]:
        return [process for name, process in self._started.items() if name.startswith(CAPTURES)]

    def _start(self, name: str, **spec_arguments: Any) -> Process:
        # Kept before the start, so that a process whose start fails half-way is stopped with the others.
        process = self._started[name] = Process(self._factories[name](**spec_arguments))
        process.start()
        return process

    def _check_except(self, waited_for: list[Process]) -> None:
        for process in self._started.values():
            if process not in waited_for:
                process.check()


def _release_expectation(processes: list[Process]) -> None:
    """Allow processes that end by themselves to end from now on, without being reported as failed."""
    for process in processes:
        if process.spec.ends_itself:
            process.expected_to_run = False
