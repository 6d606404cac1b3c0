"""CAN captures: what is written is what was on the bus, readable by the usual tools, and nothing is lost at start and stop."""

from __future__ import annotations

import json
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import can
import pytest

from otabench.bench.bus import frame_bits
from otabench.bench.bus.frame import EFF_FLAG, EFF_MASK, FD_BRS, FD_ESI, FD_FDF, RTR_FLAG, Frame
from otabench.bench.captures import formats
from otabench.bench.captures.recorder import Recorder
from otabench.bench.captures.statistics import BusStatistics

T0_US = 1_795_440_035_000_001
FRAMES = [
    Frame(T0_US, 0x7E0, 0, bytes.fromhex("0210030000000000")),
    Frame(T0_US + 250, 0x7E8, 0, b""),
    Frame(T0_US + 1_000_000, 0x18DA00F1 | EFF_FLAG, 0, b"\x3e\x80"),
    Frame(T0_US + 1_000_500, 0x7E0, FD_FDF | FD_BRS, bytes(range(64))),
    Frame(T0_US + 1_000_900, 0x7E0, FD_FDF | FD_BRS | FD_ESI, bytes(12)),
    Frame(T0_US + 2_000_000, 0x123 | RTR_FLAG, 0, b""),
]


def recorded(folder: Path, frames: list[Frame]) -> Path:
    recorder = Recorder(folder / "bus", channel="vcan0", bitrate=500_000, data_bitrate=2_000_000)
    recorder.write(frames)
    recorder.close()
    return folder / "bus"


def test_python_can_reads_the_log_back(tmp_path: Path) -> None:
    log = recorded(tmp_path, FRAMES).with_suffix(".log")
    with can.LogReader(log) as reader:
        messages = list(reader)
    assert len(messages) == len(FRAMES)
    for message, frame in zip(messages, FRAMES, strict=True):
        assert message.arbitration_id == frame.can_id & EFF_MASK
        assert message.is_extended_id == bool(frame.can_id & EFF_FLAG)
        assert message.is_remote_frame == bool(frame.can_id & RTR_FLAG)
        assert bytes(message.data) == frame.data
        assert message.is_fd == bool(frame.flags & FD_FDF)
        assert message.bitrate_switch == bool(frame.flags & FD_BRS)
        assert message.error_state_indicator == bool(frame.flags & FD_ESI)
        assert message.timestamp == pytest.approx(frame.timestamp_us / 1e6, abs=1e-6)


def test_a_log_line_is_candump_s() -> None:
    lines = [formats.candump_line(frame, "vcan0") for frame in FRAMES]
    assert lines[0] == "(1795440035.000001) vcan0 7E0#0210030000000000\n"
    assert lines[2] == "(1795440036.000001) vcan0 18DA00F1#3E80\n"
    assert lines[3].startswith("(1795440036.000501) vcan0 7E0##1000102")
    assert lines[5].endswith("vcan0 123#R\n")


def test_pcap_bytes_are_those_of_link_type_227(tmp_path: Path) -> None:
    data = recorded(tmp_path, FRAMES).with_suffix(".pcap").read_bytes()
    assert struct.unpack_from("<IHHiIII", data) == (0xA1B2C3D4, 2, 4, 0, 0, 262_144, 227)
    offset, found = 24, []
    while offset < len(data):
        seconds, micros, captured, original = struct.unpack_from("<IIII", data, offset)
        can_id, length, flags = struct.unpack_from(">IBBxx", data, offset + 16)
        payload = data[offset + 24 : offset + 16 + captured]
        assert captured == original == 8 + length
        found.append(Frame(seconds * 1_000_000 + micros, can_id, flags, payload))
        offset += 16 + captured
    assert found == FRAMES


