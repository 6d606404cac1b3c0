"""Plots of a run as SVG text: lanes, flash rate, bus load. All share one time axis, so that they can be read one below another.

Shapes and scales. Figures come from ``report.series``, looks of curves from ``report.strokes``; the page's style sheet gives the
colors by class (``k0`` … for ECUs, ``phase-…`` for what is done), for light, dark and print. No library, no script.

A plot is drawn for a width: a wide one for screens and paper, a narrow one for phones. Its text keeps its size in both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from otabench.bench.report import strokes
from otabench.bench.report.series import OTHER, Block, Lane, LoadSeries

WIDTH: Final = 1000
NARROW: Final = 340
LEFT: Final = 78
_MAX_LEFT: Final = 190
RIGHT: Final = 14
AXIS: Final = 26
_LANE: Final = 30
_PLOT: Final = 150
_TOP: Final = 12
# Widths of a digit in the page's fonts. SVG cannot measure text, and the page has no script to do so.
_GLYPH: Final = 6.6
_BOLD_GLYPH: Final = 7.6
_TICK_DISTANCE: Final = 115
_MARKER_DISTANCE: Final = 110
_MARKED_HEIGHT: Final = 11
"""A part of a stack that is lower has no room for its marker."""
_JITTER: Final = 1.15
"""A share up to this is drawn as 1: the excess is frames of the neighbouring interval."""
KIB: Final = 1024


@dataclass(frozen=True)
class TimeAxis:
    """The common time axis, in seconds since the job began, and the room on its left for names."""

    start_s: float
    end_s: float
    width: int = WIDTH
    left: int = LEFT

    @classmethod
    def for_names(cls, start_s: float, end_s: float, *, names: Iterable[str], width: int = WIDTH) -> TimeAxis:
        """Return an axis with room for the names of its lanes, as far as a third of the width allows."""
        needed = max((round(len(name) * _BOLD_GLYPH) + 16 for name in names), default=LEFT)
        return cls(start_s, end_s, width, max(LEFT, min(needed, _MAX_LEFT, width // 3)))

    def fitting(self, name: str) -> str:
        """Return the name of a lane, cut where it has no room."""
        letters = int((self.left - 16) / _BOLD_GLYPH)
        return name if len(name) <= letters else name[: letters - 1] + "…"

    def x(self, seconds: float) -> float:
        """Return where that moment is drawn."""
        share = (seconds - self.start_s) / max(1e-9, self.end_s - self.start_s)
        return self.left + min(1.0, max(0.0, share)) * (self.width - self.left - RIGHT)

    def draw(self, top: float, bottom: float) -> str:
        """Grid lines, their times and the unit."""
        # At least one tick for 115 px, and two on the narrowest axis.
        step = nice_step((self.end_s - self.start_s) / max(2.0, (self.width - self.left) / _TICK_DISTANCE))
        parts = []
        tick = math.ceil(self.start_s / step) * step
        while tick <= self.end_s + 1e-9:
            x = self.x(tick)
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>')
            parts.append(_text(x, bottom + 17, f"{tick:.{_decimals(step)}f} s", "middle", "tick"))
            tick += step
        return "".join(parts)


def nice_step(minimum: float) -> float:
    """Return the smallest of 1, 2 or 5 times a power of ten that is not below ``minimum``."""
    power = 10.0 ** math.floor(math.log10(max(minimum, 1e-6)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= minimum - 1e-12)


def lanes_svg(lanes: Sequence[Lane], axis: TimeAxis) -> str:
    """Return one row a lane; a span's name is written in it if there is room, and is always in its tooltip."""
    bottom = _TOP + _LANE * len(lanes)
    parts = [axis.draw(_TOP, bottom)]
    for row, lane in enumerate(lanes):
        top = _TOP + row * _LANE + 3
        parts.append(_text(axis.left - 10, top + 17, axis.fitting(lane.name), "end", "label"))
        for span in lane.spans:
            # Not thinner than a line: a phase of a millisecond must still be found by the pointer, for its tooltip.
            x, width = axis.x(span.start_s), max(1.5, axis.x(span.end_s) - axis.x(span.start_s))
            words = f"{lane.name}: {span.name}, {span.end_s - span.start_s:.2f} s"
            parts.append(
                f'<rect class="span {phase_class(span.name)}" x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" '
                f'height="{_LANE - 6}" rx="3"><title>{escape(words)}</title></rect>'
            )
            if width > len(span.name) * _GLYPH + 8:
                parts.append(_text(x + width / 2, top + 16, span.name, "middle", "in-span"))
    return _svg(axis, bottom, "States of the job and phases of the ECUs over time", parts)


