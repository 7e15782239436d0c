"""Bars and lines as SVG: one file for light and dark pages, read without colours as well. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import log10
from typing import Final

_LABEL: Final = 250
_BARS: Final = 470
_WIDTH: Final = _LABEL + _BARS + 90
_ROW: Final = 20
_GAP: Final = 30

_STYLE: Final = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-weight: 600; font-size: 15px; }
.group { font-weight: 600; }
.value { paint-order: stroke; stroke: #ffffff; stroke-width: 4px; }
.axis { stroke: #8c959f; } .curve { fill: none; stroke-width: 2; }
.curve0 { stroke: #0969da; } .curve1 { stroke: #bc4c00; stroke-dasharray: 6 3; }
.bar { fill: #8c959f; } .own { fill: #0969da; } .line { stroke: #1f2328; stroke-dasharray: 3 3; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .value { stroke: #0d1117; }
  .bar { fill: #6e7681; } .own { fill: #58a6ff; } .line { stroke: #e6edf3; }
}
"""


@dataclass(frozen=True)
class Bar:
    """A value with its name; ``own`` ones stand out."""

    label: str
    value: float
    own: bool = False


@dataclass(frozen=True)
class Group:
    """Bars under a heading."""

    title: str
    bars: tuple[Bar, ...]


def _position(value: float, low: float, high: float, *, logarithmic: bool) -> float:
    if logarithmic:
        value, low, high = log10(max(value, low)), log10(low), log10(high)
    return _BARS * (value - low) / (high - low)


def _tell(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 3 else f"{value:.2f}"


def draw(title: str, groups: Sequence[Group], *, mark: float = 1.0, unit: str = "×") -> str:
    """The bars below each other; a dashed line at ``mark``. Logarithmic if they differ by 30 times."""
    values = [bar.value for group in groups for bar in group.bars if bar.value > 0]
    logarithmic = bool(values) and max(values) > 30 * min(values)
    low = min([*values, mark]) * 0.8 if logarithmic else 0.0
    high = max([*values, mark]) * 1.02
    parts: list[str] = []
    y = 30
    mark_x = _LABEL + _position(mark, low, high, logarithmic=logarithmic)
    for group in groups:
        y += _GAP
        parts.append(f'<text class="group" x="8" y="{y}">{escape(group.title)}</text>')
        top, values_of_bars = y + 6, []
        for bar in group.bars:
            y += _ROW
            length = max(1.0, _position(bar.value, low, high, logarithmic=logarithmic))
            kind, end = "bar own" if bar.own else "bar", _LABEL + length + 6
            parts += (
                f'<text x="{_LABEL - 8}" y="{y}" text-anchor="end">{escape(bar.label)}</text>',
                f'<rect class="{kind}" x="{_LABEL}" y="{y - 12}" width="{length:.1f}" height="15"/>',
            )
            told = f"{_tell(bar.value)} {unit}"
            values_of_bars.append(f'<text class="value" x="{end:.1f}" y="{y}">{told}</text>')
        line = f'x1="{mark_x:.1f}" x2="{mark_x:.1f}" y1="{top}" y2="{y + 6}"'
        parts += (f'<line class="line" {line}/>', *values_of_bars)
    return _page(title + (", logarithmic" if logarithmic else ""), parts, y + 20)


def _page(title: str, parts: Sequence[str], height: int) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}">\n<style>\n{_STYLE}</style>\n'
        f'<text class="title" x="8" y="24">{escape(title)}</text>\n{body}\n</svg>\n'
    )


@dataclass(frozen=True)
class Line:
    """Points in order, with a name."""

    label: str
    points: Sequence[tuple[float, float]]


def draw_lines(title: str, lines: Sequence[Line], *, across: str, up: str) -> str:
    """At most two lines over each other, from zero on; ``across`` and ``up`` are the units."""
    points = [point for line in lines for point in line.points]
    right, top = (max((point[axis] for point in points), default=1.0) for axis in (0, 1))
    width, height, left, floor = _WIDTH - 90, 200, 60, 250

    def at(point: tuple[float, float]) -> str:
        return f"{left + width * point[0] / right:.1f},{floor - height * point[1] / (1.1 * top):.1f}"

    parts = [
        f'<path class="axis" fill="none" d="M{left},{floor - height} V{floor} H{left + width}"/>',
        f'<text x="{left - 8}" y="{floor}" text-anchor="end">0</text>',
        f'<text x="{left - 8}" y="{floor - height / 1.1:.0f}" text-anchor="end">{top:.0f} {up}</text>',
        f'<text x="{left + width}" y="{floor + 18}" text-anchor="end">{right:.0f} {across}</text>',
    ]
    for number, line in enumerate(lines):
        path = " ".join(map(at, line.points))
        parts.append(f'<polyline class="curve curve{number}" points="{path}"/>')
        start = left + 120 * number
        parts += (
            f'<path class="curve curve{number}" d="M{start},{floor + 34} h24"/>',
            f'<text x="{start + 30}" y="{floor + 38}">{escape(line.label)}</text>',
        )
    return _page(title, parts, floor + 50)
