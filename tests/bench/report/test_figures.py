"""The report's figures from a recorded update: full images on vcan0 paced to 500 kbit/s."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from otabench.bench.bus import pacing
from otabench.bench.bus.canline import LineCounters
from otabench.bench.bus.pacing import Pacing
from otabench.bench.captures.statistics import BusStatistics, IdStatistics
from otabench.bench.clients.job_watch import JobView, JobWatch
from otabench.bench.report import figures, story
from otabench.bench.report import text as report_view
from otabench.bench.report.figures import EcuReport, Report
from otabench.bench.topology import bench_file
from otabench.bench.topology.model import Topology
from otabench.proto import trace
from otabench.proto.job_states import JobState

RECORDED = Path(__file__).parent / "data" / "full_update.trace.jsonl"
JOB = "job-471d6e2ccfb4"
BENCH = bench_file.load()
BUS = BusStatistics(
    bitrate=500_000,
    data_bitrate=500_000,
    frames=114_062,
    data_bytes=912_496,
    bits=13_214_525,
    by_id={
        0x7E0: IdStatistics(37_910, 303_280, 4_417_274, 37_761, 4_399_797),
        0x7E1: IdStatistics(75_443, 603_544, 8_713_946, 75_229, 8_689_073),
    },
)
LINE = LineCounters(114_063, 13_214_641, 0, 26.429282, 0.512, 0)
IMAGES = {"engine": 262_852, "adas": 524_996}


def state(version: str, slot: str = "CONFIRMED") -> EcuReport:
    return EcuReport(version=version, state=slot, active_slot=0, slots=(f"{slot} {version}", "EMPTY"))


def job_in(state_: JobState, reason: str = "") -> JobView:
    return JobView("job-1", state_, reason, [state_])


PACED = {"powertrain": Pacing(True, 500_000, 115.8, pacing.EXACT)}
UNPACED = {"powertrain": Pacing(False, 500_000, 115.8, reason="not asked for")}


def transfers() -> tuple[figures.TransferReport, ...]:
    return figures.transfers(
        list(trace.read(RECORDED)),
        JOB,
        topology=BENCH,
        statistics={"powertrain": BUS},
        full_image_bytes=IMAGES,
        pacings=PACED,
    )


def whole_report() -> Report:
    return Report(
        result="SUCCEEDED",
        exit_status=0,
        reason="",
        vin=BENCH.vehicle.vin,
        job_id=JOB,
        campaign_id="campaign-1",
        target_version="2.0.0",
        transfer_policy="full",
        kernel_can=True,
        faults=(),
        duration_s=62.4,
        phases=figures.phases(list(trace.read(RECORDED)), JOB),
        before={"engine": state("1.0.0"), "adas": state("1.0.0")},
        after={"engine": state("2.0.0"), "adas": state("2.0.0")},
        transfers=transfers(),
        buses=figures.bus_reports(
            BENCH,
            {"powertrain": BUS},
            PACED,
            lines={"powertrain": LINE},
        ),
        files={"report": "runs/x/report.txt"},
        notes=("the cloud has the job as INSTALLING",),
        dtcs={"engine": ("P0602-00 an image was refused: wrong signature",), "adas": ()},
    )


def test_phases_last_from_the_gateway_s_state_to_its_next() -> None:
    phases = dict(figures.phases(list(trace.read(RECORDED)), JOB))
    assert list(phases) == [
        "CONFIRMING", "WAITING_FOR_APPROVAL", "DOWNLOADING", "INSTALLING", "ACTIVATING", "VERIFYING"
    ]  # fmt: skip
    assert phases["INSTALLING"] == pytest.approx(28.26, abs=0.01)


def test_metadata_is_no_firmware_transfer() -> None:
    assert [(entry.ecu, entry.kind, entry.bytes) for entry in transfers()] == [
        ("adas", "full", 524_996),
        ("engine", "full", 262_852),
    ]


def test_the_limit_is_the_line_s_for_the_frames_that_were_captured() -> None:
    adas = transfers()[0]
    mean_bits = 8_689_073 / 75_229
    assert adas.limit_bytes_per_s == pytest.approx(500_000 / mean_bits * 7)
    assert adas.share_of_limit == pytest.approx(28_162.9 / (500_000 / mean_bits * 7))
    assert adas.share_of_limit is not None
    assert 0.9 < adas.share_of_limit < 1.0


def extended_bench() -> Topology:
    isotp = ", isotp: {addressing: extended, source_address: 0xF1, target_address: "
    text = bench_file.default_text()
    for old, new, address in (("0x7E0, response_id: 0x7E8", "0x6F1, response_id: 0x612", "0x12}"),
                              ("0x7E1, response_id: 0x7E9", "0x6F1, response_id: 0x611", "0x11}")):  # fmt: skip
        text = text.replace(old, new + ", functional_id: 0x6F1" + isotp + address)
    return bench_file.parse(text, name="x")


def test_with_extended_addressing_the_limit_is_of_the_ecu_s_own_frames_and_their_payload() -> None:
    bench = extended_bench()
    bus = BusStatistics(bitrate=500_000, data_bitrate=500_000, extended_ids=(0x6F1,))
    bus.by_id[0x6F1] = IdStatistics(0, 0, 0, 400, 400 * 120)
    bus.by_extension[(0x6F1, 0x12)] = IdStatistics(0, 0, 0, 100, 100 * 111)
    bus.by_extension[(0x6F1, 0x11)] = IdStatistics(0, 0, 0, 300, 300 * 123)
    (adas, engine) = figures.transfers(
        list(trace.read(RECORDED)),
        JOB,
        topology=bench,
        statistics={"powertrain": bus},
        full_image_bytes={},
        pacings=PACED,
    )
    assert engine.limit_bytes_per_s == pytest.approx(500_000 / 111 * 6)
    assert adas.limit_bytes_per_s == pytest.approx(500_000 / 123 * 6)
    buses = figures.bus_reports(bench, {"powertrain": bus}, PACED, lines={})
    assert buses["powertrain"].payload_limit_bytes_per_s == pytest.approx(500_000 / 120 * 6)
    text = report_view.as_text(replace(whole_report(), buses=buses))
    assert "500 kbit/s / 120.0 bits x 6 bytes" in " ".join(text.split())


def test_bus_load_is_the_bits_of_the_transfer_s_own_time() -> None:
    event = next(
        event for event in trace.read(RECORDED) if event.event == "flash.transfer" and event.data["kind"] == "full"
    )
    end_key = int(datetime.fromisoformat(event.ts).timestamp() * 10)
    bus = BusStatistics(bitrate=500_000, data_bitrate=500_000, bins={end_key - 5: 50_000, end_key + 50: 50_000})
    (adas, _) = figures.transfers(
        [event, event], JOB, topology=BENCH, statistics={"powertrain": bus}, full_image_bytes={}, pacings=PACED
    )
    assert adas.bus_load == pytest.approx(50_000 / (500_000 * event.data["duration_s"]))
    assert adas.limit_bytes_per_s is None


def without_wires() -> Topology:
    return BENCH.without_kernel_can(udp_ports=[43113])


@pytest.mark.parametrize(("bench", "pacings"), [(BENCH, UNPACED), (BENCH, {}), (without_wires(), UNPACED)])
def test_a_bus_that_nothing_paces_has_no_limit_and_no_load(bench: Topology, pacings: dict[str, Pacing]) -> None:
    """Nothing keeps its bit rate, so that an update over UDP multicast came to 168 percent of the line's limit."""
    adas, _ = figures.transfers(
        list(trace.read(RECORDED)),
        JOB,
        topology=bench,
        statistics={"powertrain": BUS},
        full_image_bytes=IMAGES,
        pacings=pacings,
    )
    assert adas.bytes_per_s > 0
    assert (adas.limit_bytes_per_s, adas.share_of_limit, adas.bus_load) == (None, None, None)
    buses = figures.bus_reports(bench, {"powertrain": BUS}, pacings, lines={})
    assert buses["powertrain"].payload_limit_bytes_per_s is None
    text = report_view.as_text(replace(whole_report(), buses=buses, transfers=(adas,)))
    assert "Nothing paces these buses, so they have no limit and no load: powertrain" in " ".join(text.split())


