"""One pytest run and its bench: the options, the bench once it is up, and why it is broken.

The bench is brought up at most once, by the first test that asks for it, and given up at the first thing that shows it unusable.
Importing this module imports nothing heavy; ``topology`` and ``start`` do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from otabench.bench.ancestors import ancestors
from otabench.bench.deadline import Deadline
from otabench.bench.pytest_plugin.demands import Requirements
from otabench.bench.pytest_plugin.interruption import EndAsInterrupted

if TYPE_CHECKING:
    from otabench.bench.launcher.lock import BenchLock
    from otabench.bench.launcher.options import BenchOptions
    from otabench.bench.pytest_plugin.can_log import CanLog
    from otabench.bench.pytest_plugin.shared_bench import SharedBench
    from otabench.bench.report.of_bench import Reporter
    from otabench.bench.topology.model import Topology

FIRST_VERSION: Final = "1.0.0"
"""What simulated ECUs are delivered with."""
BUILT_IN: Final = "built-in simulators"
_MAX_LISTED: Final = 20
_TURN_INTERVAL_S: Final = 0.1
_HOLDER_IS_NAMED_S: Final = 5.0
"""A lock's holder writes its name a moment after it took the lock."""
_POLL_INTERVAL_S: Final = 2.0
"""How often the gateway asks the cloud without being woken: a cancelled job is heard of soon."""


@dataclass
class BenchRun:
    """A pytest run.

    Attributes:
        bench_file: None: the built-in simulators.
        runs_dir: where the run's folder is made.
        root: pytest's root folder, whose commit becomes a property.
        wait_s: how long to wait for a bench that somebody else uses.
        pace: make virtual buses as slow as their bit rate.
        ecu: the ECU that the fixture ``ecu`` gives; empty: by what the test asks for.
        allow_destructive: run tests that may damage a board's contents.
        keep_can_log: keep the CAN logs of tests that pass, too.
        required: the capabilities that must be present.
        bench: once it is up.
        is_ending: the session is over. A test that is still under way was cut off (Ctrl-C, SIGTERM): the bench is brought down
            and not judged any more.
        broken: why the bench cannot be used any more; empty while it can.
        can_log: of the test that runs.
        properties: for the JUnit file, once the bench is up.
    """

    bench_file: Path | None = None
    runs_dir: Path = Path("runs")
    root: Path = Path()
    wait_s: float = 0.0
    pace: bool = False
    ecu: str = ""
    allow_destructive: bool = False
    keep_can_log: bool = False
    required: Requirements = field(default_factory=Requirements)
    bench: SharedBench | None = None
    is_ending: bool = False
    broken: str = ""
    can_log: CanLog | None = None
    properties: dict[str, str] = field(default_factory=dict)
    _topology: Topology | None = None
    _lock: BenchLock | None = None
    _reporter: Reporter | None = None
    _signals: EndAsInterrupted | None = None

    @property
    def bench_name(self) -> str:
        """The bench's name in messages."""
        return self.bench_file.name if self.bench_file is not None else BUILT_IN

    def topology(self) -> Topology:
        """Return the bench file's contents.

        Raises:
            BenchFileError: it is wrong.
        """
        if self._topology is None:
            from otabench.bench.topology import bench_file as topology

            self._topology = topology.load(self.bench_file)
        return self._topology

    def start(self, overrides: Mapping[str, Any] | None = None) -> SharedBench:
        """Take the bench and bring it up.

        Args:
            overrides: of the bench's options (``otabench.bench.launcher.options.BenchOptions``): what the fixture ``bench_options`` gives.

        Raises:
            BenchError: somebody else uses it, or it does not come up.
            WrongUsage: an override that is not an option, or one that the command line sets.
        """
        from otabench.bench.errors import BenchError
        from otabench.bench.launcher.lock import BenchLock, buses_of
        from otabench.bench.pytest_plugin.shared_bench import SharedBench
        from otabench.bench.report.of_bench import Reporter

        options = self._options(overrides or {})
        said: list[str] = []
        if self._lock is None:  # else this worker has waited for its turn
            self._lock = BenchLock(buses_of(self.topology()), bench=str(self.bench_file or BUILT_IN))
            self._lock.acquire(wait_s=self.wait_s, say=lambda line: print(f"otabench: {line}", flush=True))
        self._signals = EndAsInterrupted()
        try:
            self.bench = SharedBench.bring_up(options, say=said.append)
            self._reporter = Reporter(self.bench.running)
        except BenchError as error:
            self.stop()
            steps = "\n".join(f"  {line}" for line in said[-_MAX_LISTED:])
            raise BenchError(
                f"bench {self.bench_name} does not come up: {error}" + (f"\n{steps}" if steps else "")
            ) from error
        except BaseException:
            self.stop()
            raise
        return self.bench

    def wait_for_turn(self) -> None:
        """Wait as long as another worker of the same run has the bench, then take it.

        Whatever else keeps this run from using the bench is left to ``start``, which reports it.
        """
        from otabench.bench.errors import BenchError
        from otabench.bench.launcher.lock import BenchInUse, BenchLock, buses_of

        if self.bench is not None or self.broken or self._lock is not None:
            return
        unnamed = Deadline(_HOLDER_IS_NAMED_S)
        while True:
            try:
                lock = BenchLock(buses_of(self.topology()), bench=str(self.bench_file or BUILT_IN))
                lock.acquire()
            except BenchInUse as error:
                pid = error.holder.get("pid")
                if pid is None and unnamed.has_passed():
                    return
                if pid is not None and not _is_sibling(int(pid)):
                    return
            except BenchError:
                return
            else:
                self._lock = lock
                return
            time.sleep(_TURN_INTERVAL_S)

    def _options(self, overrides: Mapping[str, Any]) -> BenchOptions:
        from otabench.bench.errors import WrongUsage
        from otabench.bench.launcher.options import BenchOptions

        given: dict[str, Any] = {"bench_file": self.bench_file, "runs_dir": self.runs_dir, "pace": self.pace}
        given["place_wait_s"] = self.wait_s
        default = BenchOptions(**given, versions=(FIRST_VERSION,), poll_interval_s=_POLL_INTERVAL_S)
        known = {option.name for option in fields(BenchOptions)} - {"topology", *given}
        unknown = sorted(overrides.keys() - known)
        if unknown:
            raise WrongUsage(
                f"fixture bench_options: {', '.join(unknown)}: not among the options; known: {', '.join(sorted(known))}"
            )
        return replace(default, **overrides)

    def stop(self) -> None:
        """Leave a report, take the bench down and give it back. May be called twice."""
        try:
            if self.bench is not None:
                self._stop_bench(self.bench)
        finally:
            if self._lock is not None:
                self._lock.release()
                self._lock = None
            if self._signals is not None:
                self._signals.undo()
                self._signals = None

    def _stop_bench(self, bench: SharedBench) -> None:
        from otabench.bench.report.of_bench import write_index_if_possible

        self.bench = None
        try:
            if self._reporter is not None:
                self._reporter.leave_if_possible()
        finally:
            bench.stop()
        write_index_if_possible(self.runs_dir)

    def give_up(self, reason: str, *, test: str) -> None:
        """Mark the bench broken; the first reason stays."""
        if not self.broken:
            first = reason.splitlines()[0] if reason else "unknown"
            self.broken = f"the bench is broken since {test}: {first}"


def _is_sibling(pid: int) -> bool:
    """Return whether that process is a worker of the same run: a child of the same controller."""
    return next(ancestors(pid), os.getppid()) == os.getppid()  # none: it has just ended
