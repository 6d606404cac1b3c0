"""A run's folder (docs/contracts.md, "A run's folder"): where each file of a run is.

The link ``runs/latest`` leads to the newest run, whether or not it is the one that is up. Nothing is made outside of the folder of runs.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from otabench.bench.errors import BenchError

LATEST: Final = "latest"
_NAME: Final = re.compile(r"(\d{8}T\d{6}Z)(?:-(\d+))?")
_STAMP: Final = "%Y%m%dT%H%M%SZ"
_PARTS: Final = ("traces", "can", "logs", "config", "firmware", "state")


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run; the folders exist."""

    root: Path

    @property
    def bench_json(self) -> Path:
        return self.root / "bench.json"

    @property
    def report_json(self) -> Path:
        return self.root / "report.json"

    @property
    def report_txt(self) -> Path:
        return self.root / "report.txt"

    @property
    def report_html(self) -> Path:
        return self.root / "report.html"

    @property
    def trace(self) -> Path:
        return self.root / "traces" / "simulation_trace.jsonl"

    @property
    def can(self) -> Path:
        return self.root / "can"

    @property
    def control_token(self) -> Path:
        """What messages to the control ports of this run must bring."""
        return self.root / "control.token"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def firmware(self) -> Path:
        return self.root / "firmware"

    @property
    def configs(self) -> Path:
        return self.root / "config"

    @property
    def order(self) -> tuple[datetime, int]:
        """When the run began, and its number within that second: what runs are sorted by."""
        found = _parse_name(self.root.name)
        if found is None:
            raise ValueError(f"{self.root} is not named as a run")
        return found

    @property
    def state(self) -> Path:
        return self.root / "state"

    def log(self, process: str) -> Path:
        return self.root / "logs" / f"{process}.log"

    def config(self, process: str) -> Path:
        return self.configs / f"{process}.json"

    def bus_statistics(self, bus: str) -> Path:
        return self.can / f"{bus}.stats.json"


def create(runs_dir: Path) -> RunFolder:
    """Make the folder of a new run and point the link to it.

    Raises:
        BenchError: the place cannot be written.
    """
    stamp = datetime.now(UTC).strftime(_STAMP)
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        root = _first_free(runs_dir.resolve(), stamp)
        for name in _PARTS:
            (root / name).mkdir()
        _link(runs_dir / LATEST, Path(root.name))
    except OSError as error:
        raise BenchError(
            f"{error.filename or runs_dir}: a run's folder cannot be made: {error.strerror}; "
            "run from a folder that you may write, or give --runs-dir"
        ) from error
    return RunFolder(root)


def is_link(path: Path) -> bool:
    """Return whether that is a link, as ``latest`` is. A path that no file can have is none."""
    try:
        return path.is_symlink()
    except OSError:
        return False


def is_run(path: Path) -> bool:
    """Return whether that is the folder of a run: named as one, with a run's parts, and not a link to one."""
    return (
        _parse_name(path.name) is not None
        and not path.is_symlink()
        and all((path / part).is_dir() and not (path / part).is_symlink() for part in ("logs", "config", "traces"))
    )


def _parse_name(name: str) -> tuple[datetime, int] | None:
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    try:
        return datetime.strptime(found[1], _STAMP).replace(tzinfo=UTC), int(found[2] or 1)
    except ValueError:  # digits that are not a time
        return None


def runs_in(runs_dir: Path) -> list[RunFolder]:
    """Return the runs of a folder, oldest first. Whatever else lies there is left out.

    Raises:
        BenchError: the folder cannot be read.
    """
    try:
        found = [RunFolder(path) for path in runs_dir.resolve().iterdir() if is_run(path)] if runs_dir.is_dir() else []
    except OSError as error:
        raise BenchError(f"{runs_dir}: cannot be read: {error.strerror}; give another folder by --runs-dir") from error
    return sorted(found, key=lambda run: run.order)


def point_to_newest(runs_dir: Path) -> None:
    """Point the link to the newest run that is left, if it leads nowhere; remove it where none is left."""
    link = runs_dir / LATEST
    if not link.is_symlink() or link.exists():
        return
    left = runs_in(runs_dir)
    if left:
        _link(link, Path(left[-1].root.name))
    else:
        link.unlink()


def _first_free(runs_dir: Path, stamp: str) -> Path:
    """Make the folder with the first free name. ``mkdir`` is the test, so that two runs of one second never share a folder."""
    number = 1
    while True:
        root = runs_dir / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            root.mkdir()
        except FileExistsError:
            number += 1
            continue
        return root


def _link(link: Path, target: Path) -> None:
    """Point ``link`` to ``target`` atomically; a real folder of that name is left alone."""
    if link.exists() and not link.is_symlink():
        return
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
