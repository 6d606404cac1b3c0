"""`otabench profile`: a profile is checked, shown and tried on paper."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from otabench.bench.uds.sequence.profile import shipped
from tests.bench.firmware.programs import writers
from tests.command_line import otabench

APP = [(0x0800_0000, bytes(range(256)) * 40)]
DRIVER = [(0x2000_0000, b"driver" * 10)]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "app.s19").write_bytes(writers.s_record(APP))
    (tmp_path / "driver.elf").write_bytes(writers.elf(DRIVER))
    return tmp_path


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_profile_is_checked_shown_and_tried(
    name: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert otabench("profile", "check", name) == 0
    assert f"{name}: no mistakes; sequences: " in capsys.readouterr().out
    assert otabench("profile", "show", name) == 0
    assert "transfer data, until all is sent" in capsys.readouterr().out
    assert otabench("profile", "dry-run", name, str(files / "app.s19"), "--driver", str(files / "driver.elf")) == 0
    out = capsys.readouterr().out
    assert "ecu > 37" in out
    assert max(map(len, out.splitlines())) < 200


def test_a_profile_of_named_steps_is_checked_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert otabench("profile", "check", "iso14229-ab") == 0
    assert "no mistakes; sequences: pre_programming, programming, activate" in capsys.readouterr().out
    assert otabench("profile", "show", "iso14229-ab") == 0
    assert "31 01 FF00 44 address length" in capsys.readouterr().out


def test_the_table_names_loops_pieces_and_failures(capsys: pytest.CaptureFixture[str]) -> None:
    otabench("profile", "show", "records")
    out = capsys.readouterr().out
    assert "for each application block:" in out
    assert "76 {counter:1} 0A means: the line's checksum is wrong" in out
    assert "done at 02, in progress at 01: ask again (start), 03 means: the flash cannot be erased" in out


def test_every_request_is_printed_as_json(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert otabench("profile", "dry-run", "single-bank", str(files / "app.s19"), "--json") == 0
    sent = json.loads(capsys.readouterr().out)
    data = b"".join(bytes.fromhex(each["request"])[2:] for each in sent if each["request"].startswith("36"))
    assert data == APP[0][1]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["profile", "check", "single-bnak"], "there is no flash profile 'single-bnak' in the package; did you mean 'single-bank'?"),
        (["profile", "check", "./missing.yaml"], "missing.yaml: cannot be read (No such file or directory)"),
        (["profile", "dry-run", "iso14229-ab", "app.s19"], "this one has named steps: `otabench profile show iso14229-ab`"),
        (["profile", "dry-run", "single-bank", "missing.hex"], "missing.hex: No such file or directory; check the path"),
        (["profile", "dry-run", "single-bank", "app.s19", "--address", "here"], "'here' is not an address"),
        (["profile", "dry-run", "single-bank", "app.s19", "--setting", "x"], "'x' is not NAME=TEXT"),
        (["profile", "dry-run", "single-bank", "app.s19", "--setting", "tester_serial=too long"], "and the field 6"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(
    arguments: list[str], problem: str, files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    assert otabench(*arguments) in (1, 2)
    assert problem in " ".join(capsys.readouterr().err.replace("│", " ").split())
