"""Trends over runs as SVG text: a line for each ECU, and a bar of states for each run. Pure.

The runs stand side by side at equal distances, oldest first, whatever time lies between them: what matters is what changed from one
run to the next. The curves look as those of ``report.strokes``, as in ``report.plots``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from otabench.bench.report import strokes
from otabench.bench.report.plots import nice_step, phase_class
from otabench.bench.runs.summary import RunSummary

WIDTH: Final = 1000
NARROW: Final = 340
LEFT: Final = 64
RIGHT: Final = 14
_TOP: Final = 12
_HEIGHT: Final = 150
_AXIS: Final = 14
_TICKS: Final = 4
_MAX_BAR: Final = 36.0


def lines_svg(
    runs: Sequence[RunSummary],
    values: Mapping[str, Sequence[float | None]],
    *,
    unit: str,
    title: str,
    kinds: Sequence[str],
    width: int = WIDTH,
) -> str:
    """Return one line for each name: its value in each run. A run without a value interrupts the line.

    Args:
        runs: oldest first.
        values: for each name as many values as there are runs.
        unit: of the values, for the scale and the tooltips.
        title: of the drawing, for those who do not see it.
        kinds: all names, in the order of their colors.
        width: of the drawing.
    """
    top = max((value for line in values.values() for value in line if value is not None), default=0.0)
    parts = [_scale(top, unit, width)]
    for name, line in values.items():
        number_of_curve = kinds.index(name)
        css_classes = strokes.classes(number_of_curve)
        points = [
            (_x(number, len(runs), width), _y(value, top)) if value is not None else None
            for number, value in enumerate(line)
        ]
        parts += [f'<path class="line {css_classes}" d="{path}"/>' for path in _paths(points)]
        for run, point, value in zip(runs, points, line, strict=True):
            if point is not None and value is not None:
                words = f"{run.name}: {name} {value:,.1f} {unit}"
                parts.append(strokes.marker(number_of_curve, *point, words=words))
    return _svg(title, parts, width)


def states_svg(runs: Sequence[RunSummary], *, title: str, width: int = WIDTH) -> str:
    """Return one bar for each run, of the seconds in each state of its job."""
    top = max((sum(run.states.values()) for run in runs), default=0.0)
    bar = min(_MAX_BAR, 0.7 * (width - LEFT - RIGHT) / max(1, len(runs)))
    parts = [_scale(top, "s", width)]
    for number, run in enumerate(runs):
        below = 0.0
        for state, seconds in run.states.items():
            upper, lower = _y(below + seconds, top), _y(below, top)
            words = escape(f"{run.name}: {state} {seconds:.2f} s")
            parts.append(
                f'<rect class="span {phase_class(state)}" x="{_x(number, len(runs), width) - bar / 2:.1f}" y="{upper:.1f}" '
                f'width="{bar:.1f}" height="{max(0.5, lower - upper):.1f}"><title>{words}</title></rect>'
            )
            below += seconds
    return _svg(title, parts, width)


def _x(number: int, count: int, width: int) -> float:
    return LEFT + (number + 0.5) * (width - LEFT - RIGHT) / max(1, count)


def _y(value: float, top: float) -> float:
    return _TOP + _HEIGHT * (1 - (value / top if top else 0.0))


def _scale(top: float, unit: str, width: int) -> str:
    """Grid lines from zero to ``top``, and their values."""
    step = nice_step(top / _TICKS)
    parts = []
    for number in range(int(top / step + 1e-9) + 1):
        y = _y(number * step, top)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number * step:,.10g}</text>'
        )
    parts.append(f'<text class="tick" x="{LEFT + 4}" y="{_TOP - 2}">{escape(unit)}</text>')
    return "".join(parts)


def _paths(points: Sequence[tuple[float, float] | None]) -> list[str]:
    """Return the lines between neighbouring points."""
    paths: list[str] = []
    pen_is_down = False
    for point in points:
        if point is None:
            pen_is_down = False
            continue
        if pen_is_down:
            paths[-1] += f" L{point[0]:.1f} {point[1]:.1f}"
        else:
            paths.append(f"M{point[0]:.1f} {point[1]:.1f}")
        pen_is_down = True
    return paths


def _svg(title: str, parts: Sequence[str], width: int) -> str:
    height, words = _TOP + _HEIGHT + _AXIS, escape(title)
    opening = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{words}"><title>{words}</title>'
    return opening + "".join(parts) + "</svg>"
