"""Services that are put together in every way, with hooks, contexts and faults at the start."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import motet
from motet.testing import Gate


class Leaf(motet.Service):
    """Knows its name."""

    def __init__(self, name: str = "leaf") -> None:
        self.name = name

    @motet.endpoint
    def who(self) -> str:
        return self.name


class LoudLeaf(Leaf):
    """Overrides an endpoint and adds one."""

    @motet.endpoint
    def who(self) -> str:
        return self.name.upper()

    @motet.endpoint
    async def own(self) -> str:
        return await self.who() + "!"


class QuietLeaf(Leaf):
    """Overrides an endpoint by something that is none."""

    def who(self) -> str:  # type: ignore[override]
        return "hidden"

    @motet.endpoint
    def visible(self) -> str:
        return self.who()


class Named(Protocol):
    """Anything that knows its name."""

    def who(self) -> motet.Call[str]: ...


class FakeLeaf(motet.Service):
    """Stands for a Leaf, without being one."""

    @motet.endpoint
    def who(self) -> str:
        return "fake"


class Team(motet.Service):
    """Has dependencies in a list, a dict, and alone."""

    def __init__(self, members: list[Leaf], roles: dict[str, Leaf], lead: Named) -> None:
        self.members = members
        self.roles = roles
        self.lead = lead

    @motet.endpoint
    async def names(self) -> list[str]:
        return await asyncio.gather(*[m.who() for m in self.members], *[r.who() for r in self.roles.values()], self.lead.who())


class Pair(motet.Service):
    """Has two dependencies, which may be one."""

    def __init__(self, first: Leaf, second: Leaf) -> None:
        self.first = first
        self.second = second

    @motet.endpoint
    async def names(self) -> list[str]:
        return [await self.first.who(), await self.second.who()]


default_leaf = Leaf.bind("default")


class WithDefault(motet.Service):
    """Has a dependency as the default of its parameter."""

    def __init__(self, leaf: Leaf = motet.depends(default_leaf, timeout=5)) -> None:  # noqa: B008  # the way to write it
        self.leaf = leaf

    @motet.endpoint
    async def name(self) -> str:
        return await self.leaf.who()


class Counter(motet.Service):
    """Tells its instances apart: equal nodes share one."""

    def __init__(self, constructed: Gate) -> None:
        constructed.reached()
        self.count = 0

    @motet.endpoint
    def next(self) -> int:
        self.count += 1
        return self.count


class Users(motet.Service):
    """Uses two counters."""

    def __init__(self, first: Counter, second: Counter) -> None:
        self.first = first
        self.second = second

    @motet.endpoint
    async def both(self) -> list[int]:
        return [await self.first.next(), await self.second.next()]


class Aware(motet.Service):
    """Knows where it runs."""

    def __init__(self, word: str, context: motet.Context = motet.injected) -> None:
        self.word = word
        self.context = context

    @motet.endpoint
    def where(self) -> dict[str, str]:
        c = self.context
        return {"app": c.app, "service": c.service, "replica": c.replica, "engine": c.engine, "word": self.word}

    @motet.endpoint
    def writes(self) -> bool:
        file = self.context.data_dir / "note"
        file.write_text("x")
        return file.read_text() == "x"


class Hooked(motet.Service):
    """Says which of its hooks ran."""

    def __init__(self, started: Gate, stopped: Gate, checked: Gate) -> None:
        self.started = started
        self.stopped = stopped
        self.checked = checked
        self.ready = False

    @classmethod
    def preload(cls, started: Gate) -> None:
        started.reached()

    async def start(self) -> None:
        self.started.reached()
        self.ready = True

    def health(self) -> None:
        assert self.ready
        self.checked.reached()

    async def stop(self) -> None:
        self.stopped.reached()

    @motet.endpoint
    def is_ready(self) -> bool:
        return self.ready


class Asks(motet.Service):
    """Calls a dependency in its constructor and in its `start` hook."""

    def __init__(self, leaf: Leaf) -> None:
        self.leaf = leaf
        self.name = leaf.who().result()
        self.again = ""

    async def start(self) -> None:
        self.again = await self.leaf.who()

    @motet.endpoint
    def names(self) -> list[str]:
        return [self.name, self.again]


class Slow(motet.Service):
    """Is constructed as slowly as a test wants."""

    def __init__(self, begun: Gate, go: Gate) -> None:
        begun.reached()
        go.wait_sync()

    @motet.endpoint
    def ok(self) -> int:
        return 1


class Broken(motet.Service):
    """Fails when it is constructed, started, or looked at."""

    def __init__(self, how: str, leaf: Leaf | None = None) -> None:
        self.how = how
        if how == "exit":
            raise SystemExit("no license")
        if how == "empty":
            next(iter([]))
        if how == "init":
            raise FileNotFoundError(2, "no model here", "/models/none")

    async def start(self) -> None:
        if self.how == "start":
            message = "no connection"
            raise ConnectionError(message)
        if self.how == "start-exit":
            raise SystemExit("no license")

    async def health(self) -> bool:
        if self.how == "health":
            message = "sick"
            raise RuntimeError(message)
        return self.how != "health-false"

    @motet.endpoint
    def ok(self) -> int:
        return 1


class NeedsHook(motet.Service):
    """Depends on a service with hooks and on one that may be broken."""

    def __init__(self, hooked: Hooked, broken: Broken) -> None:
        self.hooked = hooked
        self.broken = broken

    @motet.endpoint
    def ok(self) -> int:
        return 1


class Own(motet.Service):
    """Calls its own endpoints."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    @motet.endpoint
    def plain(self, x: int) -> int:
        if x < 0:
            raise ValueError(x)
        return x + 1

    @motet.endpoint
    async def asynchronous(self, x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    @motet.endpoint
    def numbers(self, n: int) -> Iterator[int]:
        yield from range(n)

    @motet.endpoint
    async def numbers_async(self, n: int) -> AsyncIterator[int]:
        for i in range(n):
            yield i

    @motet.batched
    def double(self, xs: list[int]) -> list[int | motet.Failed]:
        return [motet.Failed(ValueError(x)) if x < 0 else 2 * x for x in xs]

    @motet.endpoint
    def remember(self, items: list[int]) -> list[int]:
        self.seen = items
        return items

    @motet.endpoint
    async def all_async(self, x: int) -> list[int]:
        return [
            await self.plain(x),
            await self.asynchronous(x),
            await self.double(x),
            *[i async for i in self.numbers(2)],
            *[i async for i in self.numbers_async(2)],
        ]

    @motet.endpoint
    def all_sync(self, x: int) -> list[int]:
        return [self.plain(x).result(), self.asynchronous(x).result(), self.double(x).result(), *self.numbers(2), *self.numbers_async(2)]

    @motet.endpoint
    async def gathered(self, n: int) -> list[int]:
        return await asyncio.gather(*[self.asynchronous(i) for i in range(n)], *[self.plain(i) for i in range(n)])

    @motet.endpoint
    async def fails(self, x: int) -> str:
        try:
            await self.plain(-x)
        except ValueError:
            pass
        else:
            return "nothing was raised"
        try:
            await self.double(-x)
        except ValueError as error:
            return f"ValueError {error.args[0]}"
        return "nothing was raised"

    @motet.endpoint
    async def same_object(self) -> bool:
        """Tell whether a call of one's own passes its argument as it is."""
        items = [1]
        return await self.remember(items) is items and self.seen is items

    @motet.endpoint
    def recursive(self, n: int) -> int:
        return 1 if n <= 1 else n * self.recursive(n - 1).result()


class Process(motet.Service):
    """Tells its process."""

    @motet.endpoint
    def pid(self) -> int:
        return os.getpid()
