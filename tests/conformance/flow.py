"""Services whose streams, batches and slots are watched and held by gates."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import motet
from motet.testing import Gate


class Producer(motet.Service):
    """Counts what it produces and says when a generator was closed."""

    def __init__(self, produced: Gate, closed: Gate, held: Gate | None = None) -> None:
        self.produced = produced
        self.closed = closed
        self.held = held

    @motet.endpoint
    async def numbers(self, n: int) -> AsyncIterator[int]:
        try:
            for i in range(n):
                self.produced.reached()
                yield i
        finally:
            self.closed.reached()

    @motet.endpoint
    def numbers_sync(self, n: int) -> Iterator[int]:
        try:
            for i in range(n):
                self.produced.reached()
                yield i
        finally:
            self.closed.reached()

    @motet.endpoint
    async def one_then_held(self) -> AsyncIterator[int]:
        try:
            self.produced.reached()
            yield 1
            if self.held is not None:
                await self.held.wait()
            yield 2
        finally:
            self.closed.reached()

    @motet.endpoint
    async def with_a_task(self, n: int) -> AsyncIterator[int]:
        task = asyncio.create_task(asyncio.Event().wait())
        try:
            for i in range(n):
                yield i
        finally:
            task.cancel()
            self.closed.reached()
            await task

    @motet.endpoint
    async def ping(self) -> int:
        return 1

    @motet.endpoint
    def ping_sync(self) -> int:
        return 1


class Relay(motet.Service):
    """Reads a stream in the ways that endpoints do."""

    def __init__(self, producer: Producer) -> None:
        self.producer = producer

    @motet.endpoint
    async def relay(self, n: int) -> AsyncIterator[int]:
        async for i in self.producer.numbers(n):
            yield i

    @motet.endpoint
    async def first(self, n: int) -> int:
        async for i in self.producer.numbers(n):
            return i
        return -1

    @motet.endpoint
    def first_sync(self, n: int) -> int:
        for i in self.producer.numbers_sync(n):
            return i
        return -1

    @motet.endpoint
    async def firsts(self, times: int) -> list[int]:
        """Leave one stream after the other early; their producer has one thread."""
        found: list[int] = []
        for _ in range(times):
            async for i in self.producer.numbers_sync(100_000):
                found.append(i)
                break
        return found


class Batches(motet.Service):
    """Batched endpoints that tell the size of their batch."""

    def __init__(self, begun: Gate, go: Gate) -> None:
        self.begun = begun
        self.go = go

    @motet.batched(max_size=4)
    def sizes(self, xs: list[int]) -> list[int]:
        """Return the batch's size for each item; the item 0 waits for the gate."""
        self.begun.reached()
        if 0 in xs:
            self.go.wait_sync()
        return [len(xs)] * len(xs)

    @motet.batched(max_size=4)
    async def sizes_async(self, xs: list[int]) -> list[int]:
        self.begun.reached()
        if 0 in xs:
            await self.go.wait()
        return [len(xs)] * len(xs)

    @motet.batched(max_size=8, max_wait=0)
    def at_once(self, xs: list[int]) -> list[int]:
        return [len(xs)] * len(xs)

    @motet.batched(max_size=8)
    def some_fail(self, xs: list[int]) -> list[int | motet.Failed]:
        self.begun.reached()
        if 0 in xs:
            self.go.wait_sync()
        return [motet.Failed(ValueError(f"odd {x}")) if x % 2 else x for x in xs]

    @motet.batched(max_size=8)
    def all_fail(self, xs: list[int]) -> list[int]:
        if 0 in xs:
            self.begun.reached()
            self.go.wait_sync()
            return xs
        raise KeyError("all", len(xs))

    @motet.batched(max_size=8)
    def too_few(self, xs: list[int]) -> list[int]:
        if 0 in xs:
            self.begun.reached()
            self.go.wait_sync()
            return xs
        return xs[1:]

    @motet.batched(max_size=8)
    def one_wrong(self, xs: list[int]) -> list[int]:
        if 0 in xs:
            self.begun.reached()
            self.go.wait_sync()
        return ["no" if x == 3 else x for x in xs]  # type: ignore[misc]

    @motet.endpoint
    async def ping(self) -> None:
        """Answer: everything that was sent before has arrived."""

    @motet.batched(max_size=8)
    def one_unsendable(self, xs: list[int]) -> list[str]:
        if 0 in xs:
            self.begun.reached()
            self.go.wait_sync()
        return ["\udcff" if x == 3 else str(x) for x in xs]

    @motet.batched(max_size=8)
    async def one_unsendable_async(self, xs: list[int]) -> list[str]:
        if 0 in xs:
            self.begun.reached()
            await self.go.wait()
        return ["\udcff" if x == 3 else str(x) for x in xs]

    @motet.batched
    def no_list(self, xs: list[int]) -> list[int]:
        return tuple(xs)  # type: ignore[return-value]


class Slots(motet.Service):
    """Tells how many calls run at once, by reaching a gate and waiting at another."""

    def __init__(self, begun: Gate, go: Gate) -> None:
        self.begun = begun
        self.go = go

    @motet.endpoint
    def sync(self, x: int) -> int:
        self.begun.reached()
        self.go.wait_sync()
        return x

    @motet.endpoint
    async def asynchronous(self, x: int) -> int:
        self.begun.reached()
        await self.go.wait()
        return x

    @motet.endpoint
    def stream(self, x: int) -> Iterator[int]:
        self.begun.reached()
        self.go.wait_sync()
        yield x

    @motet.endpoint
    async def ping(self) -> int:
        await asyncio.sleep(0)
        return 1

    @motet.endpoint
    def ping_sync(self) -> int:
        return 1


class Late(motet.Service):
    """Is held, and says what was cancelled and what began."""

    def __init__(self, begun: Gate, go: Gate, cancelled: Gate) -> None:
        self.begun = begun
        self.go = go
        self.cancelled = cancelled

    @motet.endpoint
    async def wait(self, x: int) -> int:
        self.begun.reached()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.reached()
            raise
        return x

    @motet.endpoint
    def block(self, x: int) -> int:
        self.begun.reached()
        self.go.wait_sync()
        return x

    @motet.endpoint(timeout=0.5)
    async def hurried(self, x: int) -> int:
        return await self.wait(x)

    @motet.endpoint
    async def ping(self) -> int:
        return 1


class AboveLate(motet.Service):
    """Passes on to a service that is held."""

    def __init__(self, late: Late) -> None:
        self.late = late

    @motet.endpoint
    async def wait(self, x: int) -> int:
        return await self.late.wait(x)

    @motet.endpoint
    def block(self, x: int) -> int:
        return self.late.wait(x).result()

    @motet.endpoint
    async def patient(self, x: int) -> str:
        try:
            await self.late.options(timeout=0.5).wait(x)
        except motet.DeadlineExceeded:
            return "too late"
        return "in time"


class Worker(motet.Service):
    """Has a task do its work, which tells its errors to those who wait and goes on."""

    async def start(self) -> None:
        self.queue: asyncio.Queue[tuple[int, asyncio.Future[int]]] = asyncio.Queue()
        self.task = asyncio.create_task(self.work())

    async def work(self) -> None:
        while True:
            x, outcome = await self.queue.get()
            try:
                outcome.set_result(10 // x)
            except ZeroDivisionError as error:
                outcome.set_exception(error)

    async def stop(self) -> None:
        self.task.cancel()

    @motet.endpoint
    async def divide(self, x: int) -> int:
        outcome = asyncio.get_running_loop().create_future()
        await self.queue.put((x, outcome))
        return await outcome
