"""The command line: errors as one line with the right exit status, never a traceback; help is quick."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from otabench.bench.faults import control_port
from otabench.bench.faults.frame_faults import FRAME_FAULT_KINDS
from otabench.bench.topology import bench_file
from otabench.ecu_firmware_sim.faults import FaultKind


def otabench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from otabench.bench.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["bench", "run", "--bench", "absent.yaml"], 2, "absent.yaml: the bench file cannot be read"),
        (
            ["bench", "run", "--bench", "wrong.yaml"],
            2,
            "wrong.yaml: buses.powertrain.fdd: unknown key; did you mean 'fd'?",
        ),
        (["bench", "run", "--chaos", "engine:explode"], 2, "there is no fault 'explode'; known kinds: boot-fail"),
        (["bench", "check", "wrong.yaml"], 2, "wrong.yaml: buses.powertrain.fdd: unknown key"),
        (["bench", "init", "wrong.yaml"], 1, "wrong.yaml is there already"),
        (["status"], 1, "no bench was brought up there"),
        (["trace"], 1, "runs/latest/traces/simulation_trace.jsonl: No such file or directory"),
        (["fault", "engine", "boot-fail"], 1, "no bench was brought up there"),
        (["firmware", "info", "wrong.yaml"], 1, "wrong.yaml: header magic"),
        (["firmware", "pack", "wrong.yaml", "--ecu", "door", "--version", "1.0.0"], 1, "there is no ECU 'door'"),
        (
            ["firmware", "pack", "wrong.yaml", "--ecu", "engine", "--version", "2.0.0", "--requires", "door>=1.0.0"],
            1,
            "there is no ECU 'door' in the bench file; known: engine, adas",
        ),
        (["firmware", "build"], 1, "keys/image/signing.pem: there is no image signing key"),
    ],
)
def test_an_error_is_one_line_on_stderr(tmp_path: Path, arguments: list[str], status: int, expected: str) -> None:
    (tmp_path / "wrong.yaml").write_text(bench_file.default_text().replace("fd: false", "fdd: false"))
    done = otabench(*arguments, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("otabench: ")
    assert expected in line


def test_an_unknown_option_is_wrong_usage(tmp_path: Path) -> None:
    done = otabench("bench", "run", "--fast", cwd=tmp_path)
    assert done.returncode == 2
    assert "No such option" in done.stderr
    assert "Traceback" not in done.stderr


def test_fault_list_shows_everything_that_fault_takes(tmp_path: Path) -> None:
    done = otabench("fault", "engine", "list", cwd=tmp_path)
    listed = [line.split()[0] for line in done.stdout.splitlines()]
    assert sorted(listed) == sorted([*FaultKind, *FRAME_FAULT_KINDS, "load", "clear", "on", "off", "cycle"])


def test_a_fault_is_shown_with_all_that_it_was_given_and_has_drawn() -> None:
    told = {"kind": "power-cut", "flash_operation": 9, "off_s": 0.5, "mode": "garbage", "seed": 7}
    assert control_port.shown(told) == "power-cut flash_operation=9 off_s=0.5 mode=garbage seed=7"


def test_help_imports_nothing_slow() -> None:
    code = (
        "import sys\nfrom otabench.bench.cli.app import app\n"
        "print([name for name in ('grpc', 'can', 'imgtool', 'tuf', 'fastapi', 'rich.progress', 'httpx') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_a_bench_file_written_by_init_is_right(tmp_path: Path) -> None:
    assert otabench("bench", "init", "mine.yaml", cwd=tmp_path).returncode == 0
    done = otabench("bench", "check", "mine.yaml", cwd=tmp_path)
    assert done.stdout.splitlines()[0] == "ok    mine.yaml: vehicle W0TABENCH00000001"
    assert "ok    ECU engine: simulated engine-mcu-a on powertrain: the bench starts it" in done.stdout
    bus_is_there = Path("/sys/class/net/vcan0").exists()
    assert (done.returncode, "ok    bus powertrain: vcan0 is there and up" in done.stdout) == (
        0 if bus_is_there else 1,
        bus_is_there,
    )
