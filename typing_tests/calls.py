"""Calls and streams as values: awaited, waited for, gathered, forwarded, relayed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

import numpy as np
from pydantic import BaseModel

import motet
from services import Batches, Counts, Detector, Detects, Found, Index, Kinds, Passage, Question, Search, Vector


async def awaited(kinds: Kinds, batches: Batches) -> None:
    assert_type(await kinds.plain(1), int)
    assert_type(await kinds.asynchronous(1), int)
    assert_type(await kinds.maybe("x"), str | None)
    assert_type(await batches.embed("x"), Vector)
    assert_type(await batches.some_fail("x"), int)
    assert_type(await kinds.options(timeout=1).plain(1), int)


def waited_for(kinds: Kinds) -> None:
    call = kinds.plain(1)
    assert_type(call.result(), int)
    assert_type(call.result(timeout=3), int)
    assert_type(call.done(), bool)
    assert_type(call.cancel(), bool)
    assert_type(kinds.maybe_many("x").result(), list[str] | None)


async def together(kinds: Kinds, detector: Detector) -> None:
    first, second, third = await asyncio.gather(kinds.plain(1), detector.language("x"), kinds.maybe("x"))
    assert_type(first, int)
    assert_type(second, str)
    assert_type(third, str | None)
    assert_type(await asyncio.gather(*[kinds.plain(x) for x in range(3)]), list[int])
    assert_type(
        await asyncio.gather(kinds.plain(1), kinds.plain(2), return_exceptions=True), tuple[int | BaseException, int | BaseException]
    )
    assert_type(await asyncio.wait_for(kinds.plain(1), timeout=1), int)
    assert_type(await asyncio.shield(kinds.plain(1)), int)
    for done in asyncio.as_completed([kinds.plain(x) for x in range(3)]):
        assert_type(await done, int)
    async with asyncio.timeout(1):
        assert_type(await kinds.plain(1), int)


def covariant(call: motet.Call[int], stream: motet.Stream[int]) -> tuple[motet.Call[float], motet.Stream[float]]:
    return call, stream


class Bundle(BaseModel):
    label: motet.Forwarded[str]
    vector: motet.Forwarded[np.ndarray[Any, np.dtype[np.float32]]]


class Bundles(motet.Service):
    @motet.endpoint
    def take(self, bundle: Bundle, more: dict[str, Vector]) -> int:
        return len(more)


async def forwarded(batches: Batches, index: Index, detector: Detector, bundles: Bundles) -> None:
    vector = batches.embed("x")
    assert_type(vector.ref, Vector)
    assert_type(index.nearest(vector.ref, 3), motet.Call[list[Passage]])
    assert_type(index.of_all([vector.ref, batches.embed("y").ref]), motet.Call[list[Passage]])
    bundle = Bundle(label=detector.language("x").ref, vector=vector.ref)
    assert_type(await bundles.take(bundle, {"x": vector.ref}), int)
    assert_type(await bundles.take(Bundle(label="x", vector=vector.ref), {}), int)


class Shares(motet.Service):
    @motet.endpoint
    def turned(self, vector: motet.Shared[Vector], more: list[motet.Shared[Vector]]) -> motet.Shared[Vector]:
        assert_type(vector, Vector)
        return vector if len(more) else -vector

    @motet.endpoint
    def in_place(self, n: int) -> Vector:
        result = motet.empty((n, 2), np.float32)
        result[:] = 0
        return result


async def shared(shares: Shares, batches: Batches) -> None:
    vector = shares.turned(batches.embed("x").ref, [await batches.embed("y")])
    assert_type(await vector, Vector)
    assert_type(await shares.in_place(3), Vector)
    assert_type(await shares.turned(motet.empty(3, "f4"), []), Vector)


async def streamed(kinds: Kinds) -> None:
    async for number in kinds.iterate(3):
        assert_type(number, int)
    async for text in kinds.iterate_async(3):
        assert_type(text, str)
    assert_type([number async for number in kinds.options(timeout=1).generate(3)], list[int])
    stream = kinds.generate_async(3)
    assert_type(await anext(stream), str)
    assert_type(stream.cancel(), bool)
    await stream.aclose()


def streamed_sync(kinds: Kinds) -> None:
    for number in kinds.iterate(3):
        assert_type(number, int)
    assert_type(list(kinds.iterate_async(3)), list[str])


class Relay(motet.Service):
    """Hands on what another service streams."""

    def __init__(self, kinds: Kinds) -> None:
        self.kinds = kinds

    @motet.endpoint
    async def relayed(self, n: int) -> AsyncIterator[int]:
        async for number in self.kinds.iterate(n):
            yield number

    @motet.endpoint
    def relayed_sync(self, n: int) -> Iterator[int]:
        yield from self.kinds.iterate(n)

    @motet.endpoint
    async def own(self, n: int) -> int:
        return await self.counted(n) + sum([number async for number in self.relayed(n)])

    @motet.endpoint
    def counted(self, n: int) -> int:
        return n


def relays(relay: Relay) -> None:
    assert_type(relay.relayed(1), motet.Stream[int])
    assert_type(relay.relayed_sync(1), motet.Stream[int])
    assert_type(relay.own(1), motet.Call[int])


async def through_protocols(detects: Detects, counts: Counts, search: Search) -> None:
    assert_type(await detects.language("x"), str)
    assert_type([number async for number in counts.iterate(1)], list[int])
    assert_type(await search.ask(Question(text="x")), Found)
