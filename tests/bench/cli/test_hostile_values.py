"""Hostile values for every argument and option: each command ends by a sentence, never by a traceback."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel
from typer.main import get_group

from otabench.bench.cli import main, unforeseen
from otabench.bench.cli.app import app
from otabench.bench.cli.lazy import Group, Lazy
from otabench.bench.errors import BenchError, WrongUsage
from otabench.bench.faults.control_port import Fault
from otabench.bench.topology import bench_file
from otabench.bench.topology.model import Topology
from otabench.bench.uds.profile import Profile
from tests.bench.cli.test_images import make_keys

HOSTILE = (
    "",
    "0",
    "-1",
    str(2**32),
    str(2**64),
    "1e400",
    "nan",
    "9" * 5000,
    "x" * 10_000,
    "../../x",
    "ü\x1b[2J\u202e",
    "a=b",
)
NEEDED = {
    "fault": ["engine", "hang"],
    "firmware pack": ["own.bin", "--ecu", "engine", "--version", "2.0.0"],
    "firmware build": ["--bench", "small.yaml", "--ecu", "engine", "--version", "1.0.0"],
    "firmware info": ["own.bin"],
    "keys init": ["new-keys"],
    "bench init": ["new.yaml"],
    "capture convert": ["in.log", "out.pcap"],
    "can up": ["vcan9", "--print"],
    "can down": ["vcan9", "--print"],
    "can status": ["vcan9"],
    "wireshark-profile install": ["--dir", "profiles"],
}
"""What a command needs besides the hostile value, to get as far as it can and to leave this machine alone."""
ONLY_PARSED = ("with-can", "bench run", "up", "fleet bench", "perf powercut", "perf message-cut", "perf frames")
"""Commands that would bring up a bench or a cloud. Their arguments are read, and refused where that is the reader's part."""


FEW = {"keys init": ("", "x" * 10_000), "firmware build": ("", "-1", str(2**64), "x" * 10_000, "a=b")}
"""Fewer values, for commands that do much where a value is accepted."""


def lazies(group: Group, *above: str) -> Iterator[tuple[str, Lazy, Group]]:
    for name, entry in group.entries.items():
        if isinstance(entry, Group):
            yield from lazies(entry, *above, name)
        else:
            yield " ".join((*above, name)), entry, group


ROOT = get_group(app)
assert isinstance(ROOT, Group)
COMMANDS = {words: entry for words, entry, _ in lazies(ROOT)}


def numbers_of(entry: Lazy) -> Iterator[tuple[str, Any]]:
    """Yield the name and typer's description of each parameter of a command that is a number."""
    for parameter in inspect.signature(entry.function(), eval_str=True).parameters.values():
        kind, *described = get_args(parameter.annotation) or (parameter.annotation,)
        if {int, float} & {kind, *get_args(kind)}:
            yield parameter.name, described[0]


@pytest.mark.parametrize("words", COMMANDS)
def test_every_number_has_bounds(words: str) -> None:
    for name, option in numbers_of(COMMANDS[words]):
        assert option.min is not None and option.max is not None, f"{words}: {name}"


def hostile_lines(words: str, command: Any) -> Iterator[list[str]]:
    """Yield the arguments of a command with a hostile value in each place, one after the other."""
    needed, values = NEEDED.get(words, []), FEW.get(words, HOSTILE)
    for place in (each for each in needed if not each.startswith("-")):
        yield from ([value if each == place else each for each in needed] for value in values)
    for parameter in command.params:
        takes_value = not getattr(parameter, "is_flag", False)
        if parameter.param_type_name == "option" and takes_value and parameter.name != "help":
            yield from ([*needed, f"{parameter.opts[0]}={value}"] for value in values)
        elif parameter.param_type_name == "argument" and not needed:
            yield from ([value] for value in values if not value.startswith("-"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    inner = tmp_path / "a" / "b"  # ../../x stays in the folder of the test
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    monkeypatch.setenv("HOME", str(inner))
    Path("own.bin").write_bytes(bytes(1024))
    Path("in.log").write_text("(1.000001) can0 123#00\n")
    Path("small.yaml").write_text(
        bench_file.default_text().replace(
            "hardware_id: engine-mcu-a", "hardware_id: engine-mcu-a, image_size_bytes: 4096"
        )
    )
    make_keys(Path("keys"))
    return inner


@pytest.mark.parametrize("words", COMMANDS)
def test_a_hostile_value_ends_in_a_sentence(words: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = COMMANDS[words].load()
    for arguments in hostile_lines(words, command):
        try:
            if words in ONLY_PARSED:
                command.make_context(words, arguments)
            else:
                command.main(arguments, prog_name=words, standalone_mode=True)
        except (BenchError, SystemExit, typer.Exit, typer.BadParameter):
            pass
        except Exception as error:  # noqa: BLE001 - what the test looks for
            pytest.fail(f"otabench {words} {[each[:60] for each in arguments]}: {unforeseen.describe(error)}")
        assert "Traceback" not in capsys.readouterr().err


def entered(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    """Run the entry point and return its exit status."""
    monkeypatch.setattr("sys.argv", ["otabench", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_an_argument_that_is_not_utf_8_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entered(["keys", "init", "k\udcff"], monkeypatch) == 2
    assert capsys.readouterr().err.splitlines() == [
        "otabench: argument 'k\\udcff' is not UTF-8; rename the file, or write the text in UTF-8"
    ]
    assert not list(folder.glob("k?"))


class Unforeseen(Exception):
    """An error that no code handles."""


@pytest.mark.parametrize("place", ["logs", "absent"])
def test_an_error_that_no_code_foresaw_is_one_line_and_a_log_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    def load(*_: object) -> None:
        raise Unforeseen("bad\nluck " + "x" * 5000)

    (folder / "logs").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder / place))
    monkeypatch.setattr(bench_file, "load", load)
    assert entered(["dbc", "--bus", "p q"], monkeypatch) == unforeseen.EXIT_STATUS
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("otabench: internal error: Unforeseen: bad luck xxx") and len(line) < 600
    logs = list((folder / "logs").iterdir())
    if place == "absent":
        assert not logs and "no place for a file with the details" in line
        return
    (log,) = logs
    assert str(log) in line and log.stat().st_mode & 0o077 == 0
    assert "otabench dbc --bus 'p q'" in log.read_text() and "Traceback (most recent call last)" in log.read_text()


def unbounded(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield the places of a JSON schema where a number has no lower or no upper bound."""
    low, high = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}
    is_number = schema.get("type") in ("integer", "number") and not {"enum", "const"} & schema.keys()
    if is_number and not (low & schema.keys() and high & schema.keys()):
        yield path
    for key, value in schema.items():
        for number, each in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(each, dict):
                yield from unbounded(each, f"{path}/{key}" + (f"/{number}" if isinstance(value, list) else ""))


@pytest.mark.parametrize("model", [Topology, Profile])
def test_every_number_of_a_file_has_bounds(model: type[BaseModel]) -> None:
    assert list(unbounded(model.model_json_schema())) == []


@pytest.mark.parametrize("value", [str(2**64), "1e400", "nan", "-inf", "0x" + "f" * 5000])
def test_a_parameter_of_a_fault_has_at_most_64_bits(value: str) -> None:
    with pytest.raises(WrongUsage, match="expected a number of at most 64 bits"):
        Fault.parse(f"engine:nrc:count={value}")
    assert Fault.parse("engine:nrc:count=0xFF").parameters == {"count": 255}
