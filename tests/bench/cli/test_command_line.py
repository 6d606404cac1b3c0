"""The command line: errors as one line with the right exit status, never a traceback; help is quick."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_group
from typer.testing import CliRunner

from otabench.bench.cli.app import app
from otabench.bench.cli.lazy import Group, Lazy
from otabench.bench.errors import BenchError
from otabench.bench.faults import control_port
from otabench.bench.faults.frame_faults import FRAME_FAULT_KINDS
from otabench.bench.topology import bench_file
from otabench.ecu_firmware_sim.faults import FaultKind
from tests.command_line import run_otabench


def otabench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run it as a process of its own, as a user does."""
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
        (["bench", "run", "--fault", "engine:explode"], 2, "there is no fault 'explode'; known: boot-fail"),
        (["bench", "check", "wrong.yaml"], 2, "wrong.yaml: buses.powertrain.fdd: unknown key"),
        (["bench", "init", "wrong.yaml"], 1, "wrong.yaml is there already"),
        (["status"], 1, "no bench was brought up there"),
        (["trace"], 1, "runs/latest/traces/simulation_trace.jsonl: No such file or directory"),
        (["fault", "engine", "boot-fail"], 1, "no bench was brought up there"),
        (["firmware", "info", "wrong.yaml"], 1, "wrong.yaml: it is a text, of no format that is known here"),
        (["firmware", "pack", "wrong.yaml", "--ecu", "door", "--version", "1.0.0"], 2, "there is no ECU 'door'"),
        (
            ["firmware", "pack", "wrong.yaml", "--ecu", "engine", "--version", "2.0.0", "--requires", "door>=1.0.0"],
            2,
            "there is no ECU 'door' in the bench file; known: engine, adas",
        ),
        (["up", "--image", "door=wrong.yaml"], 2, "there is no ECU 'door' in the bench file; known: engine, adas"),
        (["up", "--image", "engine=wrong.yaml"], 1, "wrong.yaml: it is a text, of no format that is known here"),
        (["can", "up", "an18characterisname"], 2, "is not the name of a network interface; Linux allows 1 to 15"),
        (["firmware", "build"], 1, "no bench is up in runs/latest, and there is no folder keys"),
    ],
)
def test_an_error_is_one_line_on_stderr(tmp_path: Path, arguments: list[str], status: int, expected: str) -> None:
    (tmp_path / "wrong.yaml").write_text(bench_file.default_text().replace("fd: false", "fdd: false"))
    done = run_otabench(*arguments, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("otabench: ")
    assert expected in line


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        # what was typed is wrong
        (["bench", "run", "--fault", "bus load 60%"], 2, "did you mean 'bus:load:60%'?"),
        (["fault", "bus", "load:60%"], 2, "did you mean `otabench fault bus load 60%`?"),
        (["fault", "bus:load:60%"], 2, "did you mean `otabench fault bus load 60%`?"),
        (["fault", "engine silent"], 2, "did you mean `otabench fault engine silent`?"),
        (["fault", "engine"], 2, "which fault? `otabench fault engine list`"),
        (["firmware", "build", "--keys", "absent", "--version", "two"], 2, "two"),
        (["firmware", "build", "--keys", "absent", "--requires", "adas"], 2, "expected ECU>=VERSION"),
        (["firmware", "build", "--keys", "absent", "--ecu", "door"], 2, "there is no ECU 'door'"),
        (["runs", "show", "../elsewhere"], 2, "not the folder of a run"),
        (["runs", "show", "2026"], 2, "there is no run '2026'"),
        (["capture", "convert", "a.log", "b.txt"], 2, "files ending in '.txt'"),
        (["campaign", "create", "--transfer", "half"], 2, "there is no transfer 'half'"),
        (["profile", "show", "mine"], 2, "there is no flash profile 'mine'"),
        # the world is not as the command needs it
        (["firmware", "build", "--keys", "absent"], 1, "absent/image/signing.pem: there is no image signing key"),
        (["capture", "convert", "a.log", "b.pcap"], 1, "a.log: No such file"),
        (["report"], 1, "give the folder of a run"),
        (["campaign", "list"], 1, "no bench was brought up there"),
    ],
)
def test_status_2_is_for_what_was_typed_and_1_for_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = CliRunner().invoke(app, arguments)
    assert isinstance(refused.exception, BenchError) and expected in str(refused.exception), refused.output
    assert refused.exception.exit_status == status


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["benhc", "run"], "Did you mean 'bench'?"),
        (["bench", "rnu"], "Did you mean 'run'?"),
        (["campaign", "watsh"], "Did you mean 'watch'?"),
        (["bench", "run", "--falt", "engine:hang"], "--fault"),
        (["bench", "run", "--chaos", "engine:hang"], "did you mean --fault?"),
        (["up", "--fault", "engine:boot-fial"], "did you mean 'boot-fail'?"),
        (["up", "--fault", "engine:BOOT_FAIL"], "did you mean 'boot-fail'?"),
        (["bench", "run", "--transfer", "patch"], "did you mean 'delta'?"),
        (["campaign", "create", "--transfer", "Full"], "did you mean 'full'?"),
        (["fault", "engine", "silnet"], "did you mean 'silent'?"),
        (["firmware", "build", "--ecu", "engin"], "did you mean 'engine'?"),
        (["dbc", "--bus", "powertrian"], "did you mean 'powertrain'?"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_one_that_was_meant(
    tmp_path: Path, arguments: list[str], meant: str
) -> None:
    done = run_otabench(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert meant in " ".join(done.stderr.split()) and "Traceback" not in done.stderr


def commands(group: Group, *above: str) -> Iterator[tuple[tuple[str, ...], Lazy | Group, Any]]:
    """Yield every command below a group: the words that call it, its entry, and the command itself."""
    for name, entry in group.entries.items():
        command = group.get_command(None, name)
        yield (*above, name), entry, command
        if isinstance(command, Group):
            yield from commands(command, *above, name)


ROOT = get_group(app)
assert isinstance(ROOT, Group)
COMMANDS = {" ".join(words): (entry, command) for words, entry, command in commands(ROOT)}
FACTS = [
    "runs list",
    "runs show",
    "runs compare",
    "runs prune",
    "status",
    "trace",
    "doctor",
    "bench check",
    "can status",
    "campaign list",
    "campaign show",
    "campaign watch",
    "firmware info",
]


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_has_help_whose_first_line_is_its_summary(words: str) -> None:
    entry, command = COMMANDS[words]
    done = CliRunner().invoke(app, [*words.split(), "-h"])
    assert done.exit_code == 0 and "Usage: " in done.output and words.split()[-1] in done.output
    assert "list[" not in done.output and "[[" not in done.output, "Python's types, or brackets twice"
    assert entry.summary == command.help.partition("\n")[0]
    for parameter in command.params:
        explained = getattr(parameter, "help", None) or parameter.param_type_name == "argument"
        assert explained or parameter.hidden, f"{words}: {parameter.name}"


@pytest.mark.parametrize("words", FACTS)
def test_a_command_that_prints_facts_has_json(words: str) -> None:
    _, command = COMMANDS[words]
    assert "--json" in [option for parameter in command.params for option in parameter.opts]


def test_json_of_facts_is_json(tmp_path: Path) -> None:
    for arguments in (["doctor", "--json"], ["bench", "check", "--json"]):
        done = otabench(*arguments, cwd=tmp_path)
        assert done.returncode in (0, 1) and len(json.loads(done.stdout)) > 2, done.stderr


def test_the_list_of_commands_shows_every_summary_whole() -> None:
    shown = " ".join(CliRunner().invoke(app, ["--help"]).output.split())
    assert all(entry.summary in shown for words, (entry, _) in COMMANDS.items() if " " not in words)


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    assert otabench("--version", cwd=tmp_path).stdout.strip() == f"otabench {version('otabench')}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_shown_for_a_shell(tmp_path: Path, shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert "_OTABENCH_COMPLETE" in otabench("--show-completion", shell, cwd=tmp_path).stdout


def test_fault_list_shows_everything_that_fault_takes(tmp_path: Path) -> None:
    done = run_otabench("fault", "engine", "list", cwd=tmp_path)
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
    assert (done.returncode, "ok    bus powertrain: vcan0 exists and is up" in done.stdout) == (
        0 if bus_is_there else 1,
        bus_is_there,
    )
