"""A chain of three services that pass a large array on by reference, beside one copy of it in memory."""

from __future__ import annotations

import statistics
import time

import numpy as np

import apps
import motet
from figures import Effort, Figure, Goal, Table

MB = 1_000_000
SIZES = (1 * MB, 10 * MB, 100 * MB)  # bytes
COPIES = 1.3  # of one copy in memory, that a chain may take
IN_PLACE = 1.0  # ms that a chain of 10 MB may take whose array is built in place


def measure(effort: Effort) -> list[Table]:
    """Measure chains with an array that the first service copies once, and with one that it builds in place."""
    rounds = effort.pick(9, 5)
    calls = {SIZES[0]: effort.pick(61, 15), SIZES[1]: effort.pick(21, 7), SIZES[2]: 5}
    kept: dict[int, list[float]] = {size: [] for size in SIZES}
    in_place: dict[int, list[float]] = {size: [] for size in SIZES}
    copies: dict[int, list[float]] = {size: [] for size in SIZES}
    hops: list[float] = []
    with motet.run(apps.chain, engine="local") as chain:
        for size in SIZES:
            for made_in_place in (False, True):
                chain.run(size, 8, in_place=made_in_place).result()  # until its blocks are written for the first time
        for _ in range(rounds):
            hops.append(1e3 * chain.run(1, 101, in_place=False).result())
            for size in SIZES:
                copies[size].append(1e3 * _copy(size, calls[size]))
                kept[size].append(1e3 * chain.run(size, calls[size], in_place=False).result())
                in_place[size].append(1e3 * chain.run(size, calls[size], in_place=True).result())
    figures = [Figure(what="nothing to copy (three hops)", unit="ms", values=hops)]
    for size in SIZES:
        # At 1 MB the hops weigh more than the copy.
        peers = copies[size] if size > MB else [copy + alone for copy, alone in zip(copies[size], hops, strict=True)]
        goal = Goal(COPIES, "at most", "ratio") if size > MB else Goal(1.0, "at most", "ratio")
        beside = "" if size > MB else ", beside three hops and one copy"
        figures.append(Figure(what=f"{size // MB} MB{beside}", unit="ms", values=kept[size], peers=peers, goal=goal))
    for size in SIZES:
        goal = Goal(IN_PLACE, "at most", "figure") if size == 10 * MB else None
        figures.append(Figure(what=f"{size // MB} MB, built in place", unit="ms", values=in_place[size], goal=goal))
    return [Table(name="chain", peer="one copy", figures=figures)]


def _copy(size: int, times: int) -> float:
    """Return the median seconds of copying an array to another whose memory has been written before."""
    source, target = np.ones(size, dtype=np.uint8), np.ones(size, dtype=np.uint8)
    taken: list[float] = []
    for _ in range(times):
        begun = time.perf_counter()
        np.copyto(target, source)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


if __name__ == "__main__":
    for table in measure(Effort(quick=True)):
        for row in table.rows():
            print(*row, sep="  ")
