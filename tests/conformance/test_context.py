"""What a request carries along: its id and its trace, the same in every service that it passes, on every engine."""

import asyncio
import math
import time
from collections.abc import Iterator

import pytest

import motet

pytestmark = pytest.mark.anyio

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
Seen = tuple[str, str, str | None, str | None]


def seen() -> Seen:
    request = motet.current_request()
    return request.request_id, request.endpoint.rpartition(".")[2], request.traceparent, request.tracestate


class Inner(motet.Service):
    @motet.endpoint
    def sync(self) -> Seen:
        return seen()

    @motet.endpoint
    async def in_loop(self) -> Seen:
        return await asyncio.create_task(self._in_task())

    async def _in_task(self) -> Seen:
        return seen()

    @motet.endpoint
    def stream(self) -> Iterator[Seen]:
        yield seen()

    @motet.batched(max_size=4)
    def batch(self, numbers: list[int]) -> list[Seen]:
        return [seen() for _ in numbers]


class Outer(motet.Service):
    def __init__(self, inner: Inner) -> None:
        self.inner = inner

    @motet.endpoint
    async def all(self) -> list[Seen]:
        inner = self.inner
        found = [await inner.sync(), await inner.in_loop(), await inner.batch(1)]
        return [seen(), *found, *[item async for item in inner.stream()]]

    @motet.endpoint
    def from_a_thread(self) -> list[Seen]:
        return [seen(), self.inner.sync().result()]

    @motet.endpoint(timeout=50)
    async def time_left(self) -> bool:
        deadline = motet.current_request().deadline
        return 0 < deadline - time.monotonic() <= 50

    @motet.endpoint(timeout=None)
    async def no_limit(self) -> bool:
        return motet.current_request().deadline == math.inf


@pytest.fixture(scope="module")
async def http(over_http):
    return await over_http(Outer.bind(inner=Inner.bind()))


@pytest.mark.parametrize(
    ("path", "names"), [("/all", ["all", "sync", "in_loop", "batch", "stream"]), ("/from_a_thread", ["from_a_thread", "sync"])]
)
async def test_every_hop(http, path, names):
    """The id and the state of the trace stay, each hop has a span of its own, the answer has the first."""
    answer = await http.post(path, headers={"x-request-id": "mine", "traceparent": PARENT, "tracestate": "a=1, b=2"})
    ids, endpoints, parents, states = zip(*answer.json(), strict=True)
    assert (set(ids), set(states), list(endpoints)) == ({"mine"}, {"a=1,b=2"}, names)
    assert {parent[:35] for parent in parents} == {f"00-{TRACE}"}
    assert len({PARENT, *parents}) == len(names) + 1
    assert (answer.headers["traceparent"], answer.headers["x-request-id"]) == (parents[0], "mine")


async def test_no_trace(http):
    """An id is made, a trace isn't."""
    answer = await http.post("/all")
    ids, _, parents, states = zip(*answer.json(), strict=True)
    assert (set(ids), set(parents), set(states)) == ({answer.headers["x-request-id"]}, {None}, {None})


async def test_deadlines(http):
    """What is left of the time limit can be asked for."""
    assert (await http.post("/time_left")).json() is True
    assert (await http.post("/no_limit")).json() is True
