"""Plots as small SVG files: text that is compared line by line, without a library, readable on light and on dark pages."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from figures import Growth, number

WIDTH = 760  # px
ROW, BAR = 26, 14  # px: of a bar with the space around it, of the bar alone
LABELS, VALUES = 250, 170  # px: columns for what a bar is, and for its figure
PANEL, PANEL_HEIGHT, GAP = 240, 170, 18  # px: of a panel with lines
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
    columns = min(3, len(growth.curves))
    parts = [_text(0, 14, title, "title")]
    for i, curve in enumerate(growth.curves):
        left, top = (i % columns) * (PANEL + GAP), 30 + i // columns * (PANEL_HEIGHT + 44)
        sizes = list(curve.points)
        most = max(max(values) for values in curve.points.values()) or 1
        across = [left + 6 + (PANEL - 12) * math.log(size / sizes[0]) / math.log(sizes[-1] / sizes[0]) for size in sizes]
        floor = top + PANEL_HEIGHT

        def at(value: float, floor: float = floor, most: float = most) -> float:
            return floor - (PANEL_HEIGHT - 34) * value / most

        medians = [statistics.median(values) for values in curve.points.values()]
        edge = [(x, at(max(v))) for x, v in zip(across, curve.points.values(), strict=True)]
        edge += [(x, at(min(v))) for x, v in reversed(list(zip(across, curve.points.values(), strict=True)))]
        parts += [
            _text(left, top + 12, f"{curve.what}, {curve.unit}"),
            _line(left, floor, left + PANEL, floor, "axis"),
            f'<polygon class="motet band" points="{_points(edge)}"/>',
            f'<polyline class="motet line" style="fill:none" points="{_points(zip(across, map(at, medians), strict=True))}"/>',
        ]
        for size, x, middle in zip(sizes, across, medians, strict=True):
            parts += [
                f'<circle class="motet" cx="{x:.1f}" cy="{at(middle):.1f}" r="2.5"/>',
                _text(x, floor + 14, f"{size:,}", "small", anchor="middle"),
            ]
        for size, x, middle in ((sizes[0], across[0], medians[0]), (sizes[-1], across[-1], medians[-1])):
            parts.append(_text(x, at(middle) - 8, number(middle), "small", anchor="start" if size == sizes[0] else "end"))
    rows = math.ceil(len(growth.curves) / columns)
    parts.append(_text(0, 30 + rows * (PANEL_HEIGHT + 44) - 8, growth.across, "small"))
    return _document(title, columns * (PANEL + GAP), 30 + rows * (PANEL_HEIGHT + 44), parts)


def _document(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-6 0 {width + 12:g} {height:g}" width="{width:g}" role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", STYLE, *parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, kind: str = "", *, anchor: str = "start") -> str:
    attributes = f' class="{kind}"' if kind else ""
    return f'<text{attributes} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _points(pairs: object) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)  # type: ignore[attr-defined]
