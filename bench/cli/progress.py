"""Show the progress of a job: bars on a terminal, lines otherwise.

The progress comes from the driver's page, the job's state from the trace. If the page does not answer, the state is still shown, and the
wait goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from otabench.bench.clients.job_watch import JobView, where_it_stands
from otabench.bench.deadline import Deadline
from otabench.bench.errors import EndpointError, WaitTimeout
from otabench.bench.launcher.bench import Bench

_POLL_INTERVAL_S: Final = 0.25
_STEP: Final = 0.25
"""Lines are written at each quarter of a transfer."""


def follow(bench: Bench, console: Console, *, timeout_s: float) -> JobView:
    """Show the last campaign's job until it has ended.

    Raises:
        WaitTimeout: it has not ended in time.
        ProcessFailed: a process died meanwhile.
    """
    if not console.is_terminal:
        return _watch(bench, timeout_s=timeout_s, show=_Lines(console).show)
    with Progress(
        TextColumn("{task.description:<34}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        console=console,
        transient=True,
    ) as progress:
        return _watch(bench, timeout_s=timeout_s, show=_Bars(progress).show)


def _watch(bench: Bench, *, timeout_s: float, show: Callable[[JobView | None, dict[str, Any]], None]) -> JobView:
    deadline = Deadline(timeout_s)
    while True:
        job = bench.jobs.current()
        try:
            state = bench.hmi.state()
        except EndpointError:
            state = {}
        show(job, state)
        if job is not None and job.ended:
            return job
        # After the job: one that has ended counts, even if a process died afterwards.
        bench.processes.check()
        if deadline.has_passed():
            stands = where_it_stands(job, state)
            raise WaitTimeout(f"after {timeout_s:.0f} s, the job {stands}; see {bench.folder.root}, or raise --timeout")
        deadline.pause(_POLL_INTERVAL_S)


def _job_line(job: JobView) -> str:
    return f"job {job.job_id}: {job.state}{f' ({job.reason})' if job.reason else ''}"


class _Lines:
    """One line at each change of state or phase, and at each quarter of a transfer."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._state = ""
        self._shown: dict[str, tuple[str, int]] = {}

    def show(self, job: JobView | None, state: dict[str, Any]) -> None:
        if job is not None and job.state != self._state:
            self._state = job.state
            self._print(_job_line(job))
        for ecu in state.get("ecus", ()):
            done, total = int(ecu["bytes_done"]), int(ecu["bytes_total"])
            step = int(done / total / _STEP) if total else 0
            key = (str(ecu["phase"]), step)
            if ecu["phase"] and self._shown.get(ecu["ecu"]) != key:
                self._shown[ecu["ecu"]] = key
                amount = f" {done:,} of {total:,} bytes" if total else ""
                rate = f", {ecu['bytes_per_s'] / 1024:.1f} KiB/s" if ecu["bytes_per_s"] else ""
                self._print(f"  {ecu['ecu']}: {ecu['phase']}{amount}{rate}")

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)


class _Bars:
    """One bar for each ECU."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._state = ""

    def show(self, job: JobView | None, state: dict[str, Any]) -> None:
        if job is not None and job.state != self._state:
            self._state = job.state
            self._progress.console.print(_job_line(job), highlight=False)
        for ecu in state.get("ecus", ()):
            task = self._tasks.get(ecu["ecu"])
            if task is None:
                task = self._tasks[ecu["ecu"]] = self._progress.add_task(ecu["ecu"], total=None)
            self._progress.update(
                task,
                description=f"{ecu['ecu']} {ecu['from_version']} → {ecu['to_version']} {ecu['phase']}",
                completed=ecu["bytes_done"],
                total=ecu["bytes_total"] or None,
            )
