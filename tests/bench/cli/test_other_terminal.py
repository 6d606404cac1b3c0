"""What ``otabench up`` prints for another terminal: the lines. That they work is run in ``tests/e2e/test_other_terminal.py``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from otabench.bench.cli import other_terminal
from otabench.bench.cli.other_terminal import OtherTerminal

GUEST = {"OTABENCH_GUEST": "12-ab34", "OTABENCH_FORWARDED": "8080 8081"}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a virtual environment and a run, as the working directory."""
    script = tmp_path / ".venv/bin/otabench"
    script.parent.mkdir(parents=True)
    script.touch()
    monkeypatch.setattr(sys, "executable", str(script.with_name("python")))
    (tmp_path / "runs/1").mkdir(parents=True)
    (tmp_path / "runs/latest").symlink_to("1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_in_a_guest_the_line_goes_into_that_guest_by_its_id(checkout: Path) -> None:
    environ = {**GUEST, "OTABENCH_WITH_CAN": str(checkout / "setup/with-can")}
    way = other_terminal.of_this_process(checkout / "runs/1", environ=environ)
    assert way.bench_command("status") == "setup/with-can --join=12-ab34 .venv/bin/otabench status"
    assert way.command("candump", "vcan0") == "setup/with-can --join=12-ab34 candump vcan0"


def test_on_this_kernel_nothing_stands_in_front(checkout: Path) -> None:
    environ = {"OTABENCH_WITH_CAN": str(checkout / "setup/with-can")}
    way = other_terminal.of_this_process(checkout / "runs/1", environ=environ)
    assert (way.bench_command("status"), way.command("candump")) == (".venv/bin/otabench status", "candump")


def test_a_bench_that_is_not_the_latest_any_more_is_named(checkout: Path) -> None:
    (checkout / "runs/2").mkdir()
    (checkout / "runs/latest").unlink()
    (checkout / "runs/latest").symlink_to("2")
    way = other_terminal.of_this_process(checkout / "runs/1", environ={})
    assert way.bench_command("status") == ".venv/bin/otabench status --run runs/1"


def test_what_lies_outside_the_working_directory_is_named_in_full_and_quoted(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = checkout / "a folder"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    environ = {**GUEST, "OTABENCH_WITH_CAN": "/opt/ota bench/setup/with-can"}
    way = other_terminal.of_this_process(elsewhere / "my runs/1", environ=environ)
    assert way.bench_command("campaign", "watch") == (
        f"'/opt/ota bench/setup/with-can' --join=12-ab34 {checkout}/.venv/bin/otabench campaign watch --run 'my runs/1'"
    )


def test_without_the_script_the_module_is_run(checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    way = other_terminal.of_this_process(checkout / "runs/1", environ={})
    assert way.bench_command("status") == f"{tmp_path}/python -m otabench.bench.cli status"


@pytest.mark.parametrize(
    ("channels", "installed", "expected"),
    [
        (["vcan0", "vcan1"], True, "frames   candump vcan0 vcan1"),
        (["vcan0"], False, "frames   (candump is not installed; Debian, Ubuntu: can-utils)"),
        ([], True, "frames   (no candump here)"),
    ],
)
def test_the_frames_are_those_of_the_benchs_own_buses(
    monkeypatch: pytest.MonkeyPatch, channels: list[str], installed: bool, expected: str
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/candump" if installed else None)
    way = OtherTerminal(prefix=(), otabench=("otabench",))
    assert other_terminal.lines(way, channels=channels)[0] == expected


@pytest.mark.parametrize(
    ("environ", "port", "reachable"), [({}, 8080, True), (GUEST, 8081, True), (GUEST, 808, False), (GUEST, 9090, False)]
)
def test_the_page_of_a_guest_without_that_port_is_not_promised(
    environ: dict[str, str], port: int, reachable: bool
) -> None:
    line = other_terminal.page_line("http://localhost", port, environ=environ)
    assert ("--forward" not in line) == reachable
