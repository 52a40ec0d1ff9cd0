"""Plots as small SVG files: text that is compared line by line, without a library, readable on light and on dark pages."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from figures import Curve, Growth, number

WIDTH = 760  # px
ROW, BAR = 26, 14  # px: of a bar with the space around it, of the bar alone
LABELS, VALUES = 250, 170  # px: columns for what a bar is, and for its figure
PANEL_HEIGHT, GAP, TICK = 170, 18, 26  # px: of a panel with lines, between two, and for a number on its axis
STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #333 }
.title { font-weight: 600; font-size: 13px }
.small { font-size: 11px; fill: #666 }
.motet { fill: #1f6feb; stroke: #1f6feb }
.other { fill: #9aa4b1; stroke: #9aa4b1 }
.limit { fill: #57606a; stroke: #57606a }
.whisker { stroke: #24292f; stroke-width: 1.5 }
.axis { stroke: #b8bfc8; stroke-width: 1 }
.line { fill: none; stroke-width: 2 }
.band { stroke: none; opacity: .2 }
@media (prefers-color-scheme: dark) {
text { fill: #d8dee6 }
.small { fill: #9aa4b1 }
.motet { fill: #58a6ff; stroke: #58a6ff }
.other { fill: #6e7681; stroke: #6e7681 }
.limit { fill: #adb5bf; stroke: #adb5bf }
.whisker { stroke: #f0f3f6 }
.axis { stroke: #484f58 }
}
</style>"""


class Bar(NamedTuple):
    """One bar: what it is, its value in each round, and whose it is."""

    label: str
    values: Sequence[float]
    kind: str  # motet, other or limit


def bars(title: str, unit: str, rows: Sequence[Bar]) -> str:
    """Return horizontal bars: medians, with a line from the least to the greatest value."""
    scale = (WIDTH - LABELS - VALUES) / max(max(row.values) for row in rows)
    parts = [_text(0, 14, title, "title")]
    for i, (label, values, kind) in enumerate(rows):
        top, middle = 30 + i * ROW, statistics.median(values)
        least, most = min(values), max(values)
        parts += [
            _text(LABELS - 8, top + 11, label, anchor="end"),
            f'<rect class="{kind}" x="{LABELS}" y="{top}" width="{max(1, middle * scale):.1f}" height="{BAR}" rx="2"/>',
            _line(LABELS + least * scale, top + BAR / 2, LABELS + most * scale, top + BAR / 2, "whisker"),
            _text(LABELS + most * scale + 8, top + 11, f"{number(middle)} {unit}"),
        ]
    return _document(title, WIDTH, 34 + len(rows) * ROW, parts)


def reached(title: str, rows: Mapping[str, float]) -> str:
    """Return how much of each goal is reached, on a logarithmic axis with the goals on one line."""
    span = max(1.0, *(abs(math.log2(value)) for value in rows.values()))
    half = (WIDTH - LABELS * 1.6 - 60) / 2
    zero = LABELS * 1.6 + half
    parts = [_text(0, 14, title, "title"), _text(zero, 32, "goal", "small", anchor="middle")]
    for i, (label, value) in enumerate(rows.items()):
        top, length = 40 + i * ROW, math.log2(value) / span * half
        kind = "motet" if value >= 1 else "other"
        parts += [
            _text(LABELS * 1.6 - 8, top + 11, label, anchor="end"),
            f'<rect class="{kind}" x="{min(zero, zero + length):.1f}" y="{top}" width="{max(1, abs(length)):.1f}" height="{BAR}" rx="2"/>',
            _text(zero + max(length, 0) + 6, top + 11, f"{number(value)} x"),
        ]
    bottom = 40 + len(rows) * ROW
    parts.append(_line(zero, 36, zero, bottom - 6, "whisker"))
    return _document(title, WIDTH, bottom, parts)


def lines(title: str, growth: Growth) -> str:
    """Return a panel for each curve: medians over sizes on a logarithmic axis, in a band from the least to the greatest."""
    columns = min(4, len(growth.curves))
    width = (WIDTH - GAP * (columns - 1)) / columns
    parts = [_text(0, 14, title, "title")]
    for i, curve in enumerate(growth.curves):
        parts += _panel(curve, left=(i % columns) * (width + GAP), top=30 + i // columns * (PANEL_HEIGHT + 44), width=width)
    bottom = 30 + math.ceil(len(growth.curves) / columns) * (PANEL_HEIGHT + 44)
    parts.append(_text(0, bottom - 8, growth.across, "small"))
    return _document(title, WIDTH, bottom, parts)


def _panel(curve: Curve, *, left: float, top: float, width: float) -> list[str]:
    sizes, rounds = list(curve.points), list(curve.points.values())
    most, floor = max(map(max, rounds)) or 1, top + PANEL_HEIGHT

    def at(value: float) -> float:
        return floor - (PANEL_HEIGHT - 34) * value / most

    medians = list(map(statistics.median, rounds))
    across = [left + 6 + (width - 16) * math.log(size / sizes[0]) / math.log(sizes[-1] / sizes[0]) for size in sizes]
    above = [(x, at(max(values))) for x, values in zip(across, rounds, strict=True)]
    below = [(x, at(min(values))) for x, values in zip(across, rounds, strict=True)]
    middle = [(x, at(median)) for x, median in zip(across, medians, strict=True)]
    parts = [
        _text(left, top + 12, f"{curve.what}, {curve.unit}"),
        _line(left, floor, left + width, floor, "axis"),
        f'<polygon class="motet band" points="{_points([*above, *reversed(below)])}"/>',
        f'<polyline class="motet line" style="fill:none" points="{_points(middle)}"/>',
        *(f'<circle class="motet" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in middle),
        _text(across[0], middle[0][1] - 8, number(medians[0]), "small"),
        _text(across[-1], middle[-1][1] - 8, number(medians[-1]), "small", anchor="end"),
    ]
    free = math.inf  # px to the left of which there is place for a number
    for size, x in zip(reversed(sizes), reversed(across), strict=True):
        if x <= free:
            parts.append(_text(x, floor + 14, f"{size:,}", "small", anchor="middle"))
            free = x - TICK
    return parts


def _document(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-6 0 {width + 12:g} {height:g}" width="{width:g}" role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", STYLE, *parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, kind: str = "", *, anchor: str = "start") -> str:
    attributes = f' class="{kind}"' if kind else ""
    return f'<text{attributes} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _points(pairs: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)
