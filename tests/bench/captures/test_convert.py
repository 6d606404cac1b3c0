"""Captures in other formats, and `.pcap` for python-can: nothing is lost on the way, and what cannot be read is told."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from pathlib import Path

import can
import pytest

from otabench.bench.bus.frame import EFF_FLAG, ERR_FLAG, FD_BRS, FD_ESI, FD_FDF, RTR_FLAG, Frame
from otabench.bench.captures import formats
from otabench.bench.captures.convert import convert
from otabench.bench.captures.formats import candump_line
from otabench.bench.captures.pcap import PcapReader, PcapWriter, frame_of, message_of
from otabench.bench.errors import BenchError, WrongUsage
from tests.bench.report import small_run

T0_US = 1_795_440_035_123_457
CLASSIC = [
    Frame(T0_US, 0x7E0, 0, bytes.fromhex("0210030000000000")),
    Frame(T0_US + 250, 0x7E8, 0, b""),
    Frame(T0_US + 1_000_000, 0x18DA00F1 | EFF_FLAG, 0, b"\x3e\x80"),
]
FRAMES = [
    *CLASSIC,
    Frame(T0_US + 1_000_500, 0x7E0, FD_FDF | FD_BRS, bytes(range(64))),
    Frame(T0_US + 1_000_900, 0x7E0, FD_FDF | FD_BRS | FD_ESI, bytes(12)),
    Frame(T0_US + 2_000_000, 0x123 | RTR_FLAG, 0, b""),
]


def written(path: Path, frames: list[Frame]) -> Path:
    writer = can.Logger(path)
    for frame in frames:
        writer.on_message_received(message_of(frame, channel="vcan0"))
    writer.stop()
    return path


def read(path: Path) -> list[Frame]:
    with can.LogReader(path) as reader:
        return [frame_of(message) for message in reader]


def test_python_can_finds_writer_and_reader_by_the_suffix(tmp_path: Path) -> None:
    assert isinstance(can.Logger(tmp_path / "x.pcap"), PcapWriter)
    assert isinstance(can.LogReader(written(tmp_path / "x.pcap", FRAMES)), PcapReader)


def test_the_writer_s_bytes_are_those_of_the_bench_s_own_captures(tmp_path: Path) -> None:
    expected = formats.pcap_header() + b"".join(formats.pcap_record(frame) for frame in FRAMES)
    assert written(tmp_path / "x.pcap", FRAMES).read_bytes() == expected


def test_a_file_may_be_gone_on_with(tmp_path: Path) -> None:
    written(tmp_path / "x.pcap", FRAMES[:2])
    with PcapWriter(tmp_path / "x.pcap", append=True) as writer:
        for frame in FRAMES[2:]:
            writer.on_message_received(message_of(frame))
    assert read(tmp_path / "x.pcap") == FRAMES


@pytest.mark.parametrize(
    ("order", "magic", "unit"), [("<", 0xA1B2C3D4, 1), (">", 0xA1B2C3D4, 1), (">", 0xA1B23C4D, 1000)]
)
def test_the_other_byte_order_and_nanoseconds_are_read(tmp_path: Path, order: str, magic: int, unit: int) -> None:
    body = struct.pack(">IBBxx", 0x7E0, 2, 0) + b"\x10\x03"
    (tmp_path / "x.pcap").write_bytes(
        struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 262_144, 227)
        + struct.pack(f"{order}IIII", 1_795_440_035, 123_457 * unit, len(body), len(body))
        + body
    )
    assert read(tmp_path / "x.pcap") == [Frame(T0_US, 0x7E0, 0, b"\x10\x03")]


@pytest.mark.parametrize("suffix", [".log", ".pcap", ".blf", ".csv"])
def test_there_and_back_again_nothing_has_changed(tmp_path: Path, suffix: str) -> None:
    frames = CLASSIC if suffix == ".csv" else FRAMES
    source = written(tmp_path / "in.pcap", frames)
    assert convert(source, tmp_path / f"x{suffix}") == len(frames)
    assert convert(tmp_path / f"x{suffix}", tmp_path / "out.pcap") == len(frames)
    assert read(tmp_path / "out.pcap") == frames


ERRORS = [
    Frame(T0_US, 0x088 | ERR_FLAG, 0, bytes.fromhex("0008020000000000")),
    CLASSIC[1],
    Frame(T0_US + 2_000_000, 0x004 | ERR_FLAG, 0, bytes.fromhex("0010000000008000")),
]


@pytest.mark.parametrize("suffix", [".log", ".blf"])
def test_error_frames_keep_their_class_and_bytes(tmp_path: Path, suffix: str) -> None:
    source = written(tmp_path / "in.pcap", ERRORS)
    convert(source, tmp_path / f"x{suffix}")
    convert(tmp_path / f"x{suffix}", tmp_path / "out.pcap")
    assert read(tmp_path / "out.pcap") == ERRORS


def test_an_error_frame_of_an_interface_that_says_extended_is_still_one() -> None:
    frame = frame_of(can.Message(timestamp=1.0, arbitration_id=0x040, is_error_frame=True, data=bytes(8)))
    assert candump_line(frame, "can0") == "(0000000001.000000) can0 20000040#0000000000000000\n"


def test_a_log_of_python_can_and_one_cut_short_are_read(tmp_path: Path) -> None:
    (tmp_path / "in.log").write_text(
        "(1795440035.123457) can0 7E0#0210030000000000 R\n(1795440035.123707) can0 7E8# T\n(1795"
    )
    assert convert(tmp_path / "in.log", tmp_path / "out.pcap") == 2
    assert read(tmp_path / "out.pcap") == CLASSIC[:2]


@pytest.mark.parametrize("line", ["hello", "(1.0) can0 7E0", "(1.0) can0 7E0##", "(1.0) can0 7E0#0"])
def test_a_log_with_a_foreign_line_is_told(tmp_path: Path, line: str) -> None:
    (tmp_path / "in.log").write_text(f"(1795440035.123457) can0 7E0#021003\n{line}\n")
    with pytest.raises(BenchError, match="damaged after 1 frames: line 2 is none of candump's log format"):
        convert(tmp_path / "in.log", tmp_path / "out.pcap")
    assert not (tmp_path / "out.pcap").exists()


def test_asc_keeps_frames_and_intervals(tmp_path: Path) -> None:
    convert(written(tmp_path / "in.pcap", CLASSIC), tmp_path / "x.asc")
    convert(tmp_path / "x.asc", tmp_path / "out.pcap")
    back = read(tmp_path / "out.pcap")
    assert [(frame.can_id, frame.data) for frame in back] == [(frame.can_id, frame.data) for frame in CLASSIC]
    times = [frame.timestamp_us - back[0].timestamp_us for frame in back]
    assert times == pytest.approx([frame.timestamp_us - T0_US for frame in CLASSIC], abs=2)


def test_a_converted_log_is_candump_s(tmp_path: Path) -> None:
    convert(written(tmp_path / "in.pcap", FRAMES), tmp_path / "x.log")
    lines = (tmp_path / "x.log").read_text().splitlines()
    assert lines[0] == "(1795440035.123457) can0 7E0#0210030000000000"
    assert not any(line.endswith((" R", " T")) for line in lines)


def test_a_whole_capture_survives_blf(tmp_path: Path) -> None:
    run = small_run.unpack(tmp_path / "run")
    count = convert(run / "can" / "powertrain.pcap", tmp_path / "x.blf")
    assert count > 1000
    convert(tmp_path / "x.blf", tmp_path / "back.pcap")
    assert (tmp_path / "back.pcap").read_bytes() == (run / "can" / "powertrain.pcap").read_bytes()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "not a pcap file"),
        (b"\x0a\x0d\x0d\x0a" + bytes(40), "pcapng"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + bytes(40), "link type 1, not 227"),
        (formats.pcap_header() + struct.pack("<IIII", 0, 0, 5000, 5000), "record 1: 5000 bytes are no CAN frame"),
        (
            formats.pcap_header() + struct.pack("<IIII", 0, 0, 8, 8) + struct.pack(">IBBxx", 1, 9, 0),
            "record 1: 9 data bytes do not fit into 8",
        ),
    ],
)
def test_what_is_no_capture_is_told_and_leaves_nothing_behind(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "in.pcap").write_bytes(content)
    with pytest.raises(BenchError, match=expected):
        convert(tmp_path / "in.pcap", tmp_path / "out.log")
    assert not (tmp_path / "out.log").exists()


def test_a_capture_cut_short_by_a_killed_recorder_is_read_to_its_last_whole_frame(tmp_path: Path) -> None:
    whole = written(tmp_path / "in.pcap", FRAMES).read_bytes()
    for cut in range(1, 30):
        (tmp_path / "in.pcap").write_bytes(whole[:-cut])
        assert read(tmp_path / "in.pcap") in (FRAMES[:-1], FRAMES[:-2])


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("in.xyz", "out.log", "'.xyz' cannot be read; known: .log"),
        ("in.pcap", "out.xyz", "'.xyz' cannot be written"),
        ("in.MF4", "out.log", r"'.MF4' cannot be read \(ASAM MDF; export it as .blf or .asc"),
        ("in.pcap", "in.pcap", "is the file to be converted itself"),
    ],
)
def test_wrong_names_are_wrong_usage(tmp_path: Path, source: str, target: str, expected: str) -> None:
    written(tmp_path / "in.pcap", FRAMES)
    with pytest.raises(WrongUsage, match=expected):
        convert(tmp_path / source, tmp_path / target)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"absent\.log: No such file"):
        convert(tmp_path / "absent.log", tmp_path / "out.pcap")


@pytest.mark.vcan
def test_can_logger_writes_pcap(tmp_path: Path) -> None:
    out = tmp_path / "bus.pcap"
    logger = subprocess.Popen(
        [sys.executable, "-m", "can.logger", "-i", "socketcan", "-c", "vcan0", "-f", str(out)],
        stdout=subprocess.DEVNULL,
    )
    seen: list[Frame] = []
    try:
        with can.Bus(interface="socketcan", channel="vcan0") as bus:
            deadline = time.monotonic() + 60
            while not (
                seen := [frame for frame in read(out) if frame.can_id == 0x6B7]
                if out.exists() and out.stat().st_size
                else []
            ):
                assert time.monotonic() < deadline
                for _ in range(400):  # its file is buffered
                    bus.send(can.Message(arbitration_id=0x6B7, is_extended_id=False, data=b"\x01\x02"), timeout=1)
                time.sleep(0.1)
    finally:
        logger.terminate()
        logger.wait(60)
    assert seen[0].data == b"\x01\x02"
