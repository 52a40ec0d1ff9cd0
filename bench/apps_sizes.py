"""Apps of many sizes, built from the environment: as many endpoints or services as a variable says."""

from __future__ import annotations

import os

import motet

COUNT = int(os.environ.get("BENCH_COUNT", "1"))


class Leaf(motet.Service):
    """One of many services."""

    def __init__(self, number: int) -> None:
        self.number = number

    @motet.endpoint
    async def same(self, x: int) -> int:
        """Return the argument."""
        return x


class Root(motet.Service):
    """Calls the last of many services; the others are there and do nothing."""

    def __init__(self, leaves: list[Leaf]) -> None:
        self.leaves = leaves

    @motet.endpoint
    async def same(self, x: int) -> int:
        """Return the argument, by way of a service."""
        return await self.leaves[-1].same(x)


def wide(count: int) -> type[motet.Service]:
    """Return a service with `count` endpoints, `e0` and so on."""
    body = {f"e{i}": motet.endpoint(_renamed(i)) for i in range(count)}
    return type("Wide", (motet.Service,), {**body, "__module__": __name__, "__doc__": "Many endpoints."})


def _renamed(number: int) -> object:
    async def same(self: motet.Service, x: int) -> int:  # noqa: ARG001
        """Return the argument."""
        return x

    same.__name__, same.__qualname__ = f"e{number}", f"Wide.e{number}"
    return same


Wide = wide(COUNT)
services = Root.bind([Leaf.bind(i) for i in range(COUNT)])
endpoints = Wide.bind()
replicas = Leaf.bind(0).options(replicas=COUNT)
