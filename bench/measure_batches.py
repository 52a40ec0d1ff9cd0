"""Batching: a model that takes 5 ms and 0.1 ms an item, up to 32 items, with 64 clients and with one."""

from __future__ import annotations

import asyncio
import statistics
import time

import apps
import motet
import wrk
from figures import Effort, Figure, Goal, Table
from processes import first_answer, free_port, motet_serve, server

CLIENTS = 64
LIMIT = apps.BATCH / (apps.FIXED + apps.EACH * apps.BATCH)  # items/s that the arithmetic allows
ALONE = 1e3 * (apps.FIXED + apps.EACH)  # ms that one item takes
WAYS = ("local", "HTTP", "inline")


def measure(effort: Effort) -> list[Table]:
    """Measure both engines and HTTP in turn, against the arithmetic."""
    rounds, seconds = effort.pick(5, 3), effort.pick(3, 1)
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    alone: dict[str, list[float]] = {way: [] for way in WAYS if way != "HTTP"}
    asyncio.run(_measure(rounds, seconds, rates, alone))
    titles = {"local": "local engine", "HTTP": "over HTTP", "inline": "inline engine"}
    goals = {"local": Goal(0.95, "at least", "ratio"), "HTTP": Goal(0.95, "at least", "ratio"), "inline": None}
    return [
        Table(
            name="batches",
            peer="the arithmetic",
            figures=[
                *(
                    Figure(
                        what=f"{CLIENTS} clients, {titles[way]}",
                        unit="items/s",
                        values=rates[way],
                        peers=[LIMIT] * rounds,
                        goal=goals[way],
                    )
                    for way in WAYS
                ),
                *(
                    Figure(what=f"one client, {titles[way]}", unit="ms", values=values, peers=[ALONE] * rounds)
                    for way, values in alone.items()
                ),
            ],
        )
    ]


async def _measure(rounds: int, seconds: int, rates: dict[str, list[float]], alone: dict[str, list[float]]) -> None:
    port, body = free_port(), b'{"items": 7}'
    async with (
        motet.run(apps.model, engine="local", name="local") as local,
        motet.run(apps.model, engine="inline", name="inline") as inline,
    ):
        models = {"local": local, "inline": inline}
        with server(motet_serve("model", port)):
            first_answer(port, "/infer", body)
            for n in range(rounds + 1):
                for way, model in models.items():
                    rate, lone = await _rate(model, seconds if n else 1), await _lone(model)
                    if n:  # the first round warms up
                        rates[way].append(rate)
                        alone[way].append(lone)
                load = await asyncio.to_thread(wrk.load, port, "/infer", body, connections=CLIENTS, seconds=seconds if n else 1)
                if n:
                    rates["HTTP"].append(load.rate)


async def _rate(model: apps.Model, seconds: float) -> float:
    done = 0
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        nonlocal done
        while time.perf_counter() < end:
            assert await model.infer(number) == number
            done += 1

    begun = time.perf_counter()
    await asyncio.gather(*(client(i) for i in range(CLIENTS)))
    return done / (time.perf_counter() - begun)


async def _lone(model: apps.Model) -> float:
    """Return the median milliseconds of calls with nobody else there."""
    times: list[float] = []
    for _ in range(30):
        begun = time.perf_counter()
        await model.infer(1)
        times.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(times)