def rate_svg(
    blocks: Mapping[str, Sequence[Block]], limits: Mapping[str, float], numbers: Mapping[str, int], axis: TimeAxis
) -> str:
    """Return the rate of every block, KiB/s; dashed: what the line carries at most.

    Args:
        blocks: of each ECU.
        limits: of each ECU's line, bytes a second.
        numbers: of each ECU's curve (``strokes``).
        axis: the time axis.
    """
    bottom = _TOP + _PLOT
    highest = max(
        [block.bytes_per_s for each in blocks.values() for block in each] + list(limits.values()), default=1.0
    )
    scale = _Scale(highest / KIB, bottom)
    parts = [axis.draw(_TOP, bottom), scale.draw("KiB/s", axis)]
    for ecu, each in blocks.items():
        number, limit = numbers.get(ecu, 0), limits.get(ecu)
        if each and limit:
            y, x1, x2 = scale.y(limit / KIB), axis.x(each[0].start_s), axis.x(each[-1].end_s)
            words = escape(f"{ecu}: the line's limit, {limit / KIB:.1f} KiB/s")
            parts.append(
                f'<line class="limit" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y:.1f}" y2="{y:.1f}"><title>{words}</title></line>'
            )
        for path in _steps(each, axis, scale):
            parts.append(f'<path class="line {strokes.classes(number)}" d="{path}"><title>{escape(ecu)}</title></path>')
        middles = [(axis.x((block.start_s + block.end_s) / 2), scale.y(block.bytes_per_s / KIB)) for block in each]
        parts += [strokes.marker(number, x, y) for x, y in _apart(middles)]
    return _svg(axis, bottom, "Flash rate over time", parts)


def load_svg(load: LoadSeries, numbers: Mapping[str, int], axis: TimeAxis) -> str:
    """Return the bus's load, stacked by ECU, in percent of what the line carries; ``numbers``: see ``rate_svg``."""
    bottom = _TOP + _PLOT
    highest = max((sum(parts) for parts in zip(*load.shares.values(), strict=True)), default=0.0)
    scale = _Scale(100.0 if highest < _JITTER else highest * 100, bottom)
    parts = [axis.draw(_TOP, bottom), scale.draw("%", axis)]
    marks: list[str] = []
    base = [0.0] * len(next(iter(load.shares.values()), ()))
    for name, shares in load.shares.items():
        top = [below + share * 100 for below, share in zip(base, shares, strict=True)]
        if any(shares):
            number = numbers.get(name, 0)
            kind = "other" if name == OTHER else strokes.classes(number)
            # Along the top and back along the base: one closed polygon a part.
            outline = _outline(load, top, axis, scale) + _outline(load, base, axis, scale)[::-1]
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in outline)
            parts.append(f'<polygon class="area {kind}" points="{points}"><title>{escape(name)}</title></polygon>')
            if name != OTHER:
                marks += [
                    strokes.marker(number, x, y, kind="mark inside") for x, y in _middles(load, base, top, axis, scale)
                ]
        base = top
    return _svg(axis, bottom, f"Load of bus {load.bus} over time", [*parts, *marks])


def _middles(
    load: LoadSeries, base: Sequence[float], top: Sequence[float], axis: TimeAxis, scale: _Scale
) -> list[tuple[float, float]]:
    """Return points inside a part of the stack, where it is high enough for a marker."""
    points = []
    for number, (below, above) in enumerate(zip(base, top, strict=True)):
        low, high = scale.y(below), scale.y(above)
        if low - high >= _MARKED_HEIGHT:
            points.append((axis.x(load.start_s + (number + 0.5) * load.interval_s), (low + high) / 2))
    return _apart(points)


def _apart(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the first point and every later one that is far enough from the one before."""
    chosen: list[tuple[float, float]] = []
    for point in points:
        if not chosen or abs(point[0] - chosen[-1][0]) >= _MARKER_DISTANCE:
            chosen.append(point)
    return chosen


def phase_class(name: str) -> str:
    """Return the style class of a state or phase: its name in small letters."""
    return "phase-" + "".join(letter if letter.isalnum() else "-" for letter in name.lower())


class _Scale:
    """A vertical axis from 0."""

    def __init__(self, highest: float, bottom: float) -> None:
        self._step = nice_step(max(highest, 1e-6) / 4)
        self._highest = math.ceil(max(highest, 1e-6) / self._step - 1e-9) * self._step
        self._bottom = bottom

    def y(self, value: float) -> float:
        return self._bottom - min(1.0, value / self._highest) * _PLOT

    def draw(self, unit: str, axis: TimeAxis) -> str:
        parts, value = [], 0.0
        while value <= self._highest + 1e-9:
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{axis.left}" x2="{axis.width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(_text(axis.left - 10, y + 4, f"{value:.{_decimals(self._step)}f} {unit}", "end", "tick"))
            value += self._step
        return "".join(parts)


def _steps(blocks: Sequence[Block], axis: TimeAxis, scale: _Scale) -> Iterable[str]:
    """Yield one path for each sequence of blocks without a pause (another image, a repetition) between them."""
    path: list[str] = []
    last_end_s = -math.inf
    for block in blocks:
        x1, x2, y = axis.x(block.start_s), axis.x(block.end_s), scale.y(block.bytes_per_s / KIB)
        if path and block.start_s - last_end_s > max(0.05, block.end_s - block.start_s):
            yield "".join(path)
            path = []
        path.append(f"{'L' if path else 'M'}{x1:.1f} {y:.1f}L{x2:.1f} {y:.1f}")
        last_end_s = block.end_s
    if path:
        yield "".join(path)


def _outline(load: LoadSeries, values: Sequence[float], axis: TimeAxis, scale: _Scale) -> list[tuple[float, float]]:
    points = []
    for number, value in enumerate(values):
        start_s = load.start_s + number * load.interval_s
        y = scale.y(value)
        points += [(axis.x(start_s), y), (axis.x(start_s + load.interval_s), y)]
    return points


def _decimals(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9))


def _text(x: float, y: float, words: str, anchor: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(axis: TimeAxis, bottom: float, title: str, parts: Iterable[str]) -> str:
    return (
        f'<svg viewBox="0 0 {axis.width} {bottom + AXIS:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
