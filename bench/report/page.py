"""A run as one self-contained HTML page: no script, font or picture is loaded from elsewhere.

The page's contents and their order. Figures come from ``report.figures`` (report.json) and ``report.series``, plots from
``report.plots``, looks from ``report.html.j2``, which escapes all texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

from otabench.bench.report import figures, plots, strokes, templates
from otabench.bench.report.plots import KIB, TimeAxis, phase_class
from otabench.bench.report.series import OTHER, Series
from otabench.bench.report.text import unpaced_note

TEMPLATE: Final = "report.html.j2"


def render(report: Mapping[str, Any], series: Series | None, story: Sequence[str]) -> str:
    """Return the page.

    Args:
        report: the contents of report.json.
        series: the numbers of the plots. None if the gateway never received the job; then the page has no plots.
        story: the job's events, one line each.
    """
    return templates.render(
        TEMPLATE,
        filters={"kib": _kib, "percent": _percent, "seconds": _seconds, "number": _number},
        report=report,
        tone=_tone(report),
        series=series,
        plots=_plots(report, series) if series is not None else None,
        unpaced=unpaced_note([name for name, bus in report["buses"].items() if not bus.get("has_line", bus["paced"])]),
        ecus=list(dict.fromkeys([*report["before"], *report["after"]])),
        story=story,
    )


def _tone(report: Mapping[str, Any]) -> str:
    if report["result"] == figures.NO_CAMPAIGN:
        return "warn"
    return figures.tone(report["result"], report["exit_status"])


def _plots(report: Mapping[str, Any], series: Series) -> dict[str, Any]:
    numbers = {ecu: number for number, ecu in enumerate(series.blocks)}
    limits = {
        transfer["ecu"]: float(transfer["limit_bytes_per_s"])
        for transfer in report["transfers"]
        if transfer["limit_bytes_per_s"]
    }
    flashed = {ecu: blocks for ecu, blocks in series.blocks.items() if blocks}
    axes = [_axis(series, width) for width in (plots.WIDTH, plots.NARROW)]

    def drawn(draw: Callable[[TimeAxis], str]) -> tuple[Markup, ...]:
        return tuple(Markup(draw(axis)) for axis in axes)

    names = dict.fromkeys(span.name for lane in series.lanes for span in lane.spans)
    return {
        "lanes": drawn(lambda axis: plots.lanes_svg(series.lanes, axis)),
        "rate": drawn(lambda axis: plots.rate_svg(flashed, limits, numbers, axis)) if flashed else None,
        "flashed": _legend(flashed, numbers),
        "loads": [
            {
                "bus": load.bus,
                "drawings": drawn(lambda axis, load=load: plots.load_svg(load, numbers, axis)),  # type: ignore[misc]
                "ecus": _legend([ecu for ecu in load.shares if ecu != OTHER], numbers),
                "other": any(load.shares.get(OTHER, ())),
            }
            for load in series.loads
        ],
        "phases": [(name, phase_class(name)) for name in names],
    }


def _axis(series: Series, width: int) -> TimeAxis:
    start_s, end_s = -0.02 * series.duration_s, series.duration_s * 1.02 or 1.0
    return TimeAxis.for_names(start_s, end_s, names=[lane.name for lane in series.lanes], width=width)


def _legend(ecus: Iterable[str], numbers: Mapping[str, int]) -> list[tuple[str, Markup]]:
    return [(ecu, Markup(strokes.swatch(numbers.get(ecu, 0)))) for ecu in ecus]


def _kib(bytes_per_s: float | None) -> str:
    return "–" if bytes_per_s is None else f"{bytes_per_s / KIB:.2f} KiB/s"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share * 100:.1f} %"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s"


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")
