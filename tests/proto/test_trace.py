"""The trace: lines are whole, ordered and readable, even with several writers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from otabench.proto.trace import TraceWriter, read


def test_an_event_reads_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "traces" / "simulation_trace.jsonl"
    writer = TraceWriter(path, component="gateway", vin="W0TABENCH00000001")
    writer.emit("job.state", job_id="j1", ecu="engine", to="DOWNLOADING", payload=b"\x10\x02")
    (event,) = read(path)
    assert (event.v, event.seq, event.component, event.event) == (1, 1, "gateway", "job.state")
    assert (event.vin, event.job_id, event.ecu) == ("W0TABENCH00000001", "j1", "engine")
    assert event.data == {"to": "DOWNLOADING", "payload": "1002"}
    assert event.ts.endswith("+00:00")


def test_lines_of_several_processes_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    code = (
        "import sys; from pathlib import Path; from otabench.proto.trace import TraceWriter\n"
        "w = TraceWriter(Path(sys.argv[1]), component=sys.argv[2])\n"
        "for i in range(300): w.emit('e', filler='x' * (i % 200))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in ("a", "b", "c")]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    events = list(read(path))
    assert len(events) == 900
    for name in ("a", "b", "c"):
        assert [event.seq for event in events if event.component == name] == list(range(1, 301))


def test_a_torn_last_line_of_a_killed_writer_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    TraceWriter(path, component="x").emit("whole")
    with path.open("a") as file:
        file.write('{"v":1,"seq":2,"ts"')
    assert [event.event for event in read(path)] == ["whole"]


def test_a_broken_line_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    TraceWriter(path, component="x").emit("whole")
    with path.open("a") as file:
        file.write("not json\n")
    with pytest.raises(ValueError, match=r"trace\.jsonl:2"):
        list(read(path))


def test_no_path_writes_nothing(tmp_path: Path) -> None:
    TraceWriter(None, component="x").emit("nothing")
    assert list(tmp_path.iterdir()) == []
