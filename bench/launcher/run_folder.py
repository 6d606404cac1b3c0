"""A run's folder (docs/contracts.md, "A run's folder"): where each file of a run is.

Two links lead to the newest run: ``runs/latest`` to its folder, and ``traces`` beside ``runs`` to its traces.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from otabench.bench.errors import BenchError


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
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def firmware(self) -> Path:
        return self.root / "firmware"

    @property
    def state(self) -> Path:
        return self.root / "state"

    def log(self, process: str) -> Path:
        return self.root / "logs" / f"{process}.log"

    def config(self, process: str) -> Path:
        return self.root / "config" / f"{process}.json"

    def bus_statistics(self, bus: str) -> Path:
        return self.can / f"{bus}.stats.json"


def create(runs_dir: Path) -> RunFolder:
    """Make the folder of a new run and point the links to it.

    Raises:
        BenchError: the place cannot be written.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        root = _first_free(runs_dir.resolve(), stamp)
        for name in ("traces", "can", "logs", "config", "firmware", "state"):
            (root / name).mkdir()
        _link(runs_dir / "latest", Path(root.name))
        _link(runs_dir.parent / "traces", Path(runs_dir.name) / root.name / "traces")
    except OSError as error:
        raise BenchError(
            f"{error.filename or runs_dir}: a run's folder cannot be made: {error.strerror}; "
            "run from a folder that you may write, or give --runs-dir"
        ) from error
    return RunFolder(root)


def _first_free(runs_dir: Path, stamp: str) -> Path:
    """Make the folder with the first free name. ``mkdir`` is the test, so that two runs of one second never share a folder."""
    number = 1
    while True:
        root = runs_dir / (f"{stamp}Z" if number == 1 else f"{stamp}Z-{number}")
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
