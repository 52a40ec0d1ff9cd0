"""A chain of three services with a large array, beside one copy of it: forwarding should cost little more than that."""

from __future__ import annotations

import apps_chain
import motet
from figures import Effort, Figure, Goal, Table
from processes import Peer

SIZES = (1_000_000, 10_000_000, 100_000_000)  # bytes
CALLS = {SIZES[0]: 51, SIZES[1]: 15, SIZES[2]: 5}
WAYS = ("reference", "value", "place")
HOPS = 3


def measure(effort: Effort) -> list[Table]:
    """Measure chains and copies in turn."""
    rounds = effort.pick(9, 3)
    chains: dict[tuple[str, int], list[float]] = {(way, size): [] for way in WAYS for size in SIZES}
    copies: dict[int, list[float]] = {size: [] for size in SIZES}
    hops: list[float] = []
    with Peer("raw_memcpy.py") as raw, motet.run(apps_chain.app, engine="local") as caller:
        for n in range(rounds + 1):
            if n == 1:  # the first round warmed up
                for values in (*chains.values(), *copies.values(), hops):
                    values.clear()
            hops.append(1e3 * caller.measure("hop", 1, 301).result())
            for size in SIZES:
                copies[size].append(1e3 * raw.ask(size, CALLS[size]))
                for way in WAYS:
                    chains[way, size].append(1e3 * caller.measure(way, size, CALLS[size]).result())
    small, middle, large = SIZES
    hops_and_copy = [HOPS * hop + copy for hop, copy in zip(hops, copies[small], strict=True)]
    close = Goal(1.3, "at most", "ratio")
    figures = [
        Figure(
            what="1 MB by reference, beside three hops and one memcpy",
            unit="ms",
            values=chains["reference", small],
            peers=hops_and_copy,
            goal=Goal(1, "at most", "ratio"),
        ),
        Figure(what="10 MB by reference", unit="ms", values=chains["reference", middle], peers=copies[middle], goal=close),
        Figure(what="100 MB by reference", unit="ms", values=chains["reference", large], peers=copies[large], goal=close),
        *(Figure(what=f"{size // 1_000_000} MB by value", unit="ms", values=chains["value", size], peers=copies[size]) for size in SIZES),
        *(
            Figure(
                what=f"{size // 1_000_000} MB built in place",
                unit="ms",
                values=chains["place", size],
                peers=copies[size],
                goal=Goal(1, "at most", "figure") if size == middle else None,
            )
            for size in SIZES
        ),
    ]
    return [Table(name="chain", peer="one memcpy", figures=figures)]
