"""What a failed test leaves: the part of each file that was written since it began."""

from __future__ import annotations

from pathlib import Path

from otabench.bench.pytest_plugin.can_log import CanLog
from otabench.bench.pytest_plugin.evidence import AppendedLines, Evidence


def begin(tmp_path: Path) -> Evidence:
    """Begin the evidence of a test, in a run where each file has a line of an earlier test."""
    for name in ("trace.jsonl", "gateway.log", "ecu-engine.log", "ecu-adas.log"):
        (tmp_path / name).write_text("before\n")
    folder = tmp_path / "tests" / "test_it"
    return Evidence.begin(
        folder,
        can_log=CanLog(captures={}, channels={}, folder=folder),
        trace=tmp_path / "trace.jsonl",
        logs=[tmp_path / name for name in ("gateway.log", "ecu-engine.log", "ecu-adas.log", "ecu-late.log")],
    )


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_only_what_was_written_since_the_test_began_is_left(tmp_path: Path) -> None:
    evidence = begin(tmp_path)
    append(tmp_path / "trace.jsonl", '{"event": "uds.request"}\n')
    append(tmp_path / "gateway.log", "a job failed\n")
    append(tmp_path / "ecu-late.log", "started during the test\n")
    written = evidence.write({"engine": ["P0602-00 an image was refused", "P1602-00 rolled back"], "adas": []})
    found = {path.name: path.read_text() for path in written}
    assert found == {
        "trace.jsonl": '{"event": "uds.request"}\n',
        "gateway.log": "a job failed\n",
        "ecu-late.log": "started during the test\n",
        "trouble-codes.txt": "engine: P0602-00 an image was refused\nengine: P1602-00 rolled back\nadas: none\n",
    }
    assert {path.name for path in evidence.folder.iterdir()} == found.keys()


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    lines = AppendedLines.since_now(tmp_path / "trace.jsonl")
    append(tmp_path / "trace.jsonl", "whole\nhal")
    assert lines.read() == b"whole\n"


def test_a_test_of_which_nothing_was_written_leaves_no_empty_files(tmp_path: Path) -> None:
    evidence = begin(tmp_path)
    assert evidence.write({}) == []
    assert list(evidence.folder.iterdir()) == []
