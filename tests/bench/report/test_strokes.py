"""Curves of several ECUs stay apart: without color too, and in the legend of the bus that they are on only."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from otabench.bench.report import page as report_page
from otabench.bench.report import strokes
from otabench.bench.report.plots import NARROW, TimeAxis, lanes_svg
from otabench.bench.report.series import OTHER, Block, Lane, LoadSeries, Series, Span, Troubles

NAMES = ["engine", "adas", "door", "brake", "steering", "radar", "battery", "climate"]


def look_without_color(number: int) -> tuple[str, str]:
    """Return the dashes and the marker's shape."""
    shape = strokes.marker(number, 0, 0)
    return strokes.classes(number).split()[1], re.sub(r'class="[^"]*"', "", shape)


def test_32_curves_differ_without_color() -> None:
    assert len({look_without_color(number) for number in range(32)}) == 32


def test_eight_curves_differ_by_color_and_by_marker() -> None:
    assert len({strokes.classes(number) for number in range(8)}) == 8
    assert len({look_without_color(number)[1] for number in range(8)}) == 8


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_color_and_dash_is_in_the_style_sheet_and_colors_are_seen_on_the_card(theme: str) -> None:
    page = rendered()
    themes = page.split("prefers-color-scheme: dark")
    style = themes[0] if theme == "light" else themes[1]
    card = {"light": "#ffffff", "dark": "#141b23"}[theme]
    for number in range(strokes.COLORS):
        found = re.search(rf"--k{number}: (#[0-9a-f]{{6}});", style)
        assert found is not None
        # WCAG 2.2, 1.4.11: graphics that are needed to understand the content
        assert contrast(found[1], card) >= 3.0, (number, found[1])
    for number in range(1, strokes.DASHES):
        assert f".d{number} {{ stroke-dasharray:" in page


def test_a_curve_has_the_same_look_in_every_plot_and_legend() -> None:
    page = rendered()
    for number, ecu in enumerate(NAMES):
        curve = f'class="line {strokes.classes(number)}"'
        assert re.search(rf"<path {curve}[^>]*><title>{ecu}</title>", page), ecu
        assert re.search(rf'<polygon class="area {strokes.classes(number)}"[^>]*><title>{ecu}</title>', page), ecu


def test_a_bus_lists_its_own_ecus_only() -> None:
    legends = Legends()
    legends.feed(rendered())
    powertrain, chassis = legends.found[-2:]
    assert powertrain == [*NAMES[:5], "other frames"]
    assert chassis == NAMES[5:]


def test_long_names_are_whole_where_there_is_room_and_cut_visibly_elsewhere() -> None:
    name = "driver-door-left"
    lanes = [Lane(name, (Span("erasing", 0, 1),))]
    wide, narrow = (TimeAxis.for_names(0, 1, names=[name], width=width) for width in (1000, NARROW))
    assert f">{name}</text>" in lanes_svg(lanes, wide)
    assert "…</text>" in lanes_svg(lanes, narrow)
    assert f"<title>{name}: erasing" in lanes_svg(lanes, narrow)


class Legends(HTMLParser):
    """Collects the words of every legend of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[list[str]] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "ul" and ("class", "legend") in attrs:
            self._inside = True
            self.found.append([])

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "ul"

    def handle_data(self, data: str) -> None:
        if self._inside and data.strip():
            self.found[-1].append(data.strip())


def eight_ecus() -> Series:
    """Return the series of eight ECUs on two buses."""

    def load(bus: str, ecus: list[str], other: float) -> LoadSeries:
        shares = dict.fromkeys(ecus, (0.1, 0.1, 0.1))
        return LoadSeries(bus, 0.0, 1.0, {**shares, OTHER: (other,) * 3})

    return Series(
        started_at="2026-11-28T10:00:00+00:00",
        duration_s=3.0,
        lanes=tuple(Lane(ecu, (Span("transferring", 0, 3),)) for ecu in NAMES),
        blocks={ecu: (Block(0.0, 1.0, 20_000.0), Block(1.0, 3.0, 21_000.0)) for ecu in NAMES},
        loads=(load("powertrain", NAMES[:5], 0.05), load("chassis", NAMES[5:], 0.0)),
        troubles={ecu: Troubles() for ecu in NAMES},
    )


def rendered() -> str:
    """Return the page of a run with eight ECUs."""
    report = {
        "result": "SUCCEEDED", "exit_status": 0, "reason": "", "vin": "W0TABENCH00000001", "job_id": "job-1",
        "campaign_id": "c", "target_version": "2.0.0", "transfer_policy": "full", "kernel_can": True, "faults": [],
        "duration_s": 3.0, "phases": [], "before": {}, "after": {}, "transfers": [], "buses": {}, "files": {},
        "notes": [], "limit_is": "",
    }  # fmt: skip
    return report_page.render(report, eight_ecus(), [])


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colors (WCAG 2.2)."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(color: str) -> float:
    """Return the relative luminance of a color (WCAG 2.2)."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