def test_a_real_bus_is_its_own_line() -> None:
    real = bench_file.parse(bench_file.default_text().replace("vcan0", "can0"), name="x")
    buses = figures.bus_reports(real, {"powertrain": BUS}, UNPACED, lines={})
    assert buses["powertrain"].payload_limit_bytes_per_s is not None
    text = report_view.as_text(replace(whole_report(), buses=buses))
    assert "Nothing paces" not in text


def test_without_a_capture_no_limit_is_made_up() -> None:
    (adas, _) = figures.transfers(
        list(trace.read(RECORDED)), JOB, topology=BENCH, statistics={}, full_image_bytes=IMAGES, pacings=PACED
    )
    assert (adas.limit_bytes_per_s, adas.share_of_limit, adas.bus_load) == (None, None, None)


@pytest.mark.parametrize(
    ("job", "after", "expected"),
    [
        (job_in(JobState.SUCCEEDED), {"engine": state("2.0.0"), "adas": state("2.0.0")}, ("SUCCEEDED", 0)),
        (job_in(JobState.SUCCEEDED), {"engine": state("2.0.0"), "adas": state("2.0.0", "TRIAL")}, ("SUCCEEDED", 1)),
        (job_in(JobState.SUCCEEDED), {"engine": state("2.0.0"), "adas": state("1.0.0")}, ("SUCCEEDED", 1)),
        (job_in(JobState.SUCCEEDED), {"engine": state("2.0.0")}, ("SUCCEEDED", 1)),
        (job_in(JobState.ROLLED_BACK), {}, ("ROLLED_BACK", 3)),
        (job_in(JobState.FAILED), {}, ("FAILED", 4)),
        (job_in(JobState.REJECTED), {}, ("REJECTED", 5)),
        (job_in(JobState.CANCELED), {}, ("CANCELED", 6)),
        (job_in(JobState.TIMED_OUT), {}, ("TIMED_OUT", 6)),
        (job_in(JobState.INSTALLING), {}, ("INSTALLING", 1)),
        (None, {}, ("NONE", 1)),
    ],
)
def test_the_exit_status_is_the_contract_s(
    job: JobView | None, after: dict[str, EcuReport], expected: tuple[str, int]
) -> None:
    result, status, reason = figures.verdict(
        job, after, ecus=["engine", "adas"], targets={"engine": "2.0.0", "adas": "2.0.0"}
    )
    assert (result, status) == expected
    assert status != 1 or reason


