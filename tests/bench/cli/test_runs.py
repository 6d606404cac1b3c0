"""``otabench runs …`` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from otabench.bench.cli.app import app
from otabench.bench.cli.options import BenchArguments
from otabench.bench.cli.run_bench import options_from
from otabench.bench.cli.runs import tidied_runs
from otabench.bench.errors import BenchError
from tests.bench.runs.made import make_run

NAMES = ["20261126T120000Z", "20261127T120000Z", "20261128T120000Z"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_run(Path("runs"), NAMES[0])
    make_run(Path("runs"), NAMES[1], result="ROLLED_BACK", exit_status=3, reason="engine did not boot", duration_s=25.0)
    make_run(Path("runs"), NAMES[2], report=None)
    return tmp_path


def runs(*words: str) -> Result:
    return CliRunner().invoke(app, ["runs", *words])


def test_list_has_one_line_for_each_run_and_the_sum() -> None:
    lines = runs("list").output.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [
        [NAMES[0], "SUCCEEDED"],
        [NAMES[1], "ROLLED_BACK"],
        [NAMES[2], "NO"],
    ]
    assert "engine delta 28.0 KiB/s" in lines[0]
    assert lines[3].startswith("3 runs, ")
    assert [run["name"] for run in json.loads(runs("list", "--json").output)] == NAMES


def test_show_tells_why_a_run_ended_as_it_did_and_what_its_folder_has() -> None:
    shown = runs("show", "20261127").output
    assert "reason: engine did not boot" in shown and "INSTALLING" in shown and "97.0 % of the line's limit" in shown
    assert json.loads(runs("show", NAMES[1], "--json").output)["parts"]["logs"] == 1000


def test_compare_puts_two_runs_side_by_side() -> None:
    lines = runs("compare", "20261126", "20261127").output.splitlines()
    assert lines[0].split() == NAMES[:2]
    duration = next(line for line in lines if line.startswith("duration"))
    assert duration.split() == ["duration", "20.00", "s", "25.00", "s", "+5.00", "s", "(+25.0%)"]
    assert len(json.loads(runs("compare", NAMES[0], NAMES[1], "--json").output)["rows"]) > 8


def test_prune_removes_what_dry_run_announced_and_writes_the_index(folder: Path) -> None:
    announced = json.loads(runs("prune", "--keep", "1", "--dry-run", "--json").output)
    assert list(announced["removed"]) == NAMES[:2] and (folder / "runs" / NAMES[0]).is_dir()
    done = runs("prune", "--keep", "1").output.splitlines()
    assert [line.split()[0] for line in done[:-1]] == NAMES[:2] and done[-1].startswith("2 runs removed")
    assert sorted(path.name for path in (folder / "runs").iterdir()) == [NAMES[2], "index.html"]


def test_prune_removes_runs_by_name(folder: Path) -> None:
    done = runs("prune", NAMES[1])
    assert done.exit_code == 0 and done.output.splitlines()[-1].startswith("1 run removed, ")
    assert not (folder / "runs" / NAMES[1]).exists() and (folder / "runs" / NAMES[0]).exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "what is to be removed"),
        ([NAMES[0], "--keep", "1"], "one or the other"),
        ([".."], "there is no run"),
        (["../runs"], "not the folder of a run"),
        (["--runs-dir", "absent", "20261126"], "there is no run"),
    ],
)
def test_prune_refuses_what_it_cannot_be_meant(folder: Path, words: list[str], expected: str) -> None:
    refused = runs("prune", *words)
    assert isinstance(refused.exception, BenchError) and expected in str(refused.exception)
    assert sum(path.is_dir() for path in (folder / "runs").iterdir()) == 3


def test_a_run_of_another_place_is_not_pruned(folder: Path) -> None:
    other = make_run(folder / "other", NAMES[0])
    refused = runs("prune", str(other))
    assert isinstance(refused.exception, BenchError) and "left alone" in str(refused.exception)
    assert other.is_dir()


def test_list_of_no_runs_names_what_makes_one() -> None:
    assert "`otabench bench run` makes one" in runs("list", "--runs-dir", "absent").output


def test_a_run_that_ends_with_an_error_tidies_too(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), tidied_runs(Path("runs"), keep=2):
        make_run(Path("runs"), "20261129T120000Z")
        raise KeyboardInterrupt
    assert sorted(path.name for path in (folder / "runs").iterdir()) == [NAMES[2], "20261129T120000Z", "index.html"]


def test_without_keep_every_run_stays(folder: Path) -> None:
    with tidied_runs(Path("runs"), keep=None):
        make_run(Path("runs"), "20261129T120000Z")
    assert sum(path.is_dir() for path in (folder / "runs").iterdir()) == 4


def test_a_command_that_made_no_run_removes_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It would be forked from pytest, with the output of this command, and serve all tests of this process.
    monkeypatch.setattr("otabench.bench.launcher.fork_server.shared", lambda **_: None)
    refused = CliRunner().invoke(app, ["bench", "run", "--keep", "1", "--fault", "door:boot-fail"])
    assert refused.exit_code != 0 and isinstance(refused.exception, BenchError)
    assert sum(path.is_dir() for path in (folder / "runs").iterdir()) == 3


def test_keys_are_kept_only_if_that_is_asked_for() -> None:
    assert not options_from(BenchArguments()).keep_keys
    assert options_from(BenchArguments(keep_keys=True)).keep_keys
