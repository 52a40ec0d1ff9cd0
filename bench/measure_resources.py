"""Two services that compute at the same time: with the cores shared out between them, and with as many threads as cores in each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import Sequence

import apps
import motet
from figures import Effort, Figure, Table

LIBRARIES = ("numpy", "torch")
SERVICES = 2
WAYS = ("shared out", "all each")


def measure(effort: Effort) -> list[Table]:
    """Measure the rate of both services together, and how long their calls take."""
    rounds, seconds = effort.pick(7, 3), effort.pick(4, 1)
    figures: list[Figure] = []
    for library in LIBRARIES:
        figures += asyncio.run(_library(library, rounds, seconds))
    return [Table(name="resources", peer="threads for all cores in each", figures=figures)]


async def _library(library: str, rounds: int, seconds: float) -> list[Figure]:
    cores = len(os.sched_getaffinity(0))
    cpus = {"shared out": max(1, cores // SERVICES), "all each": cores}
    found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    async with contextlib.AsyncExitStack() as stack:
        running: dict[str, list[apps.Multiplier]] = {}
        for way in WAYS:
            nodes = [apps.Multiplier.bind(library, n).options(resources=motet.Resources(cpus=cpus[way])) for n in range(SERVICES)]
            resources = {"cpus": sum(cpus.values()) * SERVICES}  # more than there are: that is the point
            running[way] = [
                await stack.enter_async_context(motet.run(node, name=f"{way}-{n}".replace(" ", "-"), resources=resources))
                for n, node in enumerate(nodes)
            ]
        for round_ in range(rounds + 1):
            for way in WAYS:
                measured = await _together(running[way], seconds if round_ else 1)
                if round_:  # the first round warms up
                    found[way].append(measured)
    ours, theirs = (list(zip(*found[way], strict=True)) for way in WAYS)
    named = (("both services", "calls/s"), ("p50 of a call", "ms"), ("p99 of a call", "ms"))
    return [
        Figure(what=f"{library}, {what}", unit=unit, values=list(own), peers=list(other))
        for (what, unit), own, other in zip(named, ours, theirs, strict=True)
    ]


async def _together(services: Sequence[apps.Multiplier], seconds: float) -> tuple[float, float, float]:
    """Return the calls a second of all services, and the median and 99th percentile of their milliseconds."""
    times: list[float] = []
    begun = time.perf_counter()

    async def client(service: apps.Multiplier) -> None:
        while (start := time.perf_counter()) < begun + seconds:
            await service.multiply()
            times.append(1e3 * (time.perf_counter() - start))

    await asyncio.gather(*(client(service) for service in services))
    rate = len(times) / (time.perf_counter() - begun)
    return rate, statistics.median(times), statistics.quantiles(times, n=100)[98]
