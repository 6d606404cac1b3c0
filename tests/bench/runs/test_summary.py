"""A run's figures, and those of two runs side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from otabench.bench.run_folder import RunFolder
from otabench.bench.run_mark import RunMark
from otabench.bench.runs import compare, summary
from otabench.bench.runs.summary import RunSummary
from tests.bench.report.small_run import unpack
from tests.bench.runs.made import REPORT, make_run


def of(runs_dir: Path, name: str, **changes: Any) -> RunSummary:
    return summary.of_run(RunFolder(make_run(runs_dir, name, **changes)))


def test_a_recorded_run_is_summed_up(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "20261128T110000Z")
    run = summary.of_run(RunFolder(folder))
    assert (run.result, run.exit_status, run.target_version) == ("SUCCEEDED", 0, "2.0.0")
    assert list(run.states) == [
        "CONFIRMING",
        "WAITING_FOR_APPROVAL",
        "DOWNLOADING",
        "INSTALLING",
        "ACTIVATING",
        "VERIFYING",
    ]
    assert run.ecus["engine"].bytes_per_s == 25852.6 and run.ecus["adas"].kind == "full"
    assert run.frames == {"powertrain": 2790}
    assert run.size_bytes == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert json.loads(json.dumps(run.as_json()))["started_at"] == "2026-11-28T11:00:00+00:00"


def test_a_run_without_a_report_is_listed_without_figures(tmp_path: Path) -> None:
    run = of(tmp_path, "20261128T110000Z", report=None)
    assert (run.result, run.duration_s, dict(run.ecus)) == (summary.NO_REPORT, None, {})


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"transfers": [{}]}', '{"phases": 3}', '{"buses": []}'])
def test_a_report_that_is_none_does_not_hide_the_other_runs(tmp_path: Path, text: str) -> None:
    folder = make_run(tmp_path, "20261128T110000Z")
    (folder / "report.json").write_text(text)
    run = summary.of_run(RunFolder(folder))
    assert run.result == summary.UNREADABLE and "report.json" in run.reason


def test_a_report_of_an_older_version_has_what_is_in_it(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "20261128T110000Z")
    old = {key: value for key, value in REPORT.items() if key in ("result", "exit_status", "transfers")}
    (folder / "report.json").write_text(json.dumps(old))
    run = summary.of_run(RunFolder(folder))
    assert (run.result, run.duration_s, list(run.ecus)) == ("SUCCEEDED", None, ["engine"])


def test_a_run_that_is_up_is_up_whatever_its_report_says(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "20261128T110000Z")
    (folder / "keys").mkdir()
    mark = RunMark(folder, keep_keys=False)
    mark.make()
    try:
        run = summary.of_run(RunFolder(folder))
        assert run.result == summary.UP and run.has_keys
    finally:
        mark.remove()


def test_a_state_that_a_job_came_back_to_counts_each_time(tmp_path: Path) -> None:
    phases = [
        {"state": "INSTALLING", "duration_s": 1.0},
        {"state": "VERIFYING", "duration_s": 1.0},
        {"state": "INSTALLING", "duration_s": 2.0},
    ]
    assert of(tmp_path, "20261128T110000Z", phases=phases).states == {"INSTALLING": 3.0, "VERIFYING": 1.0}


def test_two_runs_are_compared_figure_by_figure(tmp_path: Path) -> None:
    faster = [{**REPORT["transfers"][0], "bytes_per_s": 29542.0, "kind": "full", "share_of_limit": None}]
    first = of(tmp_path, "20261128T110000Z")
    second = of(tmp_path, "20261128T120000Z", transfers=faster, faults=["engine:silent"], phases=REPORT["phases"][1:])
    rows = {row.what: row for row in compare.rows(first, second)}
    assert rows["engine rate"].difference == pytest.approx(870.0) and rows["engine rate"].change == pytest.approx(
        0.0303, abs=1e-3
    )
    assert (rows["engine transfer"].first, rows["engine transfer"].second) == ("delta", "full")
    assert rows["engine transfer"].difference is None
    assert (rows["engine rate/limit"].first, rows["engine rate/limit"].difference) == (97.0, None)
    assert (rows["DOWNLOADING"].first, rows["DOWNLOADING"].second, rows["DOWNLOADING"].difference) == (1.0, None, None)
    assert rows["faults"].second == "engine:silent"
    assert json.dumps([row.as_json() for row in rows.values()])
