"""A chain of three Serve deployments: an array is made, passed on, and looked at; a fourth deployment calls them and measures.

It takes requests on standard input: `value SIZE CALLS` and `reference SIZE CALLS` are answered with the median seconds of a chain
in which the caller awaits each array and passes it on, or passes on the responses themselves.
"""

import asyncio
import json
import sys
import time
from typing import Any

import numpy as np
from ray import serve
from server import deployment, start


@deployment
class Maker:
    """Makes arrays, once each."""

    def __init__(self) -> None:
        self.array = np.zeros(0, dtype=np.uint8)

    async def make(self, size: int) -> np.ndarray:
        """Return an array of `size` bytes."""
        if self.array.nbytes != size:
            self.array = np.zeros(size, dtype=np.uint8)
        return self.array


@deployment
class Passer:
    """Returns what it is given."""

    async def same(self, array: np.ndarray) -> np.ndarray:
        """Return the array."""
        return array


@deployment
class Reader:
    """Looks at arrays."""

    async def size(self, array: np.ndarray) -> int:
        """Return the number of bytes."""
        return int(array.nbytes)


@deployment
class Caller:
    """Calls the chain."""

    def __init__(self, maker: Any, passer: Any, reader: Any) -> None:
        self.maker, self.passer, self.reader = maker, passer, reader

    async def measure(self, how: str, size: int, calls: int) -> float:
        """Return the median seconds of a chain."""
        chain = self.by_value if how == "value" else self.by_reference
        times: list[float] = []
        for _ in range(calls):
            begun = time.perf_counter()
            assert await chain(size) == size
            times.append(time.perf_counter() - begun)
        return sorted(times)[calls // 2]

    async def by_value(self, size: int) -> int:
        """Await each result."""
        array = await self.maker.make.remote(size)
        return await self.reader.size.remote(await self.passer.same.remote(array))

    async def by_reference(self, size: int) -> int:
        """Pass on what isn't there yet; where the mode has no references by itself, they are asked for."""
        options = {"_by_reference": True}
        array = self.maker.options(**options).make.remote(size)
        return await self.reader.size.remote(self.passer.options(**options).same.remote(array))


async def main(caller: Any) -> None:
    """Do as standard input says. The loop runs on while it is read: in throughput mode, handles live in it."""
    while words := (await asyncio.to_thread(sys.stdin.readline)).split():
        how, size, calls = words
        try:
            answer: float | str = await caller.measure.remote(how, int(size), int(calls))
        except Exception as e:  # noqa: BLE001  # what it can't do is an answer too
            answer = f"{type(e).__name__}: {e}"[:300]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    start(int(sys.argv[1]))
    asyncio.run(main(serve.run(Caller.bind(Maker.bind(), Passer.bind(), Reader.bind()), name="chain", route_prefix=None)))