@pytest.mark.tshark
def test_wireshark_reads_the_pcap(tmp_path: Path) -> None:
    pcap = recorded(tmp_path, FRAMES).with_suffix(".pcap")
    tshark = shutil.which("tshark")
    assert tshark is not None
    rows = subprocess.run(
        [tshark, "-r", str(pcap), "-T", "fields", "-e", "can.id", "-e", "can.len", "-e", "canfd.flags.brs"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    seen = [(int(row.split("\t")[0], 0), int(row.split("\t")[1] or 0)) for row in rows]
    assert seen == [(frame.can_id & EFF_MASK, len(frame.data)) for frame in FRAMES]


def test_bits_are_counted_by_identifier_and_by_time() -> None:
    statistics = BusStatistics(bitrate=500_000, data_bitrate=500_000)
    flash = [Frame(T0_US + 200 * number, 0x7E0, 0, bytes([0x20 | number % 16]) + bytes(7)) for number in range(10)]
    answer = Frame(T0_US + 5_000_000, 0x7E8, 0, bytes([0x30]) + bytes(7))
    for frame in [*flash, answer]:
        statistics.count(frame)
    expected = sum(frame_bits.classic_frame_bits(0x7E0, frame.data) for frame in flash)
    assert statistics.by_id[0x7E0].consecutive_frames == 10
    assert statistics.by_id[0x7E0].consecutive_bits == expected
    assert statistics.by_id[0x7E8].consecutive_frames == 0
    assert statistics.bits == expected + frame_bits.classic_frame_bits(0x7E8, answer.data)
    bin_start = T0_US // 100_000 / 10
    assert statistics.bits_between(bin_start, bin_start + 1) == pytest.approx(expected)
    assert statistics.bits_between(bin_start + 0.05, bin_start + 1) == pytest.approx(expected / 2, rel=1e-4)
    assert BusStatistics.from_json(statistics.to_json()) == statistics


def test_with_extended_addressing_frames_are_counted_by_the_byte_in_front() -> None:
    # given full consecutive frames to two ECUs on one identifier, frames that only look like one, and one without an address
    statistics = BusStatistics(bitrate=500_000, data_bitrate=500_000, extended_ids=(0x6F1,))
    to_engine = [Frame(T0_US, 0x6F1, 0, bytes((0x21, 0x20 | number)) + bytes(6)) for number in range(3)]
    to_adas = [Frame(T0_US, 0x6F1, 0, bytes((0x11, 0x21)) + bytes(6))]
    others = [Frame(T0_US, 0x6F1, 0, bytes((0x21, 0x10, 0x08, 0x36)) + bytes(4)), Frame(T0_US, 0x6F1, 0, b"")]
    for frame in to_engine + to_adas + others:
        statistics.count(frame)
    # then each ECU has its own, and the identifier all of them
    engine, adas, both = (statistics.of(0x6F1, extension) for extension in (0x21, 0x11, None))
    assert engine is not None and adas is not None and both is not None
    assert (engine.frames, engine.consecutive_frames) == (4, 3)
    assert engine.consecutive_bits == sum(frame_bits.classic_frame_bits(0x6F1, frame.data) for frame in to_engine)
    assert (adas.frames, adas.consecutive_frames, adas.bits) == (1, 1, sum(adas.bins.values()))
    assert (both.frames, both.consecutive_frames) == (6, 4)
    assert statistics.of(0x6F1, 0x33) is None and statistics.of(0x7E0, None) is None
    assert BusStatistics.from_json(statistics.to_json()) == statistics


def test_the_fast_phase_of_fd_frames_counts_by_the_ratio_of_the_rates() -> None:
    slow, fast = (BusStatistics(bitrate=500_000, data_bitrate=rate) for rate in (500_000, 2_000_000))
    for statistics in (slow, fast):
        statistics.count(FRAMES[3])
    parts = frame_bits.fd_frame_bits(0x7E0, FRAMES[3].data)
    assert slow.bits == parts.total
    assert fast.bits == parts.nominal + round(parts.data / 4)


@contextmanager
def capturing(out: Path, arguments: dict[str, Any]) -> Iterator[None]:
    told = {"can": arguments, "bitrate": 500_000, "data_bitrate": 500_000}
    process = subprocess.Popen(
        [sys.executable, "-m", "otabench.bench.captures.recorder", "--bus", json.dumps(told), "--out", str(out)],
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 60
        while not out.with_name(out.name + ".pcap").exists():
            assert process.poll() is None, process.communicate()[1].decode()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.vcan
def test_no_frame_is_lost_between_ready_and_the_last_before_the_stop(tmp_path: Path) -> None:
    source = random.Random(1)
    sent = [source.randbytes(8) for _ in range(3000)]
    arguments: dict[str, Any] = {"interface": "socketcan", "channel": "vcan0", "fd": True}
    with can.Bus(**arguments) as bus, capturing(tmp_path / "bus", arguments):
        for data in sent:
            bus.send(can.Message(arbitration_id=0x6A1, is_extended_id=False, data=data), timeout=1)
        bus.send(can.Message(arbitration_id=0x6A1, is_extended_id=False, is_fd=True, data=bytes(64)), timeout=1)
    with can.LogReader(tmp_path / "bus.log") as reader:
        seen = [message for message in reader if message.arbitration_id == 0x6A1]
    assert [bytes(message.data) for message in seen] == [*sent, bytes(64)]
    assert seen[-1].is_fd
    times = [message.timestamp for message in seen]
    assert times == sorted(times)
    assert abs(times[-1] - time.time()) < 60
    statistics = BusStatistics.from_json((tmp_path / "bus.stats.json").read_text())
    assert statistics.lost_frames == 0
    assert statistics.by_id[0x6A1].frames == 3001


@pytest.mark.vcan
def test_error_frames_are_captured_and_counted_but_are_no_frames_on_the_line(tmp_path: Path) -> None:
    # given a data frame between two errors that the kernel tells: a form error, and bus-off
    arguments: dict[str, Any] = {"interface": "socketcan", "channel": "vcan0"}
    form, off = (0x088, bytes.fromhex("0000020000000000")), (0x040, bytes(8))
    with can.Bus(**arguments) as bus, capturing(tmp_path / "bus", arguments):
        for can_id, data in (form, off):
            bus.send(can.Message(arbitration_id=can_id, is_extended_id=False, is_error_frame=True, data=data))
            bus.send(can.Message(arbitration_id=0x088, is_extended_id=False, data=b"\x01"))
    # when the files are read, then log and pcap have them where they came
    lines = [line.split()[2] for line in (tmp_path / "bus.log").read_text().splitlines()]
    assert lines == ["20000088#0000020000000000", "088#01", "20000040#0000000000000000", "088#01"]
    with can.LogReader(tmp_path / "bus.pcap") as reader:
        told = [(message.is_error_frame, message.arbitration_id, bytes(message.data)) for message in reader]
    assert told == [(True, *form), (False, 0x088, b"\x01"), (True, *off), (False, 0x088, b"\x01")]
    # and they are no load, and no frames of an identifier that is as their class
    statistics = BusStatistics.from_json((tmp_path / "bus.stats.json").read_text())
    data_bits = frame_bits.classic_frame_bits(0x088, b"\x01")
    assert (statistics.error_frames, statistics.frames, statistics.bits) == (2, 2, 2 * data_bits)
    assert list(statistics.by_id) == [0x088] and statistics.by_id[0x088].frames == 2
    assert sum(statistics.bins.values()) == 2 * data_bits


@pytest.mark.vcan
def test_an_interface_that_is_not_there_is_named(tmp_path: Path) -> None:
    told = {"can": {"interface": "socketcan", "channel": "vcan77"}, "bitrate": 500_000, "data_bitrate": 500_000}
    done = subprocess.run(
        [sys.executable, "-m", "otabench.bench.captures.recorder", "--bus", json.dumps(told), "--out", str(tmp_path / "x")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("captures: vcan77 cannot be opened: ")
    assert len(done.stderr.splitlines()) == 1
