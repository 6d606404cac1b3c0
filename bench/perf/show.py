"""Show a sweep of updates: a line for each run that did not simply end as "updated", the counts every ten seconds, and as JSON."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.console import Console

from otabench.bench.errors import BenchError
from otabench.bench.perf.verdict import End, Run, Runs

_PROGRESS_INTERVAL_S: Final = 10.0
_STYLES: Final = {End.UPDATED: "green", End.UNCHANGED: "yellow", End.WRONG: "bold red"}


class SweepView:
    """The sweep's progress on the console.

    Args:
        console: where it is printed.
        command: repeats the sweep; with `--point`, one point of it.
    """

    def __init__(self, console: Console, *, command: str) -> None:
        self._console = console
        self._command = command
        self._counts: Counter[End] = Counter()
        self._printed_s = time.monotonic()

    def on_run(self, run: Run, of: int) -> None:
        """Print a run that is of interest, and the progress if it is due."""
        self._counts[run.end] += 1
        if run.end is not End.UPDATED:
            self._console.print(f"[{_STYLES[run.end]}]{run.end}[/] {run.point}: {run.reason}", soft_wrap=True)
        if run.end is End.WRONG:
            self._console.print(f"   again: {self._command} --point {run.point}", soft_wrap=True)
        done, now_s = self._counts.total(), time.monotonic()
        if now_s - self._printed_s > _PROGRESS_INTERVAL_S or done == of:
            self._printed_s = now_s
            counts = ", ".join(f"{number} {end}" for end, number in self._counts.items())
            self._console.print(f"{done} of {of}: {counts}")


def write_json(path: Path, runs: Runs, **facts: object) -> None:
    """Write all runs as one JSON object.

    Raises:
        BenchError: the file cannot be written.
    """
    content = {**facts, "counts": dict(runs.counts), "runs": [asdict(run) for run in runs.runs]}
    try:
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}; choose another file by --json") from error
