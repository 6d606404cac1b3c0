"""Nothing is lost silently: what a format cannot hold is refused or counted by its name, and other tools read the files right."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import can
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from otabench.bench.bus.frame import EFF_FLAG, ERR_FLAG, FD_BRS, FD_ESI, FD_FDF, RTR_FLAG, Frame
from otabench.bench.captures.convert import convert
from otabench.bench.captures.file_formats import WRITABLE, FrameKind, kind_of
from otabench.bench.captures.formats import candump_line, parse_candump_line
from otabench.bench.captures.pcap import PcapReader, message_of
from otabench.bench.captures.statistics import BusStatistics
from otabench.bench.cli.app import app
from otabench.bench.errors import BenchError
from tests.needs import needs

T0_US = 1_795_577_836_725_839
ALL_KINDS = """\
(1795577836.725839) can0 123#11
(1795577836.726000) can0 7E8#
(1795577836.726100) can0 18DA00F1#0102
(1795577836.726200) can0 123#R
(1795577836.726300) can0 123#R4
(1795577836.726339) can0 7E8##1AABB
(1795577836.726400) can0 7E8##00102030405060708
(1795577837.726420) can0 7E8##3000102030405060708090A0B
(1795577837.726430) can0 7E8##0
(1795577837.726439) can0 20000004#0004000000000000
"""
NOT_HELD = {
    ".trc": "3 CAN FD frames, 1 CAN FD frame without data, 1 error frame, 2 remote frames",
    ".csv": "3 CAN FD frames, 1 CAN FD frame without data",
    ".asc": "1 CAN FD frame without data, 1 error frame",
}


def log(folder: Path, text: str, name: str = "in.log") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def held_lines(suffix: str) -> list[str]:
    """Return the lines of ALL_KINDS that a format holds."""
    return [
        line
        for line in ALL_KINDS.splitlines()
        if kind_of(message_of(parse_candump_line(line)[1])) in WRITABLE[suffix].holds
    ]


@pytest.mark.parametrize("suffix", WRITABLE)
def test_what_a_format_cannot_hold_is_refused_and_left_out_only_when_asked(suffix: str, tmp_path: Path) -> None:
    source, target = log(tmp_path, ALL_KINDS), tmp_path / f"out{suffix}"
    said: list[str] = []
    if suffix in NOT_HELD:
        target.write_text("an older file")
        with pytest.raises(BenchError) as caught:
            convert(source, target)
        assert (
            f"{NOT_HELD[suffix]} cannot be held by {suffix} files; use .log, .pcap, .pcapng, .blf, or --lossy"
            in str(caught.value)
        )
        assert target.read_text() == "an older file"
    count = convert(source, target, lossy=True, say=said.append)
    assert (count, [each for each in said if "left out" in each] != []) == (len(held_lines(suffix)), suffix in NOT_HELD)
    assert all(NOT_HELD.get(suffix, "") in each for each in said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.log", f"out{suffix}"]
    assert convert(target, tmp_path / "back.log") == count
    assert (tmp_path / "back.log").read_text().splitlines() == held_lines(suffix)


TIMES = st.integers(0, 4_000_000_000_000_000)
CLASSIC = st.builds(
    Frame,
    TIMES,
    st.integers(0, 0x7FF) | st.integers(0, 0x1FFF_FFFF).map(lambda each: each | EFF_FLAG),
    st.just(0),
    st.binary(max_size=8),
)
REMOTE = st.builds(
    Frame, TIMES, st.integers(0, 0x7FF).map(lambda each: each | RTR_FLAG), st.just(0), st.integers(0, 8).map(bytes)
)
ERROR = st.builds(
    Frame, TIMES, st.integers(1, 0x3FF).map(lambda each: each | ERR_FLAG), st.just(0), st.binary(min_size=8, max_size=8)
)
FD = st.builds(
    Frame,
    TIMES,
    st.integers(0, 0x7FF),
    st.sampled_from([FD_FDF, FD_FDF | FD_BRS, FD_FDF | FD_ESI, FD_FDF | FD_BRS | FD_ESI]),
    st.sampled_from([*range(9), 12, 16, 20, 24, 32, 48, 64]).flatmap(
        lambda size: st.binary(min_size=size, max_size=size)
    ),
)


@given(CLASSIC | REMOTE | ERROR | FD, st.sampled_from(["can0", "vcan12", "ü"]))
def test_a_log_line_is_read_as_the_frame_it_was_written_from(frame: Frame, channel: str) -> None:
    assert parse_candump_line(candump_line(frame, channel)) == (channel, frame)


@pytest.mark.parametrize(
    "line",
    [
        "(1.000001) can0 123#" + "AB" * 9,
        "(1.000001) can0 123##0" + "AB" * 65,
        "(1.000001) can0 FFF#11",
        "(1.000001) can0 123#R9",
        "(1.000001) can0 123#1",
    ],
)
def test_a_frame_that_cannot_be_is_not_read(line: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_candump_line(line)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("(1.000001) can0 123#1122 R", "123#1122"),
        ("(1.000001) can0 123#1122 T", "123#1122"),
        ("(1.000001002)  can0  123#11.22", "123#1122"),
        ("(1.000001) can0 123#1122334455667788_E", "123#1122334455667788"),
        ("(1.000001) can0 123#r4", "123#R4"),
    ],
)
def test_the_other_ways_in_which_candump_and_python_can_write_are_read(line: str, expected: str) -> None:
    channel, frame = parse_candump_line(line)
    assert candump_line(frame, channel) == f"(0000000001.000001) can0 {expected}\n"


def test_comments_and_blank_lines_of_a_log_are_skipped(tmp_path: Path) -> None:
    source = log(
        tmp_path,
        "\ufeff# engine off, M\u00fcller\n(1.000001) can0 123#00\n\n  \t\n#(1.5) no\r\n(1.000002) can0 123#00\r\n",
    )
    assert convert(source, tmp_path / "out.log") == 2
    assert (tmp_path / "out.log").read_text() == "(0000000001.000001) can0 123#00\n(0000000001.000002) can0 123#00\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  can0  123   [2]  11 22", "line 2 is none of candump's log format, but of what it shows on a screen"),
        ("(1.000002) can0 45123#81:00:12345678#11", "line 2 is none of candump's log format, but of CAN XL"),
    ],
)
def test_other_output_of_candump_is_named(line: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=expected):
        convert(log(tmp_path, f"(1.000001) can0 123#00\n{line}\n"), tmp_path / "out.pcap")


def test_channels_and_directions_that_a_format_does_not_have_are_named(tmp_path: Path) -> None:
    source = log(tmp_path, "(1.000001) vcan0 001#\n(1.000002) vcan1 002# T\n(1.000003) body 003#\n")
    said: list[str] = []
    convert(source, tmp_path / "x.pcap", say=said.append)
    assert said == [
        "pcap has no channels: those of body, vcan0, vcan1 are not told apart any more",
        "pcap has no directions: 1 of the frames was marked as sent",
    ]
    said.clear()
    convert(source, tmp_path / "x.blf", say=said.append)
    assert said == [
        "BLF has numbers for channels: body is 3, vcan0 is 1, vcan1 is 2",
        "it cannot hold these dates: all times are 1.000 s earlier, the intervals are kept",
    ]
    said.clear()
    convert(source, tmp_path / "x.pcapng", say=said.append)
    assert said == []
    convert(tmp_path / "x.pcapng", tmp_path / "back.log")
    assert [line.split()[1] for line in (tmp_path / "back.log").read_text().splitlines()] == ["vcan0", "vcan1", "body"]
    with PcapReader(tmp_path / "x.pcapng") as reader:
        assert [message.is_rx for message in reader] == [True, False, True]
    for suffix in (".asc", ".blf", ".trc"):
        convert(source, tmp_path / f"x{suffix}")
        convert(tmp_path / f"x{suffix}", tmp_path / "back.log")
        assert [line.split()[1] for line in (tmp_path / "back.log").read_text().splitlines()] == [
            "can0",
            "can1",
            "can2",
        ]
        with can.LogReader(tmp_path / f"x{suffix}") as reader:
            assert [message.is_rx for message in reader] == [True, False, True]


def test_the_command_counts_what_is_in_the_file(tmp_path: Path) -> None:
    source, target = str(log(tmp_path, ALL_KINDS)), str(tmp_path / "out.trc")
    refused = CliRunner().invoke(app, ["capture", "convert", source, target])
    assert isinstance(refused.exception, BenchError) and "--lossy" in str(refused.exception)
    done = CliRunner().invoke(app, ["capture", "convert", "--lossy", source, target])
    assert done.stdout.splitlines() == [
        f"{target}: 3 frames",
        f"{target}: left out, because TRC cannot hold it: {NOT_HELD['.trc']}",
    ]


def test_a_remote_frame_takes_no_data_on_the_line() -> None:
    counted = [BusStatistics(bitrate=500_000, data_bitrate=500_000) for _ in range(2)]
    for statistics, dlc in zip(counted, (0, 8), strict=True):
        statistics.count(Frame(T0_US, 0x123 | RTR_FLAG, 0, bytes(dlc)))
    assert counted[0].data_bytes == counted[1].data_bytes == 0
    assert abs(counted[0].bits - counted[1].bits) <= 4  # stuff bits of another DLC


def run(*command: str | Path) -> str:
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


CAN_UTILS = needs(shutil.which("log2asc") and shutil.which("asc2log"), "can-utils is missing: setup/packages.sh")


@CAN_UTILS
def test_asc_of_can_utils_is_read_and_ours_is_read_by_it(tmp_path: Path) -> None:
    held = "".join(f"{line}\n" for line in held_lines(".asc"))
    source = log(tmp_path, held)
    run("log2asc", "-I", source, "-O", tmp_path / "theirs.asc", "can0")
    convert(tmp_path / "theirs.asc", tmp_path / "theirs.log")
    convert(source, tmp_path / "ours.asc")
    read_by_them = run("asc2log", "-I", tmp_path / "ours.asc").splitlines()
    expected = [line.split()[2] for line in held.splitlines()]
    assert [line.split()[2] for line in (tmp_path / "theirs.log").read_text().splitlines()] == expected
    assert [line.split()[2] for line in read_by_them if line] == expected
    times = [round(float(line.split()[0].strip("()")) * 1e6) for line in read_by_them if line]
    assert [each - times[0] for each in times] == [
        round(float(line.split()[0].strip("()")) * 1e6) - T0_US for line in held.splitlines()
    ]


@pytest.mark.tshark
@pytest.mark.parametrize("form", ["pcapng", "nsecpcap", "pcap"])
def test_what_wireshark_s_tools_write_is_read(form: str, tmp_path: Path) -> None:
    source = log(tmp_path, ALL_KINDS)
    convert(source, tmp_path / "ours.pcap")
    suffix = ".pcapng" if form == "pcapng" else ".pcap"
    for theirs, original in (
        ("from-pcap", tmp_path / "ours.pcap"),
        ("from-log", source),
    ):  # a log becomes link type 252
        run("editcap", "-F", form, original, tmp_path / f"{theirs}{suffix}")
        assert convert(tmp_path / f"{theirs}{suffix}", tmp_path / "back.log") == len(ALL_KINDS.splitlines())
        assert (tmp_path / "back.log").read_text() == ALL_KINDS


@pytest.mark.tshark
@pytest.mark.parametrize("suffix", [".log", ".pcap", ".pcapng"])
def test_wireshark_reads_ours_as_it_was(suffix: str, tmp_path: Path) -> None:
    convert(log(tmp_path, ALL_KINDS), tmp_path / f"x{suffix}")
    fields = ("frame.time_epoch", "can.id", "can.len", "can.flags.rtr", "can.flags.err")
    shown = run(
        "tshark", "-r", tmp_path / f"x{suffix}", "-T", "fields", *(part for field in fields for part in ("-e", field))
    )
    rows = [line.split("\t") for line in shown.splitlines()]
    assert [row[0][:17] for row in rows] == [line[1:18] for line in ALL_KINDS.splitlines()]
    assert [row[1] for row in rows[:9]] == [
        "291",
        "2024",
        str(0x18DA00F1),
        "291",
        "291",
        "2024",
        "2024",
        "2024",
        "2024",
    ]
    assert rows[3][3] == rows[4][3] == "1" and rows[4][2] == "4" and rows[9][4] == "1"


@pytest.mark.tshark
def test_wireshark_reads_channels_and_directions_of_our_pcapng(tmp_path: Path) -> None:
    convert(log(tmp_path, "(1.000001) vcan0 001#\n(1.000002) body 002# T\n"), tmp_path / "x.pcapng")
    fields = ("-T", "fields", "-e", "frame.interface_name", "-e", "frame.packet_flags_direction")
    rows = [line.split("\t") for line in run("tshark", "-r", tmp_path / "x.pcapng", *fields).splitlines()]
    assert [(name, int(direction, 0)) for name, direction in rows] == [("vcan0", 1), ("body", 2)]


@pytest.mark.parametrize("kind", FrameKind)
def test_every_kind_of_frame_is_in_the_test_file(kind: FrameKind) -> None:
    assert kind in [kind_of(message_of(parse_candump_line(line)[1])) for line in ALL_KINDS.splitlines()]


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Return a file with a byte changed, cut short, or with bytes put in."""
    place = chance.randrange(len(data))
    ends = (
        data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :],
        data[:place],
        data[:place] + chance.randbytes(4) + data[place:],
    )
    return chance.choice(ends)


@pytest.mark.parametrize("suffix", WRITABLE)
def test_a_damaged_capture_ends_in_its_frames_or_in_a_sentence(suffix: str, tmp_path: Path) -> None:
    chance = random.Random(suffix)
    convert(log(tmp_path, ALL_KINDS), tmp_path / f"whole{suffix}", lossy=True)
    whole, source = (tmp_path / f"whole{suffix}").read_bytes(), tmp_path / f"damaged{suffix}"
    refused = 0
    for _ in range(25):
        source.write_bytes(damaged(whole, chance))
        try:
            convert(source, tmp_path / "out.log")
        except BenchError as error:
            assert str(error).startswith(f"{source}: ")
            refused += 1
    assert refused
