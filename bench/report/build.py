"""``otabench report``: a run's page, ``report.html``, from the files in its folder.

The page is made from report.json, the trace, and the statistics of the captures. A run whose captures are gone has a page without bus
load.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from otabench.bench import run_mark
from otabench.bench.errors import BenchError
from otabench.bench.report import figures, story
from otabench.bench.report import page as report_page
from otabench.bench.report import series as report_series
from otabench.bench.run_folder import RunFolder
from otabench.bench.topology.addresses import from_entry
from otabench.proto import trace
from otabench.proto.isotp_address import FrameAddress


def write_page(run: Path, *, out: Path | None = None) -> Path:
    """Write the page of a run to ``out``, or as report.html into its folder.

    Raises:
        BenchError: the folder has no report, or the page cannot be written.
    """
    folder = RunFolder(run)
    content = _report_of(folder)
    try:
        events = list(trace.read(folder.trace)) if folder.trace.exists() else []
    except ValueError as error:
        raise BenchError(f"{error}; the file was changed by something else") from error
    job_id = str(content["job_id"])
    ids = {ecu: (str(entry["bus"]), addresses(entry)) for ecu, entry in content["ecus"].items()}
    statistics = figures.read_statistics(folder.can, list(content["buses"]))
    series = report_series.make(events, job_id, ids=ids, statistics=statistics)
    page = report_page.render(content, series, story.story(events, job_id) if job_id else [])
    path = out or folder.report_html
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise BenchError(f"{path}: cannot be written: {error.strerror}; choose another place by --out") from error
    return path


def addresses(entry: Mapping[str, Any]) -> tuple[FrameAddress, ...]:
    """Return the addresses of an ECU's frames, from its entry in report.json: requests, responses, application frames."""
    diagnostic = [from_entry(entry, direction) for direction in ("request", "response")]
    return (*diagnostic, *(FrameAddress(int(can_id)) for can_id in entry.get("periodic_ids", ())))


def _why_not_there(folder: RunFolder) -> str:
    if run_mark.is_up(folder.root):
        return "that bench is still up, and its report is written when it ends: until then, `otabench status` shows what it does"
    if (folder.root / "logs").is_dir():
        return "that run ended without one, as it did not come up or was killed: `otabench runs list` shows which runs have one"
    return "give the folder of a run: `otabench runs list` lists them"


def _report_of(folder: RunFolder) -> dict[str, Any]:
    path = folder.report_json
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}; {_why_not_there(folder)}") from error
    except ValueError as error:
        raise BenchError(f"{path}: not JSON: {error}; run the bench again") from error
    if not isinstance(content, dict) or "result" not in content or "ecus" not in content:
        raise BenchError(f"{path}: not a report of this version; run the bench again")
    return content
