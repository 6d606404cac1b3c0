"""The index of all runs: which runs it lists, what it draws, and that it needs nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from otabench.bench.errors import BenchError
from otabench.bench.report import index, trends
from otabench.bench.run_folder import RunFolder
from otabench.bench.runs import summary
from tests.bench.runs.made import REPORT, make_run


def page_of(runs_dir: Path) -> str:
    return index.write(runs_dir).read_text(encoding="utf-8")


def test_every_run_is_listed_newest_first_and_linked_if_it_has_a_page(tmp_path: Path) -> None:
    (make_run(tmp_path, "20261127T110000Z") / "report.html").write_text("page")
    make_run(
        tmp_path,
        "20261128T110000Z",
        result="ROLLED_BACK",
        exit_status=3,
        reason="engine <b> did not boot",
        faults=["engine:boot-fail"],
    )
    (make_run(tmp_path, "20261128T120000Z", report=None) / "keys").mkdir()
    page = page_of(tmp_path)
    assert re.findall(r'<td class="short" data-label="run"><span>(?:<a href="([^"]*)">)?(\d{8}T\d{6}Z)', page) == [
        ("", "20261128T120000Z"),
        ("", "20261128T110000Z"),
        ("20261127T110000Z/report.html", "20261127T110000Z"),
    ]
    assert "engine &lt;b&gt; did not boot" in page and "engine:boot-fail" in page
    assert re.findall(r'<li class="chip tone-(\w+)"', page) == ["good", "warn", "neutral"]
    assert page.count("holds keys") == 1


def test_trends_are_drawn_as_well_formed_svg_with_a_mark_for_each_value(tmp_path: Path) -> None:
    for number in range(3):
        make_run(tmp_path, f"2026112{number}T110000Z")
    make_run(
        tmp_path, "20261123T110000Z", transfers=[{**REPORT["transfers"][0], "share_of_limit": None, "bus_load": None}]
    )
    drawings = re.findall(r"<svg viewBox=\"0 0 1000.*?</svg>", page_of(tmp_path), flags=re.DOTALL)
    assert [ElementTree.fromstring(each).get("aria-label") for each in drawings] == [
        "Flash rate, run by run",
        "Rate over the line's limit, run by run",
        "Bus load during the transfer, run by run",
        "Time in each state of the job, run by run",
    ]
    assert [drawing.count('<polygon class="mark') for drawing in drawings] == [4, 3, 3, 0]
    assert drawings[3].count('class="span phase-installing"') == 4


def test_a_run_without_a_value_interrupts_the_line(tmp_path: Path) -> None:
    runs = [summary.of_run(RunFolder(make_run(tmp_path, f"2026112{number}T110000Z"))) for number in range(5)]
    drawn = trends.lines_svg(runs, {"engine": [1.0, 2.0, None, 4.0, 3.0]}, unit="s", title="t", kinds=["engine"])
    paths = re.findall(r'd="([^"]*)"', drawn)
    assert [path.count("L") for path in paths] == [1, 1]
    markers = re.findall(r'points="([^"]*)"', drawn)
    heights = [sum(float(point.split(",")[1]) for point in each.split()) / len(each.split()) for each in markers]
    assert heights[0] > heights[1] > heights[3] > heights[2], "larger values are drawn higher"


def test_an_empty_folder_has_a_page_that_says_what_makes_a_run(tmp_path: Path) -> None:
    assert "There are no runs here" in page_of(tmp_path)


def test_the_page_loads_nothing_from_anywhere(tmp_path: Path) -> None:
    make_run(tmp_path, "20261128T110000Z")
    page = page_of(tmp_path)
    assert not re.search(r"(?:src|href)=\"(?!\d{8}T)|url\(|@import|<script|https?:", page)


def test_more_than_six_ecus_do_not_look_alike(tmp_path: Path) -> None:
    runs = [summary.of_run(RunFolder(make_run(tmp_path, f"2026112{number}T110000Z"))) for number in range(2)]
    names = [f"ecu{number}" for number in range(18)]
    drawn = trends.lines_svg(runs, dict.fromkeys(names, (1.0, 2.0)), unit="s", title="t", kinds=names)
    assert len(set(re.findall(r'class="(line [^"]*)"', drawn))) == 18


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"cannot be written: .*--out"):
        index.write(tmp_path, out=tmp_path / "absent" / "index.html")
