"""One run as figures: how it ended, how long each state lasted, how fast it flashed, how much it loaded the buses.

``of_run`` reads a run's folder. A run without a report (it was interrupted, or its bench did not come up) has no figures, and a
report of another version has those that are in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from otabench.bench import run_mark
from otabench.bench.run_folder import RunFolder

UP: Final = "UP"
NO_REPORT: Final = "NO REPORT"
UNREADABLE: Final = "UNREADABLE"
"""What stands for the result of a run without one."""


@dataclass(frozen=True)
class EcuFigures:
    """One ECU's transfer of firmware.

    Attributes:
        kind: ``full`` or ``delta``.
        share_of_limit: the rate over what the line can carry; None where the bus was not captured.
        bus_load: while the transfer went on, 0 to 1; None as above.
    """

    kind: str
    bytes: int
    duration_s: float
    bytes_per_s: float
    share_of_limit: float | None
    bus_load: float | None


@dataclass(frozen=True)
class RunSummary:
    """One run.

    Attributes:
        name: of its folder.
        started_at: by its folder's name, UTC.
        result: of report.json: the job's last state, or ``NO CAMPAIGN``; ``UP`` while the bench is up; ``NO REPORT``; ``UNREADABLE``.
        exit_status: of the run; None without a report.
        states: seconds in each state of the job, in order.
        ecus: the last transfer of each ECU.
        has_keys: whether private keys are in its folder.
        size_bytes: of all its files; 0 if it was not measured.
    """

    name: str
    folder: Path
    started_at: datetime
    result: str
    exit_status: int | None = None
    reason: str = ""
    vin: str = ""
    target_version: str = ""
    duration_s: float | None = None
    faults: tuple[str, ...] = ()
    states: Mapping[str, float] = field(default_factory=dict)
    ecus: Mapping[str, EcuFigures] = field(default_factory=dict)
    frames: Mapping[str, int] = field(default_factory=dict)
    has_keys: bool = False
    size_bytes: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the run as ``--json`` prints it."""
        return {**asdict(self), "folder": str(self.folder), "started_at": self.started_at.isoformat()}


def of_run(run: RunFolder) -> RunSummary:
    """Return a run's figures. One whose report is not a report is ``UNREADABLE``, so that the others can still be listed.

    Raises:
        BenchError: whether the bench is up cannot be found out.
    """
    facts: dict[str, Any] = {
        "name": run.root.name,
        "folder": run.root,
        "started_at": run.order[0],
        "has_keys": run.keys.is_dir(),
        "size_bytes": size_of(run.root),
    }
    if run_mark.is_up(run.root):
        return RunSummary(**facts, result=UP)
    try:
        return RunSummary(**facts, **figures_of(json.loads(run.report_json.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        return RunSummary(**facts, result=NO_REPORT)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        return RunSummary(**facts, result=UNREADABLE, reason=f"{run.report_json}: {type(error).__name__}: {error}")


def figures_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a summary takes from report.json, by field name."""
    return {
        "result": str(report.get("result", NO_REPORT)),
        "exit_status": report.get("exit_status"),
        "reason": str(report.get("reason", "")),
        "vin": str(report.get("vin", "")),
        "target_version": str(report.get("target_version", "")),
        "duration_s": report.get("duration_s"),
        "faults": tuple(report.get("faults", ())),
        "states": _states(report.get("phases", ())),
        "ecus": {str(entry["ecu"]): _ecu_figures(entry) for entry in report.get("transfers", ())},
        "frames": {str(bus): int(entry["frames"]) for bus, entry in report.get("buses", {}).items()},
    }


def _states(phases: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the seconds in each state. A state that a job came back to (after a restart) counts each time."""
    seconds: dict[str, float] = {}
    for phase in phases:
        seconds[str(phase["state"])] = seconds.get(str(phase["state"]), 0.0) + float(phase["duration_s"])
    return seconds


def _ecu_figures(transfer: Mapping[str, Any]) -> EcuFigures:
    return EcuFigures(
        kind=str(transfer["kind"]),
        bytes=int(transfer["bytes"]),
        duration_s=float(transfer["duration_s"]),
        bytes_per_s=float(transfer["bytes_per_s"]),
        share_of_limit=transfer.get("share_of_limit"),
        bus_load=transfer.get("bus_load"),
    )


def size_of(folder: Path) -> int:
    """Return how many bytes the files below a folder have. Links are not followed; what vanishes meanwhile counts nothing."""
    size = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                size += path.stat().st_size
        except OSError:
            continue
    return size


def parts_of(folder: Path) -> dict[str, int]:
    """Return how many bytes each file and folder of a run has, largest first."""
    sizes = {
        path.name: size_of(path) if path.is_dir() else path.stat().st_size
        for path in folder.iterdir()
        if not path.is_symlink()
    }
    return dict(sorted(sizes.items(), key=lambda part: -part[1]))
