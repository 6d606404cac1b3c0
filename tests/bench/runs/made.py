"""Run folders like those that a bench leaves, made without a bench."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

REPORT: Final[dict[str, Any]] = {
    "result": "SUCCEEDED",
    "exit_status": 0,
    "reason": "",
    "vin": "W0TABENCH00000001",
    "target_version": "2.0.0",
    "duration_s": 20.0,
    "faults": [],
    "phases": [{"state": "DOWNLOADING", "duration_s": 1.0}, {"state": "INSTALLING", "duration_s": 2.0}],
    "transfers": [
        {
            "ecu": "engine",
            "kind": "delta",
            "bytes": 16000,
            "duration_s": 0.5,
            "bytes_per_s": 28672.0,
            "share_of_limit": 0.97,
            "bus_load": 0.9,
        }
    ],
    "buses": {"powertrain": {"frames": 8000}},
}


def make_run(runs_dir: Path, name: str, **changes: Any) -> Path:
    """Make the folder of a run. ``changes`` replace fields of its report; with ``report=None`` it has no report."""
    folder = runs_dir / name
    for part in ("traces", "can", "logs", "config", "firmware", "state"):
        (folder / part).mkdir(parents=True)
    (folder / "logs" / "gateway.log").write_bytes(b"x" * 1000)
    if changes.get("report", REPORT) is not None:
        (folder / "report.json").write_text(json.dumps(REPORT | changes))
    return folder
