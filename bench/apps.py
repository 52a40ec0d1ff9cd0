"""The services that are measured, and those that measure calls from within a replica."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
from pydantic import BaseModel

import motet


class Item(BaseModel):
    """A small body with fields of the usual types."""

    name: str
    count: int
    price: float
    tags: list[str]
    active: bool


class Echo(motet.Service):
    """Answers what it is asked."""

    @motet.endpoint
    async def echo(self, item: Item) -> Item:
        """Return the item."""
        return item


class Bodies(motet.Service):
    """Answers what it is asked, a model or an array."""

    @motet.endpoint
    async def echo(self, item: Item) -> Item:
        """Return the item."""
        return item

    @motet.endpoint
    async def array(self, array: np.ndarray) -> np.ndarray:
        """Return the array."""
        return array


class Multiplier(motet.Service):
    """Multiplies matrices of 512 by 512, with numpy or torch."""

    def __init__(self, library: str, number: int) -> None:  # noqa: ARG002  # tells services apart that would be one
        if library == "numpy":
            self._matrix: Any = np.ones((512, 512), np.float32)
        else:
            import torch  # noqa: PLC0415  # only what measures it pays for it

            self._matrix = torch.ones(512, 512)

    @motet.endpoint
    def multiply(self) -> None:
        """Multiply a few times."""
        for _ in range(4):
            self._matrix @ self._matrix


class Callee(motet.Service):
    """Does nothing, in every way."""

    @motet.endpoint
    async def in_loop(self, x: int) -> int:
        """Return the argument."""
        return x

    @motet.endpoint
    def in_thread(self, x: int) -> int:
        """Return the argument."""
        return x

    @motet.endpoint
    async def size(self, array: np.ndarray) -> int:
        """Return the number of bytes."""
        return int(array.nbytes)

    @motet.endpoint
    async def count(self, items: int) -> AsyncIterator[int]:
        """Count."""
        for i in range(items):
            yield i

    @motet.endpoint
    async def lines(self, items: int) -> AsyncIterator[bytes]:
        """Count in bytes, which go to HTTP clients as they are."""
        for i in range(items):
            yield b"%d\n" % i

    @motet.endpoint
    async def ticks(self, items: int, interval: float) -> AsyncIterator[float]:
        """Send an item every `interval` seconds: the time when it was due."""
        due = time.monotonic()
        for _ in range(items):
            due += interval
            await asyncio.sleep(due - time.monotonic())
            yield due

    @motet.endpoint
    def count_in_thread(self, items: int) -> Iterator[int]:
        """Count."""
        yield from range(items)


class Front(motet.Service):
    """Measures its calls of another service; all times in seconds."""

    def __init__(self, callee: Callee) -> None:
        self.callee = callee

    @motet.endpoint
    async def one_at_a_time(self, calls: int, *, threads: bool) -> float:
        """Return the median time of a call."""
        call = self.callee.in_thread if threads else self.callee.in_loop
        times: list[float] = []
        for i in range(calls):
            begun = time.perf_counter()
            await call(i)
            times.append(time.perf_counter() - begun)
        return sorted(times)[calls // 2]

    @motet.endpoint
    async def many_at_once(self, calls: int, width: int, *, threads: bool) -> float:
        """Return how many calls end in a second while `width` are under way."""
        call = self.callee.in_thread if threads else self.callee.in_loop

        async def client() -> None:
            for i in range(calls // width):
                await call(i)

        begun = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(width)))
        return calls / (time.perf_counter() - begun)

    @motet.endpoint
    async def array(self, size: int, calls: int) -> float:
        """Return the median time of a call with an array of `size` bytes."""
        array = np.zeros(size, dtype=np.uint8)
        times: list[float] = []
        for _ in range(calls):
            begun = time.perf_counter()
            assert await self.callee.size(array) == size
            times.append(time.perf_counter() - begun)
        return sorted(times)[calls // 2]

    @motet.endpoint
    async def stream(self, items: int, *, threads: bool) -> float:
        """Return how many items of a stream come in a second."""
        source = self.callee.count_in_thread if threads else self.callee.count
        begun = time.perf_counter()
        got = 0
        async for _ in source(items):
            got += 1
        assert got == items
        return items / (time.perf_counter() - begun)

    @motet.endpoint
    async def first_item(self, calls: int) -> float:
        """Return the median time from a call to the first item of its stream."""
        times: list[float] = []
        for _ in range(calls):
            begun = time.perf_counter()
            arrivals = [time.perf_counter() async for _ in self.callee.count(3)]
            times.append(arrivals[0] - begun)
        return sorted(times)[calls // 2]

    @motet.endpoint
    async def lateness(self, streams: int, items: int, interval: float) -> list[float]:
        """Return how many seconds after they were due the items of many streams came."""
        late: list[float] = []

        async def client() -> None:
            late.extend([time.monotonic() - due async for due in self.callee.ticks(items, interval)])

        await asyncio.gather(*(client() for _ in range(streams)))
        return late


class Origin(motet.Service):
    """Begins a chain: has arrays, or builds them in place."""

    def __init__(self) -> None:
        self._arrays: dict[int, np.ndarray] = {}

    @motet.endpoint
    async def kept(self, size: int) -> np.ndarray:
        """Return an array of bytes that this service keeps, so that it has to be copied."""
        if size not in self._arrays:
            self._arrays[size] = np.ones(size, dtype=np.uint8)
        return self._arrays[size]

    @motet.endpoint
    async def in_place(self, size: int) -> np.ndarray:
        """Return an array of bytes whose contents cost nothing."""
        array = motet.empty(size, np.uint8)
        array[:1] = 1
        return array


class Middle(motet.Service):
    """Passes a chain on."""

    @motet.endpoint
    async def through(self, array: np.ndarray) -> np.ndarray:
        """Return the array."""
        return array


class Chain(motet.Service):
    """Measures a chain of three services that pass an array on by reference."""

    def __init__(self, origin: Origin, middle: Middle, callee: Callee) -> None:
        self.origin = origin
        self.middle = middle
        self.callee = callee

    @motet.endpoint
    async def run(self, size: int, times: int, *, in_place: bool) -> float:
        """Return the median seconds of the whole chain."""
        origin = self.origin.in_place if in_place else self.origin.kept
        taken: list[float] = []
        for _ in range(times):
            begun = time.perf_counter()
            assert await self.callee.size(self.middle.through(origin(size).ref).ref) == size
            taken.append(time.perf_counter() - begun)
        return sorted(taken)[times // 2]


BATCH, FIXED, EACH = 32, 0.005, 0.0001  # items, s, s


class Model(motet.Service):
    """Takes a while for a batch and a little more for each of its items, as a model does."""

    @motet.batched(max_size=BATCH, max_wait=0.005)
    def infer(self, items: list[int]) -> list[int]:
        """Return the items."""
        time.sleep(FIXED + EACH * len(items))
        return items


echo = Echo.bind()
echo_wide = Echo.bind().options(queue=5000)  # more connections than the usual queue has places
echo_twice = Echo.bind().options(replicas=2)
bodies = Bodies.bind()
counting = Callee.bind()
front = Front.bind(Callee.bind())
chain = Chain.bind(Origin.bind(), Middle.bind(), Callee.bind())
model = Model.bind()