def test_every_end_of_a_job_has_an_exit_status() -> None:
    from otabench.proto.job_states import FINAL_STATES

    assert set(figures.EXIT_STATUS) == FINAL_STATES


def test_the_text_states_both_figures_and_how_the_limit_is_computed() -> None:
    text = report_view.as_text(whole_report())
    assert "SUCCEEDED" in text
    assert "27.50 KiB/s" in text and "29.59 KiB/s" in text and "92.9 %" in text
    assert "mean length in bits of the captured full consecutive frames" in text
    assert "500 kbit/s / 115.8 bits x 7 bytes" in " ".join(text.split())
    assert "the cloud has the job as INSTALLING" in text
    assert "engine: P0602-00 an image was refused: wrong signature" in text
    assert "…" not in text
    assert "\x1b" not in text


def test_the_text_says_how_a_bus_is_paced_and_what_its_line_counted() -> None:
    text = report_view.as_text(whole_report())
    assert "paced, exact" in text
    line = "The line of vcan0 carried 114,063 frames in 26.43 s (13.21 Mbit); frames dropped by a full queue: 0; "
    line += "time lost because this machine was late: 0.51 s"
    assert line in " ".join(text.split())


def test_the_text_has_a_bus_s_error_frames() -> None:
    sick = replace(BUS, error_frames=4711)
    buses = figures.bus_reports(BENCH, {"powertrain": sick}, {}, lines={})
    text = report_view.as_text(replace(whole_report(), buses=buses))
    assert "The controller of vcan0 reported 4,711 error frames; `otabench doctor` explains them" in text
    assert "error frames" not in report_view.as_text(whole_report())


def test_a_bus_paced_by_the_mean_says_so_and_has_no_line() -> None:
    by_mean = Pacing(True, 500_000, 115.8, pacing.MEAN, 552_677, pacing.NO_CANLINE)
    buses = figures.bus_reports(BENCH, {"powertrain": BUS}, {"powertrain": by_mean}, lines={"powertrain": None})
    text = report_view.as_text(replace(whole_report(), buses=buses))
    assert "paced, mean frame length" in text
    assert "The line of" not in text


def test_trouble_codes_are_the_last_that_were_read_after_the_job() -> None:
    def read(at_ns: int, ecu: str, *codes: str) -> trace.TraceEvent:
        return trace.TraceEvent(1, 1, "", at_ns, "gateway", "ecu.dtcs", ecu=ecu, data={"dtcs": list(codes)})

    events = [read(1, "engine", "of the job before"), read(5, "engine", "P0602-00"), read(6, "adas")]
    assert figures.dtcs(events, since_ns=2) == {"engine": ("P0602-00",), "adas": ()}


def test_report_json_holds_the_same_figures() -> None:
    content = json.loads(whole_report().to_json())
    assert content["exit_status"] == 0
    assert content["after"]["engine"]["version"] == "2.0.0"
    assert content["transfers"][0]["share_of_limit"] == pytest.approx(0.929, abs=0.001)
    assert content["phases"][0]["state"] == "CONFIRMING"
    assert "mean length in bits" in content["limit_is"]


def test_a_job_is_followed_in_a_trace_that_grows(tmp_path: Path) -> None:
    growing = tmp_path / "trace.jsonl"
    watch = JobWatch(growing)
    watch.update()
    assert watch.latest is None
    lines = RECORDED.read_bytes().splitlines(keepends=True)
    with growing.open("ab") as out:
        out.write(b"".join(lines[:6]) + lines[6][:40])
    watch.update()
    assert watch.latest is not None
    assert watch.latest.state is JobState.WAITING_FOR_APPROVAL
    with growing.open("ab") as out:
        out.write(lines[6][40:] + b"".join(lines[7:]))
    watch.update()
    assert watch.jobs[JOB].state is JobState.SUCCEEDED
    assert watch.jobs[JOB].history[0] is JobState.CONFIRMING


def test_the_story_is_in_order_and_has_the_ecus_own_events() -> None:
    events = list(trace.read(RECORDED))
    lines = story.story(events, JOB)
    moments = [float(line.split()[0]) for line in lines]
    assert moments == sorted(moments)
    assert moments[0] == 0.0
    assert any("gateway" in line and "INSTALLING -> ACTIVATING" in line for line in lines)
    assert any("ecu.engine" in line and "ecu.slot" in line and "to=CONFIRMED" in line for line in lines)
    assert any("adas: full 524,996 bytes in 18.64 s" in line for line in lines)
    assert story.story(events, "job-unknown") == []
    assert story.last_job(events) == JOB
