"""What is measured: figures with their spread, beside a peer of the same rounds, and the goals they are held against."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure: rounds, and seconds or repetitions in each."""

    quick: bool

    def pick(self, full: int, quick: int) -> int:
        """Return the count for this effort."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should reach: of its ratio to the peer, or of itself."""

    bound: float
    side: Literal["at least", "at most"]
    of: Literal["ratio", "figure"]

    def verdict(self, figure: Figure) -> str:
        """Return whether the figure reaches it: in all rounds, in none, or in how many of them."""
        values = figure.ratios if self.of == "ratio" else figure.values
        met = sum(value >= self.bound if self.side == "at least" else value <= self.bound for value in values)
        return "met" if met == len(values) else "missed" if met == 0 else f"met in {met} of {len(values)} rounds"

    def reached(self, figure: Figure) -> float:
        """Return how much of the goal the median is: 1 just meets it, 2 is twice as good."""
        middle = statistics.median(figure.ratios if self.of == "ratio" else figure.values)
        return middle / self.bound if self.side == "at least" else self.bound / middle

    def __str__(self) -> str:
        sign = "≥" if self.side == "at least" else "≤"
        return f"{sign} {self.bound:g} x" if self.of == "ratio" else f"{sign} {number(self.bound)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the tables.

    Attributes:
        what: is measured.
        unit: of `values` and `peers`.
        values: of Motet, one a round.
        peers: of what ran beside it in the same rounds; empty if nothing did.
        goal: to be reached; None where there is none.
    """

    what: str
    unit: str
    values: Sequence[float]
    peers: Sequence[float] = ()
    goal: Goal | None = None

    @property
    def ratios(self) -> Sequence[float]:
        """The ratios to the peer, round by round: what disturbs a round often disturbs both, if not always equally."""
        return [value / peer for value, peer in zip(self.values, self.peers, strict=True)] if self.peers else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The figures of one measurement.

    Attributes:
        name: of the measurement.
        peer: what the peers are, as a column's heading; empty if there are none.
        figures: the lines.
    """

    name: str
    peer: str = ""
    figures: Sequence[Figure]

    def rows(self) -> list[tuple[str, ...]]:
        """Return the heading and one row for each figure, as text."""
        has_peers, has_goals = any(f.peers for f in self.figures), any(f.goal for f in self.figures)
        head = ["", "Motet", *([self.peer, "ratio"] if has_peers else []), *(["goal"] if has_goals else [])]
        rows = [tuple(head)]
        for figure in self.figures:
            row = [f"{figure.what}, {figure.unit}", spread(figure.values)]
            if has_peers:
                row += [spread(figure.peers), spread(figure.ratios)] if figure.peers else ["", ""]
            if has_goals:
                row.append("" if figure.goal is None else f"{figure.goal}: {figure.goal.verdict(figure)}")
            rows.append(tuple(row))
        return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """What something costs at several sizes.

    Attributes:
        what: is measured.
        unit: of the values.
        points: the values at each size, one a round.
    """

    what: str
    unit: str
    points: Mapping[int, Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Curves over the same sizes.

    Attributes:
        name: of the measurement.
        across: what there is more and more of.
        curves: the columns.
    """

    name: str
    across: str
    curves: Sequence[Curve]

    def rows(self) -> list[tuple[str, ...]]:
        """Return the heading, one row for each size, and how much the last is of the first, as text."""
        sizes = list(self.curves[0].points)
        rows = [(self.across, *(f"{curve.what}, {curve.unit}" for curve in self.curves))]
        rows += [(f"{size:,}", *(spread(curve.points[size]) for curve in self.curves)) for size in sizes]
        ends = [[statistics.median(curve.points[size]) for size in (sizes[0], sizes[-1])] for curve in self.curves]
        rows.append((f"{sizes[-1]:,} against {sizes[0]:,}", *(f"{number(last / first)} x" if first else "" for first, last in ends)))
        return rows


def number(value: float) -> str:
    """Return a value with three digits that count."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"


def spread(values: Sequence[float]) -> str:
    """Return the median, and the least and the greatest value."""
    middle = number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))} to {number(max(values))})"
