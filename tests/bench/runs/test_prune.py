"""Which runs are removed, and what never is."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from otabench.bench import run_folder
from otabench.bench.errors import BenchError
from otabench.bench.run_folder import RunFolder
from otabench.bench.run_mark import RunMark
from otabench.bench.runs import find, prune
from tests.bench.runs.made import make_run

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
NAMES = ["20261120T120000Z", "20261127T120000Z", "20261127T120000Z-2", "20261127T120000Z-10", "20261128T110000Z"]


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    """A folder with five runs, and the link that the bench makes."""
    folder = tmp_path / "runs"
    for name in NAMES:
        make_run(folder, name)
    (folder / "latest").symlink_to(NAMES[-1])
    return folder


def names(runs: tuple[RunFolder, ...] | list[RunFolder]) -> list[str]:
    return [run.root.name for run in runs]


def test_runs_are_found_in_the_order_in_which_they_began(runs_dir: Path) -> None:
    assert names(run_folder.runs_in(runs_dir)) == NAMES


@pytest.mark.parametrize(
    ("keep", "days", "up", "removed", "stay"),
    [
        (2, None, [], NAMES[:3], []),
        (0, None, [], NAMES, []),
        (9, None, [], [], []),
        (None, 1, [], NAMES[:1], []),
        (4, 0.5, [], NAMES[:1], []),
        (0, None, [0, 4], NAMES[1:4], [NAMES[0], NAMES[4]]),
    ],
)
def test_the_plan_keeps_the_newest_and_what_is_up(
    runs_dir: Path, keep: int | None, days: float | None, up: list[int], removed: list[str], stay: list[str]
) -> None:
    runs = run_folder.runs_in(runs_dir)
    older_than = None if days is None else timedelta(days=days)
    plan = prune.plan(runs, up=[runs[number] for number in up], keep=keep, older_than=older_than, now=NOW)
    assert (names(plan.removed), names(plan.up)) == (removed, stay)


def test_pruned_runs_are_gone_and_the_link_leads_to_the_newest_that_is_left(runs_dir: Path) -> None:
    runs = run_folder.runs_in(runs_dir)
    prune.remove([runs[0], runs[4]], runs_dir=runs_dir)
    assert sorted(path.name for path in runs_dir.iterdir()) == sorted([*NAMES[1:4], "latest"])
    assert (runs_dir / "latest").resolve() == (runs_dir / NAMES[3]).resolve()
    prune.remove(runs[1:4], runs_dir=runs_dir)
    assert list(runs_dir.iterdir()) == []


def test_a_run_that_is_up_is_never_removed(runs_dir: Path) -> None:
    oldest = run_folder.runs_in(runs_dir)[0]
    mark = RunMark(oldest.root, keep_keys=False)
    mark.make()
    try:
        assert names(prune.keep_newest(runs_dir, 0, now=NOW)) == NAMES[1:]
        with pytest.raises(BenchError, match="its bench is up"):
            prune.remove([oldest], runs_dir=runs_dir)
    finally:
        mark.remove()
    assert names(prune.keep_newest(runs_dir, 0, now=NOW)) == NAMES[:1]


def test_what_is_not_a_run_is_left_alone(runs_dir: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "elsewhere", "20251128T110000Z")
    (runs_dir / "20251128T110000Z").symlink_to(other)  # a link to a run
    (runs_dir / "20251129T110000Z").mkdir()  # named as a run, not made as one
    (runs_dir / "20251399T110000Z").mkdir()  # no time
    (runs_dir / "my-notes").mkdir()
    linked = make_run(runs_dir, "20251130T110000Z")
    shutil.rmtree(linked / "logs")
    (linked / "logs").symlink_to(other / "logs")
    before = {path.name for path in runs_dir.iterdir()}
    assert names(prune.keep_newest(runs_dir, 0, now=NOW)) == NAMES
    assert {path.name for path in runs_dir.iterdir()} == before - {*NAMES, "latest"}
    assert (other / "logs" / "gateway.log").exists()


def test_links_inside_a_run_are_removed_and_not_followed(runs_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    (runs_dir / NAMES[0] / "firmware" / "link").symlink_to(tmp_path / "mine")
    prune.remove(run_folder.runs_in(runs_dir)[:1], runs_dir=runs_dir)
    assert (tmp_path / "mine" / "file").read_text() == "precious"


@pytest.mark.parametrize("folder", ["..", ".", "../elsewhere/20251128T110000Z", "latest", "my-notes"])
def test_a_folder_that_is_not_a_run_of_this_place_is_refused(runs_dir: Path, folder: str) -> None:
    make_run(runs_dir.parent / "elsewhere", "20251128T110000Z")
    (runs_dir / "my-notes").mkdir()
    with pytest.raises(BenchError, match=r"not the folder of a run in .*left alone"):
        prune.remove([RunFolder(runs_dir / folder)], runs_dir=runs_dir)
    assert (
        names(run_folder.runs_in(runs_dir)) == NAMES and (runs_dir.parent / "elsewhere" / "20251128T110000Z").is_dir()
    )


def test_a_prune_that_was_interrupted_is_finished_by_the_next(runs_dir: Path) -> None:
    (runs_dir / NAMES[0]).rename(runs_dir / f".pruned-{NAMES[0]}")
    assert names(run_folder.runs_in(runs_dir)) == NAMES[1:]
    prune.remove([], runs_dir=runs_dir)
    assert not (runs_dir / f".pruned-{NAMES[0]}").exists()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("latest", NAMES[4]),
        ("20261120", NAMES[0]),
        (NAMES[1], NAMES[1]),
        (f"runs/{NAMES[2]}", NAMES[2]),
        ("runs/latest", NAMES[4]),
    ],
)
def test_a_run_is_found_by_name_beginning_or_path(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str, found: str
) -> None:
    monkeypatch.chdir(runs_dir.parent)
    assert find.find(Path("runs"), name).root == (runs_dir / found).resolve()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("20261127", "several runs begin like that"),
        ("", "there is no run ''"),
        ("..", "there is no run"),
        ("../..", "not the folder of a run"),
        ("20261120T120000", None),
        ("20261121T120000Z", "did you mean '2026112"),
    ],
)
def test_a_name_that_means_no_run_is_refused(runs_dir: Path, name: str, expected: str | None) -> None:
    if expected is None:
        assert find.find(runs_dir, name).root.name == NAMES[0]
        return
    with pytest.raises(BenchError, match=expected):
        find.find(runs_dir, name)
