"""`otabench keys`: what it prints, how it ends, and what is wrong in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from otabench.bench.cli.app import app
from otabench.bench.errors import BenchError, KeysError
from otabench.cloud.trust.keys import init_keys


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    init_keys(folder / "online", offline=folder / "offline", vins=["W0TABENCH00000001"], ecus=["engine"])
    return folder


@pytest.fixture
def folder(made_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made_once, tmp_path / "fleet")
    # Without a bench that is up, and without a folder ``keys``.
    monkeypatch.chdir(tmp_path)
    return tmp_path / "fleet"


def keys(folder: Path, *arguments: str, offline: bool = True) -> Result:
    given = ["--keys", str(folder / "online")] + (["--offline", str(folder / "offline")] if offline else [])
    return CliRunner().invoke(app, ["keys", *arguments, *given])


def test_status_shows_who_signs_what_and_where_the_keys_are(folder: Path) -> None:
    shown = keys(folder, "status")
    assert shown.exit_code == 0, shown.output
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    assert lines[0] == "director: Root 1"
    assert any(line.startswith("director/root offline 2 of 3 ") for line in lines)
    assert any(line.startswith("director/time online 1 of 1 ") for line in lines)
    assert any(line.startswith("image_repository/targets offline 1 of 1 ") for line in lines)
    assert lines[-1].startswith("first to expire: ")


def test_status_without_the_offline_folder_marks_its_keys(folder: Path) -> None:
    shown = keys(folder, "status", offline=False)
    assert shown.exit_code == 0
    assert (
        shown.stdout.count("(not here)") == 7
    )  # three Root keys of each repository, and the Image repository's Targets key


def test_status_as_json_and_with_a_lost_key(folder: Path) -> None:
    (folder / "online/director/targets.pem").unlink()
    shown = keys(folder, "status", "--json")
    assert shown.exit_code == 1
    content = json.loads(shown.stdout)
    roles = {role["role"]: role for role in content["roles"]}
    assert (roles["director/targets"]["at_hand"], roles["director/targets"]["threshold"]) == (0, 1)
    assert roles["director/root"]["at_hand"] == 3
    assert [finding["where"] for finding in content["findings"]] == ["director/targets"]


def test_rotate_then_revoke_and_every_step_is_shown(folder: Path) -> None:
    rotated = keys(folder, "rotate", "online")
    assert rotated.exit_code == 0, rotated.output
    assert "director: Root 2, 4 keys replaced" in rotated.stdout
    assert "image_repository: Root 2, 2 keys replaced" in rotated.stdout
    status = json.loads(keys(folder, "status", "--json").stdout)
    assert status["roots"] == {"director": 2, "image_repository": 2}
    keyid = next(role for role in status["roles"] if role["role"] == "director/root")["keys"][0]["keyid"]

    revoked = keys(folder, "revoke", keyid[:8])

    assert revoked.exit_code == 0, revoked.output
    assert revoked.stdout.splitlines() == [
        "director: Root 3, 1 keys replaced; a running cloud uses it at once",
        f"  revoked {keyid[:8]}",
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["rotate", "director/timestmap"], 2, "director/timestamp"),
        (["revoke", "00000000"], 2, "otabench keys status"),
    ],
)
def test_wrong_usage_is_one_line(folder: Path, arguments: list[str], status: int, words: str) -> None:
    refused = keys(folder, *arguments)
    assert isinstance(refused.exception, BenchError)
    assert refused.exception.exit_status == status
    assert words in str(refused.exception)


def test_without_the_offline_folder_or_any_keys_the_remedy_is_named(folder: Path) -> None:
    refused = keys(folder, "rotate", "online", offline=False)
    assert "--offline DIR" in str(refused.exception)
    nothing = CliRunner().invoke(app, ["keys", "status"])
    assert "give --keys DIR, or make keys by `otabench keys init`" in str(nothing.exception)


def test_init_makes_both_folders_and_seals_the_offline_one(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("correct horse\n", encoding="utf-8")
    folders = [str(tmp_path / "offline"), str(tmp_path / "online")]
    made = CliRunner().invoke(app, ["keys", "init", *folders, "--passphrase-file", str(tmp_path / "words")])
    assert made.exit_code == 0, made.output
    assert "take it away" in made.stdout
    private = [*(tmp_path / "offline").rglob("*.pem"), *(tmp_path / "offline").rglob("*.key")]
    private = [path for path in private if not path.name.endswith("pub.pem") and path.name != "ca.pem"]
    assert {path.name for path in private} == {
        *("root-1.pem", "root-2.pem", "root-3.pem", "targets.pem", "signing.pem", "ca.key")
    }
    assert not any(b"PRIVATE KEY" in path.read_bytes() for path in private)
    assert not (tmp_path / "online/director/root-1.pem").exists()
    # then: the passphrase rotates, another one does not
    options = ["--keys", folders[1], "--offline", folders[0], "--passphrase-file"]
    rotated = CliRunner().invoke(
        app, ["keys", "rotate", "director/root", "image_repository/targets", *options, str(tmp_path / "words")]
    )
    assert rotated.exit_code == 0, rotated.output
    (tmp_path / "words").write_text("wrong horse\n", encoding="utf-8")
    refused = CliRunner().invoke(app, ["keys", "rotate", "director/root", *options, str(tmp_path / "words")])
    assert isinstance(refused.exception, KeysError)
    assert str(refused.exception) == f"this is not the passphrase of {folders[0]}"


def test_without_a_terminal_a_passphrase_must_be_given(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["keys", "init", str(tmp_path / "offline"), str(tmp_path / "online")])
    assert isinstance(refused.exception, KeysError)
    assert "--passphrase-file FILE, or make them without by --no-passphrase" in str(refused.exception)
    assert not (tmp_path / "online").exists()
