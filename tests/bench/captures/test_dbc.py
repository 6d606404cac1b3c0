"""Periodic frames: the ECU's bytes and the bench's DBC agree, cantools being the judge; 28 03 silences them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cantools
import pytest
from cantools.database.can import Database
from pydantic import ValidationError

from otabench.bench.captures import dbc
from otabench.bench.errors import BenchError, BenchFileError, WrongUsage
from otabench.bench.topology import bench_file
from otabench.proto.periodic import CYCLE, PeriodicFrame, PeriodicSignal

BENCH = bench_file.load()


def database(text: str) -> Database:
    loaded = cantools.database.load_string(text, "dbc")
    assert isinstance(loaded, Database)
    return loaded


def all_frames() -> list[PeriodicFrame]:
    return [frame for entry in BENCH.ecus.values() for frame in entry.periodic]


def test_the_default_bench_s_ecus_talk() -> None:
    assert {frame.id: frame.period_ms for frame in all_frames()} == {0x120: 100, 0x220: 100}


@pytest.mark.parametrize("frame", all_frames(), ids=lambda frame: frame.name)
def test_cantools_reads_every_frame_as_the_values_it_was_made_of(frame: PeriodicFrame) -> None:
    message = database(dbc.text(BENCH)).get_message_by_frame_id(frame.id)
    assert (message.name, message.length, message.cycle_time) == (frame.name, frame.length, frame.period_ms)
    for number in range(CYCLE):
        values = message.decode(frame.data(number))
        assert isinstance(values, dict)
        for signal in frame.signals:
            value = float(str(values[signal.name]))
            assert value == pytest.approx(signal.to_physical(signal.raw(number)))
            assert signal.minimum - signal.factor <= value <= signal.largest + signal.factor


def test_a_29_bit_identifier_and_an_edge_to_edge_signal() -> None:
    text = (
        bench_file.default_text()
        .replace("id: 0x120", "id: 0x18FF1200")
        .replace("start_bit: 56, length: 4", "start_bit: 60, length: 4")
    )
    message = database(dbc.text(bench_file.parse(text, name="x"))).get_message_by_name("EngineStatus")
    assert message.is_extended_frame and message.frame_id == 0x18FF1200
    values = message.decode(bytes(7) + b"\xf0")
    assert isinstance(values, dict) and values["EngineAliveCounter"] == 15


def test_values_move_and_repeat() -> None:
    counter = PeriodicSignal(name="c", start_bit=0, length=4, wave="counter")
    assert [counter.raw(number) for number in range(18)] == [*range(16), 0, 1]
    triangle = PeriodicSignal(name="t", start_bit=0, length=8, maximum=32.0)
    assert [triangle.raw(number) for number in (0, 16, 32, 48, 63, 64)] == [0, 16, 32, 16, 1, 0]
    still = PeriodicSignal(name="s", start_bit=0, length=8, minimum=7, wave="constant")
    assert {still.raw(number) for number in range(100)} == {7}
    assert PeriodicFrame(name="f", id=1, period_ms=10, signals=(still,)).cycle() == [b"\x07" + bytes(7)]
    assert len(PeriodicFrame(name="f", id=1, period_ms=10, signals=(counter,)).cycle()) == CYCLE


@pytest.mark.parametrize(
    ("signals", "expected"),
    [
        ([("a", 0, 8), ("b", 7, 2)], "signals a and b share bit 7"),
        ([("a", 60, 8)], "are more than 64"),
        ([("a", 12, 8)], "ends after its 2 bytes"),
        ([("a", 0, 4), ("a", 8, 4)], "two signals have the same name"),
    ],
)
def test_layouts_that_cannot_be_are_refused(signals: list[tuple[str, int, int]], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        PeriodicFrame(
            name="f", id=1, period_ms=10, length=2,
            signals=tuple(PeriodicSignal(name=name, start_bit=start, length=length) for name, start, length in signals),
        )  # fmt: skip
    with pytest.raises(ValidationError, match="do not fit into 4 bits"):
        PeriodicSignal(name="a", start_bit=0, length=4, maximum=16)


def test_a_bench_of_several_buses_needs_the_bus_s_name() -> None:
    text = (
        bench_file.default_text()
        .replace("ecus:", "  second: {channel: vcan1}\necus:", 1)
        .replace("adas:   {kind: simulated, bus: powertrain", "adas:   {kind: simulated, bus: second")
    )
    two = bench_file.parse(text, name="x")
    with pytest.raises(WrongUsage, match="periodic frames stand on powertrain, second; choose one by --bus"):
        dbc.text(two)
    assert [message.name for message in database(dbc.text(two, bus="second")).messages] == ["LaneStatus"]
    with pytest.raises(WrongUsage, match="there is no bus 'third'"):
        dbc.text(two, bus="third")


def test_without_periodic_frames_there_is_no_dbc() -> None:
    silent = BENCH.model_copy(
        update={"ecus": {name: entry.model_copy(update={"periodic": ()}) for name, entry in BENCH.ecus.items()}}
    )
    with pytest.raises(BenchError, match="no ECU of the bench file has periodic frames"):
        dbc.text(silent)


def test_two_frames_of_one_identifier_make_no_dbc() -> None:
    for old, new, what in (("0x220", "0x120", "identifier 0x120"), ("LaneStatus", "EngineStatus", "name EngineStatus")):
        text = bench_file.default_text().replace(old, new)
        with pytest.raises(BenchError, match=f"the {what} stands 2 times"):
            dbc.text(bench_file.parse(text, name="x"))


def test_a_periodic_frame_with_a_diagnostic_identifier_is_a_mistake_of_the_bench_file() -> None:
    for taken in ("0x7E0", "0x7E8", "0x7DF"):
        with pytest.raises(BenchFileError, match="is a diagnostic identifier"):
            bench_file.parse(bench_file.default_text().replace("id: 0x120", f"id: {taken}"), name="x")


@pytest.mark.vcan
@pytest.mark.candump
def test_cantools_decodes_a_candump_log_of_the_application_s_frames(tmp_path: Path) -> None:
    from tests.bench.talking_ecu import talking

    (tmp_path / "bench.dbc").write_text(dbc.text(BENCH), newline="")
    engine = BENCH.ecus["engine"].periodic
    with talking(engine, channel="vcan0"):
        log = subprocess.run(
            ["candump", "-L", "-n", "8", "-T", "3000", "vcan0,120:7FF"], capture_output=True, text=True, check=True
        ).stdout
    decode = [sys.executable, "-m", "cantools", "decode", "--single-line", str(tmp_path / "bench.dbc")]
    text = subprocess.run(decode, input=log, capture_output=True, text=True, check=True).stdout
    lines = text.splitlines()
    assert len(lines) == 8
    assert all("EngineStatus(" in line and "EngineSpeed: " in line and "rpm" in line for line in lines)
    counters = [int(line.split("EngineAliveCounter: ")[1].split(",")[0].rstrip(")")) for line in lines]
    assert counters == [(counters[0] + step) % 16 for step in range(8)]
    times = [float(line.split(")")[0].strip("(")) for line in log.splitlines()]
    assert (times[-1] - times[0]) / 7 == pytest.approx(0.1, abs=0.02)
    quiet = subprocess.run(["candump", "-L", "-T", "300", "vcan0,120:7FF"], capture_output=True, text=True, check=False)
    assert quiet.stdout == "", "it sends on after it was stopped"
