"""A chain of three services: an array is made, passed on, and looked at; a fourth service calls them and measures."""

from __future__ import annotations

import time

import numpy as np

import motet


class Maker(motet.Service):
    """Makes arrays, once each."""

    def __init__(self) -> None:
        self.array = np.zeros(0, dtype=np.uint8)

    @motet.endpoint
    async def make(self, size: int) -> np.ndarray:
        """Return an array of `size` bytes."""
        if self.array.nbytes != size:
            self.array = np.zeros(size, dtype=np.uint8)
        return self.array

    @motet.endpoint
    async def build(self, size: int) -> np.ndarray:
        """Return an array of `size` bytes that was built where others can see it; what fills it is a model's own time."""
        array = motet.empty(size, np.uint8)
        array[0] = 1
        return array


class Passer(motet.Service):
    """Returns what it is given."""

    @motet.endpoint
    async def same(self, array: np.ndarray) -> np.ndarray:
        """Return the array."""
        return array


class Reader(motet.Service):
    """Looks at arrays."""

    @motet.endpoint
    async def size(self, array: np.ndarray) -> int:
        """Return the number of bytes."""
        return int(array.nbytes)

    @motet.endpoint
    async def number(self, x: int) -> int:
        """Return the argument."""
        return x


class Caller(motet.Service):
    """Calls the chain."""

    def __init__(self, maker: Maker, passer: Passer, reader: Reader) -> None:
        self.maker, self.passer, self.reader = maker, passer, reader

    @motet.endpoint
    async def measure(self, how: str, size: int, calls: int) -> float:
        """Return the median seconds of a chain."""
        chain = {"value": self._by_value, "reference": self._by_reference, "place": self._in_place, "hop": self._hop}[how]
        times: list[float] = []
        for _ in range(calls):
            begun = time.perf_counter()
            assert await chain(size) == size
            times.append(time.perf_counter() - begun)
        return sorted(times)[calls // 2]

    async def _by_value(self, size: int) -> int:
        array = await self.maker.make(size)
        return await self.reader.size(await self.passer.same(array))

    async def _by_reference(self, size: int) -> int:
        return await self.reader.size(self.passer.same(self.maker.make(size).ref).ref)

    async def _in_place(self, size: int) -> int:
        return await self.reader.size(self.passer.same(self.maker.build(size).ref).ref)

    async def _hop(self, size: int) -> int:
        return await self.reader.number(size)


app = Caller.bind(Maker.bind(), Passer.bind(), Reader.bind())
