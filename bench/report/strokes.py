"""How curves are told apart, on every page and for every eye: by color, by marker, and by dashes. Pure.

The first eight have a color and a marker each; the next eight the same ones dashed, then dotted, then dash-dotted. Marker and dashes
alone tell 32 curves apart, in print and for those who see no difference between the colors. The colors are in the style sheet
(``k0`` to ``k7``), and the dashes (``d0`` to ``d3``).
"""

from __future__ import annotations

import math
from typing import Final

COLORS: Final = 8
DASHES: Final = 4
_SIZE: Final = 4.6


def classes(number: int) -> str:
    """Return the style classes of the curve with that number."""
    return f"k{number % COLORS} d{number // COLORS % DASHES}"


def marker(number: int, x: float, y: float, *, kind: str = "mark") -> str:
    """Return the curve's marker at a point, as an SVG path."""
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in _SHAPES[number % COLORS])
    return f'<polygon class="{kind} k{number % COLORS}" points="{points}"/>'


def swatch(number: int) -> str:
    """Return a piece of the curve for a legend, as SVG."""
    line = f'<path class="line {classes(number)}" d="M0 7H34"/>'
    return f'<svg class="swatch" viewBox="0 0 34 14" aria-hidden="true">{line}{marker(number, 17, 7)}</svg>'


def _regular(corners: int, turn: float = 0.0, size: float = _SIZE) -> tuple[tuple[float, float], ...]:
    angles = [2 * math.pi * (corner / corners + turn) - math.pi / 2 for corner in range(corners)]
    return tuple((size * math.cos(angle), size * math.sin(angle)) for angle in angles)


def _star(rays: int, inner: float) -> tuple[tuple[float, float], ...]:
    outer_points, inner_points = _regular(rays, size=_SIZE * 1.3), _regular(rays, 0.5 / rays, _SIZE * inner)
    return tuple(point for pair in zip(outer_points, inner_points, strict=True) for point in pair)


def _plus(turn: float) -> tuple[tuple[float, float], ...]:
    arm, half = _SIZE * 1.2, _SIZE * 0.36
    corners = [
        (-half, -arm), (half, -arm), (half, -half), (arm, -half), (arm, half), (half, half),
        (half, arm), (-half, arm), (-half, half), (-arm, half), (-arm, -half), (-half, -half),
    ]  # fmt: skip
    cos, sin = math.cos(turn), math.sin(turn)
    return tuple((x * cos - y * sin, x * sin + y * cos) for x, y in corners)


_SHAPES: Final = (
    _regular(16),  # a circle
    _regular(4, 0.125, _SIZE * 1.15),  # a square
    _regular(3, 0.0, _SIZE * 1.2),  # a triangle
    _plus(0.0),
    _regular(4, 0.0, _SIZE * 1.2),  # a diamond
    _plus(math.pi / 4),  # a cross
    _regular(3, 0.5, _SIZE * 1.2),  # a triangle on its point
    _star(5, 0.5),
)
