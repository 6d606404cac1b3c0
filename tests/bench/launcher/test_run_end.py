"""No private key stays in a run's folder, and nothing else is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from otabench.bench import run_mark
from otabench.bench.launcher import run_end
from otabench.bench.run_folder import RunFolder
from otabench.bench.run_mark import RunMark
from tests.bench.runs.made import make_run

SECRET = "5e" * 32


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run with keys and a secret in its configuration."""
    folder = make_run(tmp_path / "runs", "20261128T110000Z")
    (folder / "keys" / "image").mkdir(parents=True)
    (folder / "keys" / "image" / "signing.pem").write_text("PRIVATE KEY")
    gateway = {"vin": "W0T", "ecus": [{"name": "engine", "security_secret": SECRET}]}
    (folder / "config" / "gateway.json").write_text(json.dumps(gateway))
    (folder / "config" / "cloud.json").write_text('{"keys_dir": "keys"}')
    return RunFolder(folder)


def test_keys_and_secrets_are_removed_and_the_rest_stays(run: RunFolder) -> None:
    untouched = (run.configs / "cloud.json").stat().st_mtime_ns
    run_end.remove_secrets(run)
    run_end.remove_secrets(run)
    assert not run.keys.exists()
    assert json.loads(run.config("gateway").read_text()) == {
        "vin": "W0T",
        "ecus": [{"name": "engine", "security_secret": run_end.REMOVED}],
    }
    assert (run.configs / "cloud.json").stat().st_mtime_ns == untouched
    assert run.report_json.exists() and run.log("gateway").exists()


def test_keys_that_are_a_link_are_somebody_else_s(run: RunFolder, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    run.keys.rename(theirs)
    run.keys.symlink_to(theirs)
    run_end.remove_secrets(run)
    assert not run.keys.is_symlink() and (theirs / "image" / "signing.pem").exists()


@pytest.mark.parametrize("keep", [False, True])
def test_the_next_run_catches_up_on_one_that_was_cut_off(run: RunFolder, keep: bool) -> None:
    mark = {"pid": 1, "kernel": run_mark.this_kernel(), "keep_keys": keep}
    (run.root / run_mark.NAME).write_text(json.dumps(mark))  # and not locked
    run_end.end_cut_off(run.root.parent)
    assert run.keys.exists() is keep and not (run.root / run_mark.NAME).exists()


def test_a_run_that_is_up_keeps_its_keys(run: RunFolder) -> None:
    mark = RunMark(run.root, keep_keys=False)
    mark.make()
    try:
        run_end.end_cut_off(run.root.parent)
        assert (run.keys / "image" / "signing.pem").exists() and run_mark.is_up(run.root)
    finally:
        mark.remove()
