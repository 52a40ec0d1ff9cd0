"""Batching: a model that takes 5 ms and 0.1 ms an item, up to 32 items, and 64 clients in one process."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

import apps
import motet
from figures import Effort, Figure, Table

CLIENTS = 64
LIMIT = apps.BATCH / (apps.FIXED + apps.EACH * apps.BATCH)  # items/s that the arithmetic allows


def measure(effort: Effort) -> Table:
    """Measure both engines in turn."""
    rounds, seconds = effort.pick(5, 3), effort.pick(3, 1)
    rates = asyncio.run(_rounds(rounds, seconds))
    return Table(
        name="batches",
        peer="the arithmetic",
        figures=[
            Figure(what=f"{CLIENTS} clients, {name} engine", unit="items/s", values=values, peers=[LIMIT] * rounds)
            for name, values in rates.items()
        ],
    )


async def _rounds(rounds: int, seconds: float) -> dict[str, list[float]]:
    engines: tuple[Literal["local", "inline"], ...] = ("local", "inline")
    rates: dict[str, list[float]] = {name: [] for name in engines}
    async with (
        motet.run(apps.model, engine="local", name="local") as local,
        motet.run(apps.model, engine="inline", name="inline") as inline,
    ):
        for _ in range(rounds):
            for name, model in zip(engines, (local, inline), strict=True):
                rates[name].append(await _rate(model, seconds))
    return rates


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
