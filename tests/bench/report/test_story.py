"""`otabench trace --frames`: frames of the capture stand between the events of the trace, where they belong by time."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from otabench.bench.errors import BenchError
from otabench.bench.report import frame_story, story
from otabench.bench.report.frame_story import LoggedFrame
from otabench.bench.topology import addresses, bench_file
from otabench.proto import trace
from otabench.proto.isotp_address import FrameAddress
from otabench.proto.trace import TraceEvent
from tests.bench.report import small_run

NAMES = {FrameAddress(0x7E0): "-> engine", FrameAddress(0x7E8): "<- engine"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run.unpack(tmp_path_factory.mktemp("frames") / "run")


@pytest.fixture(scope="module")
def lines(run: Path) -> list[str]:
    events = list(trace.read(run / "traces" / "simulation_trace.jsonl"))
    job = story.last_job(events)
    assert job is not None
    return story.story(events, job, exchanges=True, frames=story.frames_of(run, events, job))


def words_of(frames: list[tuple[int, int, str]], names: Mapping[FrameAddress, str] = NAMES) -> list[str]:
    logged = [LoggedFrame(at_ns, "vcan0", can_id, bytes.fromhex(data)) for at_ns, can_id, data in frames]
    told = frame_story.tell(logged, names=names, offset_ns=0, first_ns=0, last_ns=10**9)
    return [line.words for line in told]


def test_cloud_gateway_ecus_exchanges_and_frames_are_one_story_in_order(lines: list[str]) -> None:
    moments = [float(line.split()[0]) for line in lines]
    assert moments == sorted(moments)
    components = {line.split()[2] for line in lines}
    assert {"cloud.control", "gateway", "ecu.engine", "ecu.adas", "can.powertrain"} <= components


def test_a_request_s_frame_comes_before_the_exchange_and_after_the_one_before(lines: list[str]) -> None:
    for ecu in ("engine", "adas"):
        frame = next(
            n for n, line in enumerate(lines) if f"-> {ecu}  first frame of" in line and "TransferData" in line
        )
        exchange = next(n for n, line in enumerate(lines) if f"{ecu}: TransferData" in line)
        download = next(n for n, line in enumerate(lines) if f"{ecu}: RequestDownload" in line)
        assert download < frame < exchange


def test_a_block_s_consecutive_frames_are_one_line(lines: list[str]) -> None:
    counts = [int(found[1]) for line in lines if (found := re.search(r"7E1 -> adas  (\d+) consecutive frames", line))]
    assert max(counts) == 585  # a block of 4095 bytes: 6 in the first frame, 7 in each other


def test_functional_requests_are_not_called_unanswered(lines: list[str]) -> None:
    assert any("7DF -> all ECUs  single frame: 10 03  DiagnosticSessionControl" in line for line in lines)
    assert any("DiagnosticSessionControl 1003 -> to all, not waited for" in line for line in lines)


def test_frame_kinds_of_iso_15765_2() -> None:
    assert words_of(
        [
            (1, 0x7E0, "0322F1A1CCCCCCCC"),
            (2, 0x7E8, "101F62F1A1000003"),
            (3, 0x7E0, "300814CCCCCCCCCC"),
            (4, 0x7E8, "2100000000000000"),
            (5, 0x7E8, "2200000000000000"),
            (6, 0x7E0, "3100000000000000"),
            (7, 0x7E8, "037F2231CCCCCCCC"),
            (8, 0x120, "0011"),
            (9, 0x7E0, "100000001000360A"),
        ]
    ) == [
        "7E0 -> engine  single frame: 22 F1 A1  ReadDataByIdentifier slotTable (OEM)",
        "7E8 <- engine  first frame of 31 bytes: 62 F1 A1 00 00 03",
        "7E0 -> engine  flow control: continue to send, block size 8, STmin 14",
        "7E8 <- engine  2 consecutive frames",
        "7E0 -> engine  flow control: wait, block size 0, STmin 00",
        "7E8 <- engine  single frame: 7F 22 31",
        "120 00 11",
        "7E0 -> engine  first frame of 4096 bytes: 36 0A  TransferData",
    ]


def test_with_extended_addressing_the_byte_in_front_says_whose_it_is() -> None:
    # given two ECUs behind one identifier of the tester
    names = {
        FrameAddress(0x6F1, 0x21): "-> engine",
        FrameAddress(0x6F1, 0x11): "-> adas",
        FrameAddress(0x6F1, 0x33): "-> all ECUs",
        FrameAddress(0x621, 0xF1): "<- engine",
    }
    assert words_of(
        [
            (1, 0x6F1, "33023E80CCCCCCCC"),
            (2, 0x6F1, "2110083601020304"),
            (3, 0x621, "F1300000CCCCCCCC"),
            (4, 0x6F1, "1122000000000000"),
            (5, 0x6F1, "2121050607080000"),
            (6, 0x6F1, "1123000000000000"),
            (7, 0x621, "F1037F3673CCCCCC"),
            (8, 0x6F1, "99023E80"),
            (9, 0x621, ""),
        ],
        names,
    ) == [
        "6F1 -> all ECUs  single frame: 3E 80  TesterPresent",
        "6F1 -> engine  first frame of 8 bytes: 36 01 02 03 04  TransferData",
        "621 <- engine  flow control: continue to send, block size 0, STmin 00",
        "6F1 -> adas  2 consecutive frames",
        "6F1 -> engine  1 consecutive frame",
        "621 <- engine  single frame: 7F 36 73",
        "6F1 99 02 3E 80",
        "621 ",
    ]


def test_a_bench_s_addresses_reach_the_story(run: Path, tmp_path: Path) -> None:
    # given a bench with normal fixed and extended addressing, and what its tester sends to all
    text = bench_file.default_text()
    for name, isotp in (
        (
            "engine",
            "request_id: 0x18DA10F1, response_id: 0x18DAF110, isotp: {addressing: normal_fixed, target_address: 0x10",
        ),
        (
            "adas",
            "request_id: 0x6F1, response_id: 0x611, functional_id: 0x6F1, isotp: {addressing: extended, target_address: 0x11",
        ),
    ):
        number = {"engine": "0", "adas": "1"}[name]
        text = text.replace(
            f"request_id: 0x7E{number}, response_id: 0x7E{8 + int(number):X}", isotp + ", source_address: 0xF1}"
        )
    entries = addresses.ecu_entries(bench_file.parse(text, name="x"))
    (tmp_path / "can").mkdir()
    (tmp_path / "bench.json").write_text(json.dumps({"ecus": entries}))
    (tmp_path / "can" / "powertrain.log").write_text(
        "(0000000000.000001) vcan0 18DB33F1#023E80\n(0000000000.000002) vcan0 18DA10F1#021003\n"
        "(0000000000.000003) vcan0 6F1#33023E80\n(0000000000.000004) vcan0 6F1#11021003\n(0000000000.000005) vcan0 611#F1025003\n"
    )
    events = [
        TraceEvent(1, n, f"1970-01-01T00:00:0{n}+00:00", n * 10**9, "gateway", "x", None, "job-1") for n in (0, 1)
    ]
    # then every frame has its party
    told = story.frames_of(tmp_path, events, "job-1")["powertrain"]
    assert [" ".join(line.words.split()[:4]) for line in told] == [
        "18DB33F1 -> all ECUs", "18DA10F1 -> engine single", "6F1 -> all ECUs", "6F1 -> adas single", "611 <- adas single"
    ]  # fmt: skip


def test_error_frames_are_told_by_their_classes() -> None:
    (line,) = frame_story.parse_log(["(0000000000.000001) can0 20000088#0000020000000000\n"])
    told = frame_story.tell([line], names={FrameAddress(0x088): "-> engine"}, offset_ns=0, first_ns=0, last_ns=10**9)
    assert [line.words for line in told] == ["error frame: protocol violation, bus error  00 00 02 00 00 00 00 00"]


@pytest.mark.parametrize("data", ["", "10", "30", "3000", "1000", "00", "F0", "40FF"])
def test_damaged_frames_are_told_as_they_are(data: str) -> None:
    (words,) = words_of([(1, 0x7E0, data)])
    assert words.startswith("7E0 -> engine")


def test_frames_outside_the_interval_are_left_out() -> None:
    frame = [LoggedFrame(at, "vcan0", 0x7E0, b"\x02\x10\x03") for at in (5, 15, 25)]
    told = frame_story.tell(frame, names=NAMES, offset_ns=0, first_ns=10, last_ns=20)
    assert [line.mono_ns for line in told] == [15]


def test_the_clock_is_set_by_the_median_so_that_one_late_stamp_does_not_matter() -> None:
    def event(ts: str, mono_ns: int) -> TraceEvent:
        return TraceEvent(1, 1, ts, mono_ns, "gateway", "x")

    day = "2026-11-23T14:00:"
    events = [
        event(f"{day}00.000001+00:00", 0),
        event(f"{day}01.000001+00:00", 10**9),
        event(f"{day}09+00:00", 2 * 10**9),
    ]
    offset_ns = frame_story.wall_to_mono_ns(events)
    assert 1_795_442_400_000_001_000 + offset_ns == pytest.approx(0, abs=1000)


def test_a_log_is_read_to_a_torn_last_line_and_a_foreign_line_is_told() -> None:
    good = "(1795440035.000001) vcan0 7E0#021003\n(1795440035.000002) vcan0 18DA00F1##13E80\n(1795440035.000003) can0 123#R\n"
    frames = list(frame_story.parse_log((good + "(17954400").splitlines(keepends=True)))
    assert [(frame.can_id, frame.data) for frame in frames] == [
        (0x7E0, b"\x02\x10\x03"),
        (0x18DA00F1, b"\x3e\x80"),
        (0x123, b""),
    ]
    with pytest.raises(ValueError, match="line 2 is none"):
        list(frame_story.parse_log(["(1795440035.000001) vcan0 7E0#021003\n", "hello\n"]))


def test_a_job_that_only_an_ecu_mentions_is_not_the_last_of_a_run(run: Path) -> None:
    # given: after the update, an attack sends an ECU Targets with a job id of its own
    events = list(trace.read(run / "traces" / "simulation_trace.jsonl"))
    job = story.last_job(events)
    of_ecu = next(event for event in events if event.component.startswith("ecu."))
    attacked = replace(of_ecu, job_id="job-attack")
    # then: the story is that of the update; without an update, it is that of what there is
    assert story.last_job([*events, attacked]) == job
    assert story.last_job([attacked]) == "job-attack"


def test_without_a_capture_it_is_said(run: Path, tmp_path: Path) -> None:
    events = list(trace.read(run / "traces" / "simulation_trace.jsonl"))
    job = story.last_job(events)
    assert job is not None
    with pytest.raises(BenchError, match="no capture there"):
        story.frames_of(tmp_path, events, job)


def test_a_version_report_tells_who_vouches_for_which_ecu() -> None:
    facts = {"signed": ["adas", "engine"], "reported_by_gateway": ["board"]}
    event = TraceEvent(1, 1, "", 0, "gateway", "vehicle.report", "V", "job-1", data=facts)
    (line,) = story.story([event], "job-1", exchanges=True)
    assert line.endswith("adas, engine signed by the ECU; board reported by the gateway")


def test_an_event_is_one_line_however_long_its_values_are() -> None:
    facts = {"why": "short", "certificate": "-----BEGIN-----\n" + "QUJD" * 500 + "\n-----END-----"}
    event = TraceEvent(1, 1, "", 0, "gateway", "driver.consent", "V", "job-1", data=facts)
    (line,) = story.story([event], "job-1")
    assert "why=short certificate=-----BEGIN----- QUJD" in line and line.endswith("… (2,030 characters)")
    assert "\n" not in line and len(line) < 300
