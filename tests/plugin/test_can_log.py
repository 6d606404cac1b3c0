"""What was on the bus during one test, cut out of a capture that goes on."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from otabench.bench.bus.frame import EFF_FLAG, ERR_FLAG, FD_BRS, FD_FDF, RTR_FLAG, Frame
from otabench.bench.captures.formats import candump_line, parse_candump_line
from otabench.bench.errors import BenchError, WaitTimeout
from otabench.bench.pytest_plugin.can_log import CanLog

FRAMES = [
    Frame(1_700_000_000_000_001, 0x7E0, 0, bytes.fromhex("0322F189")),
    Frame(1_700_000_000_999_999, 0x18DA10F1 | EFF_FLAG, 0, b""),
    Frame(1_700_000_001_000_000, 0x7DF, FD_FDF | FD_BRS, bytes(range(64))),
    Frame(1_700_000_001_000_001, 0x123 | RTR_FLAG, 0, b""),
    Frame(1_700_000_001_000_002, 0x004 | ERR_FLAG, 0, bytes(8)),
]


def now_us() -> int:
    return time.time_ns() // 1000


def append(capture: Path, *frames: Frame) -> None:
    with capture.open("a", encoding="ascii") as file:
        file.write("".join(candump_line(frame, "vcan0") for frame in frames))


def frame(data: str, *, can_id: int = 0x7E8, at_us: int | None = None) -> Frame:
    return Frame(now_us() if at_us is None else at_us, can_id, 0, bytes.fromhex(data))


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "powertrain.log"
    append(path, frame("01", at_us=now_us() - 5_000_000))
    return path


@pytest.fixture
def log(capture: Path, tmp_path: Path) -> CanLog:
    return CanLog({"powertrain": capture}, {"powertrain": "vcan0"}, tmp_path / "test")


@pytest.mark.parametrize("given", FRAMES, ids=lambda given: f"{given.can_id:X}")
def test_a_line_is_read_as_it_was_written(given: Frame) -> None:
    assert parse_candump_line(candump_line(given, "vcan0")) == ("vcan0", given)


@pytest.mark.parametrize("line", ["", "no frame", "(1.0) vcan0 7E0", "(1.0) vcan0 7E0#0"])
def test_what_is_no_line_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        parse_candump_line(line)


def test_frames_of_other_tests_are_left_out(capture: Path, log: CanLog) -> None:
    append(capture, frame("02", at_us=log.started_us - 500_000), frame("03"), frame("04", can_id=0x7E0))
    assert [found.data for found in log.frames()] == [b"\x03", b"\x04"]
    assert [found.data for found in log.frames(can_id=0x7E0)] == [b"\x04"]


def test_a_line_that_is_being_written_waits_for_its_end(capture: Path, log: CanLog) -> None:
    whole = candump_line(frame("0102"), "vcan0")
    append(capture, frame("00"))
    with capture.open("a") as file:
        file.write(whole[:-3])
    assert [found.data for found in log.frames()] == [b"\x00"]


def test_a_frame_is_waited_for(capture: Path, log: CanLog) -> None:
    append(capture, frame("037F2735"))
    assert log.wait_for(0x7E8).data.hex() == "037f2735"
    assert log.wait_for(lambda found: found.data[1] == 0x7F).can_id == 0x7E8
    with pytest.raises(WaitTimeout, match=r"bus powertrain: no frame with identifier 0x7E0 within 0.1 s \(1 others\)"):
        log.wait_for(0x7E0, timeout_s=0.1)


def test_error_frames_are_told_apart_and_kept_as_evidence(capture: Path, log: CanLog) -> None:
    # given an error frame whose class is as an identifier on this bus
    error = Frame(now_us(), 0x088 | ERR_FLAG, 0, bytes(8))
    append(capture, error, frame("01", can_id=0x088))
    # then frames are those that were sent, errors are asked for by name, and the files have both
    assert [found.data for found in log.frames()] == [b"\x01"]
    assert log.wait_for(0x088).data == b"\x01"
    assert log.wait_for(lambda found: found.data[0] < 2).data == b"\x01"
    assert log.error_frames() == [error]
    assert " vcan0 20000088#0000000000000000\n" in log.write()[0].read_text()


def test_a_bus_that_is_not_there_is_named(log: CanLog) -> None:
    with pytest.raises(BenchError, match="no bus 'body'; known: powertrain"):
        log.frames("body")


def test_log_and_pcap_are_written(capture: Path, log: CanLog) -> None:
    append(capture, frame("0362F189"))
    written = log.write()
    assert [path.name for path in written] == ["powertrain.log", "powertrain.pcap"]
    assert written[0].read_text().endswith(" vcan0 7E8#0362F189\n")
    assert len(written[0].read_text().splitlines()) == 1


@pytest.mark.tshark
def test_wireshark_reads_the_pcap(capture: Path, log: CanLog) -> None:
    append(capture, frame("0362F189"))
    pcap = log.write()[1]
    tshark = shutil.which("tshark")
    assert tshark is not None
    done = subprocess.run(
        [tshark, "-r", pcap, "-T", "fields", "-e", "can.id", "-e", "data"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == [str(0x7E8), "0362f189"]
