"""Services for the conformance tests: importable, since engines run them in other processes; they talk to tests through gates."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

from pydantic import BaseModel

import motet
from motet.context import current_scope
from motet.testing import Gate


class Point(BaseModel):
    x: int
    y: int = 0


class Named(BaseModel):
    name: str
    point: Point
    points: list[Point] = []


class Kinds(motet.Service):
    """One endpoint of each kind."""

    @motet.endpoint
    def plain(self, x: int, *, by: int = 1) -> int:
        return x + by

    @motet.endpoint
    async def asynchronous(self, x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    @motet.endpoint
    def generate(self, n: int) -> Iterator[int]:
        yield from range(n)

    @motet.endpoint
    async def generate_async(self, n: int) -> AsyncIterator[int]:
        for i in range(n):
            yield i

    @motet.batched(max_size=4)
    def double(self, xs: list[int]) -> list[int]:
        return [2 * x for x in xs]

    @motet.batched
    async def double_async(self, xs: list[int]) -> list[int]:
        return [2 * x for x in xs]

    @motet.endpoint
    def nothing(self) -> None:
        return None

    @motet.endpoint
    def move(self, point: Point, by: int = 1) -> Point:
        return Point(x=point.x + by, y=point.y + by)

    @motet.endpoint
    def thread(self) -> str:
        return threading.current_thread().name


class Held(motet.Service):
    """Endpoints that stop at a gate; the gate is reached once for each call that begins."""

    def __init__(self, gate: Gate, finished: Gate | None = None) -> None:
        self.gate = gate
        self.finished = finished

    @motet.endpoint
    def sync(self, x: int) -> int:
        self.gate.reached()
        self.gate.wait_sync()
        return x

    @motet.endpoint
    async def asynchronous(self, x: int) -> int:
        self.gate.reached()
        try:
            await self.gate.wait()
        finally:
            if self.finished is not None:
                self.finished.reached()
        return x

    @motet.endpoint
    async def fails(self, x: int) -> int:
        self.gate.reached()
        await self.gate.wait()
        raise LookupError(x)

    @motet.endpoint
    def stops(self, x: int) -> int:
        return next(i for i in range(x) if i > x)

    @motet.endpoint
    def quick(self, x: int) -> int:
        return x

    @motet.endpoint
    def threads(self, x: int) -> int:
        return threading.active_count()


class Callers(motet.Service):
    """Calls another service in the ways that endpoints do."""

    def __init__(self, held: Held, kinds: Kinds, begun: Gate) -> None:
        self.held = held
        self.kinds = kinds
        self.begun = begun

    @motet.endpoint
    def from_sync(self, x: int) -> int:
        return self.kinds.plain(x).result() + self.kinds.asynchronous(x).result()

    @motet.endpoint
    async def from_async(self, x: int) -> int:
        first, second = await asyncio.gather(self.kinds.plain(x), self.kinds.asynchronous(x))
        return first + second

    @motet.endpoint
    async def blocking(self, x: int) -> int:
        return self.kinds.plain(x).result()

    @motet.endpoint
    def sum_sync(self, n: int) -> int:
        return sum(self.kinds.generate(n))

    @motet.endpoint
    async def sum_async(self, n: int) -> int:
        return sum([x async for x in self.kinds.generate_async(n)])

    @motet.endpoint
    async def relay(self, n: int) -> AsyncIterator[int]:
        async for x in self.kinds.generate(n):
            yield x

    @motet.endpoint
    async def unawaited(self, x: int) -> int:
        """Returns while its call still runs."""
        self.held.asynchronous(x)
        await self.begun.wait()
        return x

    @motet.endpoint
    def loop_of_its_own(self, x: int) -> int:
        """Leaves a call behind in an event loop that has ended."""

        async def inner() -> None:
            self.held.asynchronous(x)

        asyncio.run(inner())
        return x

    @motet.endpoint
    async def starts_then_waits(self, x: int) -> int:
        call = self.held.asynchronous(x)
        return await call


class Budget(motet.Service):
    """Tells how much time a call has left."""

    @motet.endpoint
    async def left(self) -> float:
        return time_left()

    @motet.endpoint
    def left_sync(self) -> float:
        return time_left()


class Hops(motet.Service):
    """Tells the time left here and one call further."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    @motet.endpoint
    async def left(self) -> list[float]:
        own = time_left()
        return [own, await self.budget.left(), await self.budget.left_sync()]

    @motet.endpoint(timeout=7)
    async def left_of_seven(self) -> list[float]:
        return [time_left(), await self.budget.left()]

    @motet.endpoint
    async def left_with_option(self, seconds: float) -> float:
        return await self.budget.options(timeout=seconds).left()


def time_left() -> float:
    scope = current_scope()
    assert scope is not None
    return scope.left()
