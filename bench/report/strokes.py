"""How curves are told apart, on every page and for every eye: by color, by marker, and by dashes. Pure.

The first eight have a color and a marker each; the next eight the same ones dashed, then dotted, then dash-dotted. Marker and dashes
alone tell 32 curves apart, in print and for those who see no difference between the colors. ``STYLE`` is the part of a page's style
sheet that goes with it: colors (``k0`` to ``k7``) for light, dark and print, and dashes (``d0`` to ``d3``).
"""

from __future__ import annotations

import math
from html import escape
from typing import Final

COLORS: Final = 8
DASHES: Final = 4
_SIZE: Final = 4.6
_LIGHT: Final = ("#0068b4", "#cc5200", "#00795c", "#8a1c5c", "#866800", "#5146c4", "#3d4a57", "#b0359a")
_DARK: Final = ("#5fb4f5", "#ff9350", "#43d3a6", "#ff8fbc", "#e8d44d", "#b0a5ff", "#d3dbe3", "#ee9be3")


def _palette(colors: tuple[str, ...]) -> str:
    return ":root { " + " ".join(f"--k{number}: {color};" for number, color in enumerate(colors)) + " }"


STYLE: Final = "\n".join(
    (
        _palette(_LIGHT),
        f"@media screen and (prefers-color-scheme: dark) {{ {_palette(_DARK)} }}",
        " ".join(f".k{number} {{ --k: var(--k{number}); }}" for number in range(COLORS)),
        ".d1 { stroke-dasharray: 8 4; } .d2 { stroke-dasharray: 2 3; } .d3 { stroke-dasharray: 9 3 2 3; }",
        "svg .line { fill: none; stroke: var(--k); stroke-width: 2; stroke-linejoin: round; }",
        "svg .mark { fill: var(--k); stroke: var(--card); stroke-width: 1; }",
        "svg.swatch { width: 34px; height: 14px; margin-right: 6px; vertical-align: -2px; }",
    )
)


def classes(number: int) -> str:
    """Return the style classes of the curve with that number."""
    return f"k{number % COLORS} d{number // COLORS % DASHES}"


def marker(number: int, x: float, y: float, *, kind: str = "mark", words: str = "") -> str:
    """Return the curve's marker at a point, as SVG; ``words``: its tooltip."""
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in _SHAPES[number % COLORS])
    title = f"<title>{escape(words)}</title>" if words else ""
    return f'<polygon class="{kind} k{number % COLORS}" points="{points}">{title}</polygon>'


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
