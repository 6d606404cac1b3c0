"""The run's page: whole in itself, well-formed, its figures those of report.json, trace and capture; nothing in it can break out."""

from __future__ import annotations

import json
import re
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from selenium.webdriver import Chrome

from otabench.bench.captures.statistics import BIN_S, BusStatistics, IdStatistics
from otabench.bench.errors import BenchError
from otabench.bench.report import build, figures, index
from otabench.bench.report import page as report_page
from otabench.bench.report import plots as report_plots
from otabench.bench.report import series as report_series
from otabench.bench.report.build import write_page
from otabench.bench.report.plots import TimeAxis
from otabench.bench.report.series import Block, Lane, Span
from otabench.bench.run_folder import RunFolder
from otabench.bench.run_mark import RunMark
from otabench.bench.runs import summary
from otabench.bench.topology import bench_file
from otabench.proto import trace
from otabench.proto.isotp_address import FrameAddress
from otabench.proto.job_states import JobState, is_final
from otabench.proto.trace import TraceEvent
from tests.bench.gateway.hmi.browser import console_errors, resize, start_browser
from tests.bench.report import small_run
from tests.bench.runs import made
from tests.bench.runs.made import make_run

IDS = {
    "engine": ("powertrain", (FrameAddress(0x7E0), FrameAddress(0x7E8))),
    "adas": ("powertrain", (FrameAddress(0x7E1), FrameAddress(0x7E9))),
}
_VOID = {"meta", "link", "br", "img", "hr", "input"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run.unpack(tmp_path_factory.mktemp("page") / "run")


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return write_page(run).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def series(run: Path) -> report_series.Series:
    events = list(trace.read(run / "traces" / "simulation_trace.jsonl"))
    job = json.loads((run / "report.json").read_text())["job_id"]
    made = report_series.make(events, job, ids=IDS, statistics=figures.read_statistics(run / "can", ["powertrain"]))
    assert made is not None
    return made


class Tags(HTMLParser):
    """Checks that every element is closed in order, and keeps what refers to something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.references += [str(value) for name, value in attrs if name in ("src", "href", "action", "data", "poster")]
        self.references += [name for name, _ in attrs if name.startswith("on")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.remove(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


def test_the_page_needs_nothing_from_anywhere(page: str) -> None:
    tags = parsed(page)
    assert tags.references == []
    assert "script" not in tags.seen and "link" not in tags.seen and "img" not in tags.seen
    assert "url(" not in page and "@import" not in page and "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page


def test_the_page_says_what_the_report_says(page: str, run: Path) -> None:
    content = json.loads((run / "report.json").read_text())
    for words in (
        content["result"],
        content["vin"],
        content["job_id"],
        "CONFIRMED",
        "2.0.0",
        "INSTALLING",
        "engine",
        "adas",
    ):
        assert words in page
    for transfer in content["transfers"]:
        assert f"{transfer['bytes_per_s'] / 1024:.2f} KiB/s" in page
        assert f"{transfer['limit_bytes_per_s'] / 1024:.2f} KiB/s" in page


def test_the_page_says_how_a_bus_is_paced_and_what_its_line_counted(tmp_path: Path) -> None:
    run = small_run.unpack(tmp_path / "run")
    content = json.loads((run / "report.json").read_text())
    line = {
        "frames": 2791,
        "nominal_bits": 325630,
        "data_bits": 0,
        "busy_s": 0.65126,
        "lost_s": 0.04,
        "dropped_frames": 3,
    }
    content["buses"]["powertrain"] |= {"pace": "exact", "line": line}
    (run / "report.json").write_text(json.dumps(content))
    page = write_page(run).read_text(encoding="utf-8")
    assert "paced, exact" in page
    assert (
        "The line of vcan0 carried 2 791 frames in 0.65 s (0.33 Mbit); frames dropped by a full queue: 3; "
        "time lost because this machine was late: 0.04 s"
    ) in page


def test_the_page_says_which_buses_nothing_paces(tmp_path: Path, page: str) -> None:
    run = small_run.unpack(tmp_path / "run")
    content = json.loads((run / "report.json").read_text())
    content["buses"]["powertrain"] |= {"paced": False, "has_line": False}
    (run / "report.json").write_text(json.dumps(content))
    words = "Nothing paces these buses, so they have no limit and no load: powertrain"
    assert write_page(run).read_text(encoding="utf-8").count(words) == 2, "with the plot and with the table"
    assert words not in page


def test_what_was_not_answered_is_named_with_what_the_ecu_was_doing(page: str, series: report_series.Series) -> None:
    # the small run's engine was asked once while it booted the new image
    assert series.troubles["engine"].unanswered == {"22 F1A1 read, while activating": 1}
    assert "22 F1A1 read, while activating × 1" in page
    assert series.troubles["adas"].unanswered == {}


def test_an_ecu_s_periodic_frames_are_its_own_share_of_the_load(tmp_path: Path) -> None:
    # given a bus where engine sends an application frame, and somebody else another
    run = small_run.unpack(tmp_path / "run")
    events = list(trace.read(run / "traces" / "simulation_trace.jsonl"))
    job = json.loads((run / "report.json").read_text())["job_id"]
    state = next(event for event in events if event.event == "job.state" and event.component == "gateway")
    key = int(datetime.fromisoformat(state.ts).timestamp() / BIN_S) + 1
    bus = BusStatistics(bitrate=500_000, data_bitrate=500_000, bins={key: 30_000})
    bus.by_id = {0x120: IdStatistics(bins={key: 20_000}), 0x220: IdStatistics(bins={key: 10_000})}
    ids = {
        "engine": (
            "powertrain",
            build.addresses({"request_id": 0x7E0, "response_id": 0x7E8, "periodic_ids": [0x120]}),
        )
    }
    made = report_series.make(events, job, ids=ids, statistics={"powertrain": bus})
    assert made is not None
    (load,) = made.loads
    shares = {name: sum(parts) * bus.bitrate * load.interval_s for name, parts in load.shares.items()}
    assert shares == pytest.approx({"engine": 20_000, report_series.OTHER: 10_000})
    # and the report has whose they are
    assert figures.ecus_on_buses(bench_file.load())["engine"].periodic_ids == (0x120,)


def test_every_plot_is_well_formed_svg(page: str) -> None:
    plots = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert sum('role="img"' in plot for plot in plots) == 2 * 3, "each of the three wide and narrow"
    for plot in plots:
        ElementTree.fromstring(plot)
        assert "nan" not in plot and "inf" not in plot.replace("info", "")


def test_lanes_hold_the_states_and_the_phases(series: report_series.Series) -> None:
    lanes = {lane.name: [span.name for span in lane.spans] for lane in series.lanes}
    assert lanes["job"] == [
        "CONFIRMING", "WAITING_FOR_APPROVAL", "DOWNLOADING", "INSTALLING", "ACTIVATING", "VERIFYING"
    ]  # fmt: skip
    for ecu in IDS:
        assert [name for name in lanes[ecu] if name in ("transferring", "staged", "trial")] == [
            "transferring",
            "staged",
            "trial",
        ]
    for lane in series.lanes:
        assert all(
            before.end_s <= after.start_s + 1e-9 for before, after in zip(lane.spans, lane.spans[1:], strict=False)
        )


def test_load_adds_up_to_the_bits_that_were_captured(run: Path, series: report_series.Series) -> None:
    bus = figures.read_statistics(run / "can", ["powertrain"])["powertrain"]
    (load,) = series.loads
    shown = sum(sum(parts) for parts in load.shares.values()) * bus.bitrate * load.interval_s
    first = round((load.start_s + 0) / BIN_S)
    assert first <= 0
    assert 0.9 * bus.bits < shown <= bus.bits + 1
    functional = bus.by_id[0x7DF].bits
    assert sum(load.shares[report_series.OTHER]) * bus.bitrate * load.interval_s <= functional + 1


def test_rates_are_those_of_the_blocks(series: report_series.Series) -> None:
    for blocks in series.blocks.values():
        assert len(blocks) >= 2
        assert all(5_000 < block.bytes_per_s < 60_000 for block in blocks)
        assert all(block.start_s < block.end_s for block in blocks)


def exchange(number: int, **data: Any) -> TraceEvent:
    stamp = f"2026-11-23T14:00:{number:02d}+00:00"
    return TraceEvent(1, number, stamp, number * 10**9, "gateway", "uds.exchange", None, "job-1", "engine", data)


def test_retries_are_counted() -> None:
    state = TraceEvent(
        1, 1, "2026-11-23T14:00:00+00:00", 0, "gateway", "job.state", None, "job-1", None, {"to": "CONFIRMING"}
    )
    events = [
        state,
        exchange(1, service="36", block_sequence_counter=1, duration_ms=100.0, request_bytes=4095, nrc=None),
        exchange(
            2,
            service="36",
            block_sequence_counter=2,
            duration_ms=100.0,
            request_bytes=4095,
            nrc=None,
            step="36 block 2",
            problem="timeout",
        ),
        exchange(3, service="36", block_sequence_counter=2, duration_ms=100.0, request_bytes=4095, nrc=None),
        exchange(4, service="31", nrc=0x72, duration_ms=1.0, request_bytes=4),
        exchange(5, service="31", nrc=0x72, duration_ms=1.0, request_bytes=4),
        TraceEvent(1, 9, "2026-11-23T14:00:09+00:00", 9 * 10**9, "gateway", "flash.lost", None, "job-1", "engine", {}),
    ]
    made = report_series.make(
        events, "job-1", ids={"engine": ("b", (FrameAddress(0x7E0), FrameAddress(0x7E8)))}, statistics={}
    )
    assert made is not None
    trouble = made.troubles["engine"]
    assert (trouble.exchanges, trouble.repeated_blocks, trouble.resumed_transfers) == (5, 1, 1)
    assert trouble.unanswered == {"36 block 2: timeout": 1}
    assert trouble.negative == {"RoutineControl: generalProgrammingFailure (72)": 2}
    assert [round(block.bytes_per_s) for block in made.blocks["engine"]] == [40_930, 40_930]
    assert report_series.make(events, "job-2", ids={}, statistics={}) is None


def test_a_run_without_a_job_or_with_evil_words_has_a_page_too(run: Path) -> None:
    content = json.loads((run / "report.json").read_text())
    evil = "</style><script>alert(1)</script>\"'&"
    content |= {
        "result": "NONE",
        "reason": evil,
        "notes": [evil],
        "transfers": [],
        "phases": [],
        "after": {},
        "exit_status": 1,
    }
    page = report_page.render(content, None, [evil])
    tags = parsed(page)
    assert "script" not in tags.seen and "svg" not in tags.seen
    assert "no answer" in page and 'class="tone-bad"' in page


@pytest.mark.parametrize("result", [str(state) for state in JobState if is_final(state)])
def test_page_and_index_color_a_result_alike(tmp_path: Path, run: Path, result: str) -> None:
    # given a run with that result
    content = json.loads((run / "report.json").read_text()) | {"result": result, "exit_status": 4}
    made = make_run(tmp_path, "20261128T110000Z", result=result, exit_status=4)
    # when page and index are made, then both color it alike
    page = report_page.render(content, None, [])
    (of_page,) = set(re.findall(r'class="tone-(\w+)"', page))
    assert of_page == index.tone(summary.of_run(RunFolder(made)))


def test_evil_names_cannot_leave_a_plot() -> None:
    name = "<script>\"'&"
    axis = TimeAxis(0, 1)
    for plot in (
        report_plots.lanes_svg([Lane(name, (Span(name, 0, 1),))], axis),
        report_plots.rate_svg({name: [Block(0, 1, 100.0)]}, {name: 200.0}, {name: 0}, axis),
    ):
        ElementTree.fromstring(plot)
        assert "<script" not in plot


@pytest.mark.parametrize(
    ("least", "step"), [(0.9, 1), (1, 1), (1.1, 2), (2.5, 5), (6, 10), (0.03, 0.05), (0.0002, 0.0002), (0, 1e-6)]
)
def test_axes_have_round_steps(least: float, step: float) -> None:
    assert report_plots.nice_step(least) == pytest.approx(step)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "give the folder of a run: `otabench runs list`"),
        ("{", "not JSON"),
        ("[]", "not a report of this version"),
        ("{}", "not a report"),
    ],
)
def test_a_folder_without_a_report_is_told(tmp_path: Path, content: str | None, expected: str) -> None:
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(BenchError, match=expected):
        write_page(tmp_path)


def test_a_bench_that_is_up_and_a_run_that_was_cut_off_are_told_apart(tmp_path: Path) -> None:
    run = make_run(tmp_path, "20261128T120000Z", report=None)
    mark = RunMark(run, keep_keys=False)
    mark.make()
    with pytest.raises(BenchError, match="that bench is still up, and its report is written when it ends"):
        write_page(run)
    mark.remove()
    with pytest.raises(BenchError, match="that run ended without one"):
        write_page(run)


_PARTS_THAT_ARE_LOST = """
const isLost = part => {
  const box = part.getBoundingClientRect();
  return box.width === 0 || box.left < -1 || box.right > innerWidth + 1;
};
const visible = selector => [...document.querySelectorAll(selector)].filter(part => part.checkVisibility());
const events = document.querySelector('.events');
return {
  lost: visible('td, figure svg[role=img], dd, .legend li').filter(isLost).map(part => part.tagName + part.textContent.slice(0, 30)),
  pageWidth: document.documentElement.scrollWidth,
  cells: visible('td').length,
  plots: visible('figure svg[role=img]').length,
  cutEvents: events ? events.scrollHeight - events.clientHeight : 0,
  events: events ? events.textContent.trim().length : 0,
  headings: [...new Set(visible('td').map(cell => getComputedStyle(cell, '::before').content))],
};
"""


def views(browser: Chrome, page: Path) -> dict[str, Any]:
    """Return what is seen of a page on a screen, on a phone, and on paper (A4 without margins: 186 mm x 96 / 25.4)."""
    browser.get(page.as_uri())
    seen = {}
    for name, width, media in (("screen", 1280, "screen"), ("phone", 390, "screen"), ("paper", 703, "print")):
        resize(browser, width, 900)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media})
        seen[name] = browser.execute_script(_PARTS_THAT_ARE_LOST)
        assert seen[name]["lost"] == [], name
        assert seen[name]["pageWidth"] <= width, name
    return seen


@pytest.mark.browser
def test_nothing_is_lost_on_a_phone_on_paper_or_on_a_screen(run: Path, page: str, tmp_path: Path) -> None:
    # given words that take more room than usual, and an index of runs
    content = json.loads((run / "report.json").read_text())
    content["dtcs"] = {
        "engine": ["P0602-00 an image was refused: wrong signature, seen by the bootloader at every boot"]
    }
    content["files"] = {"trace": f"/home/user/{'project' * 12}/traces/simulation_trace.jsonl"}
    content["overhead"] = [{"phase": "cloud, ECUs and gateway up", "duration_s": 3.2}]
    (run / "report.json").write_text(json.dumps(content))
    for number in range(3):
        faults = ["engine:boot-fail", "adas:slow-flash:factor=30"]
        made.make_run(tmp_path / "runs", f"2026112{number}T110000Z", reason="engine did not boot " * 5, faults=faults)
    browser = start_browser(tmp_path)
    try:
        # when they are shown
        report = views(browser, write_page(run, out=tmp_path / "page.html"))
        runs = views(browser, index.write(tmp_path / "runs"))
        # then every cell, plot and event is there
        for seen, plots, headings in (
            (report, 3, ("ECU", "bus", "state", "phase")),
            (runs, 4, ("run", "size", "faults")),
        ):
            assert len({view["cells"] for view in seen.values()}) == 1
            assert {view["plots"] for view in seen.values()} == {plots}
            assert len({view["events"] for view in seen.values()}) == 1
            assert seen["paper"]["cutEvents"] == 0
            assert set(seen["phone"]["headings"]) >= {f'"{heading}"' for heading in headings}
        assert report["screen"]["events"] > 0
        assert console_errors(browser) == []
    finally:
        browser.quit()
