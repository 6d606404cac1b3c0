"""Removing runs: which ones, and how.

Rules:

* Only what ``run_folder.is_run`` accepts is removed: a real folder that lies in the folder of runs and is named and made as a run.
* A run that is up is never removed, whatever was asked for.
* A folder is renamed before its files are removed, so that one half removed is never taken for a run.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from otabench.bench import run_folder, run_mark
from otabench.bench.errors import BenchError, WrongUsage
from otabench.bench.run_folder import RunFolder

_DOOMED: Final = ".pruned-"


@dataclass(frozen=True)
class Plan:
    """The runs that would be removed.

    Attributes:
        removed: oldest first.
        up: runs that would have been removed, if they were not up.
    """

    removed: tuple[RunFolder, ...]
    up: tuple[RunFolder, ...] = ()


def plan(
    runs: Sequence[RunFolder],
    *,
    up: Collection[RunFolder],
    keep: int | None = None,
    older_than: timedelta | None = None,
    now: datetime,
) -> Plan:
    """Return which runs go. Pure.

    Args:
        runs: all, oldest first.
        up: those that are up.
        keep: this many of the newest stay; None: all of them may go.
        older_than: only those go that began longer ago; None: of any age.
        now: the time.
    """
    candidates = list(runs if keep is None else runs[: max(0, len(runs) - keep)])
    if older_than is not None:
        candidates = [run for run in candidates if now - run.order[0] > older_than]
    return Plan(
        removed=tuple(run for run in candidates if run not in up), up=tuple(run for run in candidates if run in up)
    )


def running(runs: Sequence[RunFolder]) -> list[RunFolder]:
    """Return the runs that are up.

    Raises:
        BenchError: a run's mark cannot be read.
    """
    return [run for run in runs if run_mark.is_up(run.root)]


def remove(runs: Sequence[RunFolder], *, runs_dir: Path) -> None:
    """Remove runs, and point `runs/latest` to the newest one that is left.

    Raises:
        BenchError: one is up, is not a run of this folder, or cannot be removed; those before it are gone.
    """
    home = runs_dir.resolve()
    for left_over in home.glob(f"{_DOOMED}*"):  # by a prune that was interrupted
        if left_over.is_dir() and not left_over.is_symlink():
            shutil.rmtree(left_over, ignore_errors=True)
    try:
        for run in runs:
            _require_removable(run, home)
            doomed = run.root.with_name(f"{_DOOMED}{run.root.name}")
            try:
                run.root.rename(doomed)
                shutil.rmtree(doomed)
            except OSError as error:
                raise BenchError(
                    f"{error.filename or run.root}: cannot be removed: {error.strerror}; it may be another user's (sudo)"
                ) from error
    finally:
        run_folder.point_to_newest(runs_dir)


def keep_newest(runs_dir: Path, keep: int, *, now: datetime) -> tuple[RunFolder, ...]:
    """Remove all but the newest runs, and return what was removed.

    Raises:
        BenchError: see ``remove``.
    """
    runs = run_folder.runs_in(runs_dir)
    chosen = plan(runs, up=running(runs), keep=keep, now=now)
    remove(chosen.removed, runs_dir=runs_dir)
    return chosen.removed


def _require_removable(run: RunFolder, home: Path) -> None:
    if run.root.parent != home or not run_folder.is_run(run.root):
        raise WrongUsage(f"{run.root}: not the folder of a run in {home}; it is left alone")
    if run_mark.is_up(run.root):
        raise BenchError(f"{run.root}: its bench is up; stop it first")
