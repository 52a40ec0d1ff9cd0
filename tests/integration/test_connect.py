"""`motet.connect`: the typed face of an app over HTTP."""

import asyncio
import contextvars
import datetime as dt
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import numpy as np
import pytest
from pydantic import BaseModel

import motet
from motet.background import background_loop
from motet.context import Scope, enter_scope


class Item(BaseModel):
    name: str
    count: int = 1


class Shop(motet.Service):
    """Endpoints of each kind."""

    @motet.endpoint
    async def double(self, item: Item) -> Item:
        return Item(name=item.name, count=item.count * 2)

    @motet.endpoint
    def join(self, left: str, right: str = "r") -> str:
        return left + right

    @motet.endpoint
    def reverse(self, data: bytes) -> bytes:
        return data[::-1]

    @motet.endpoint
    def count(self, to: int) -> Iterator[int]:
        yield from range(to)

    @motet.endpoint
    async def fail_after(self, items: int) -> AsyncIterator[Item]:
        for number in range(items):
            yield Item(name="ok", count=number)
        raise motet.HTTPError(418, "no more")

    @motet.endpoint
    def texts(self) -> Iterator[dict[str, str]]:
        yield {"error": "an item, not a failure"}
        yield {"text": "lines\n\nand \u2028 separators"}
        yield {"text": "event: error\ndata: x"}
        yield {"text": "x" * 3_000_000}

    @motet.endpoint
    def refuse(self, how: str) -> str:
        if how == "key":
            raise KeyError("missing")
        if how == "status":
            raise motet.HTTPError(418, "tea", found="a pot", instead="coffee")
        raise motet.Overloaded("too much", retry_after=7)

    @motet.batched
    def lengths(self, texts: list[str]) -> list[int]:
        return [len(text) for text in texts]

    @motet.endpoint
    def scale(self, array: np.ndarray, by: float = 2) -> np.ndarray:
        return array * by

    @motet.endpoint
    def sealed(self, parts: dict[str, bytes], moment: dt.datetime) -> dict[str, bytes | dt.datetime]:
        return {**parts, "moment": moment}

    @motet.endpoint
    def pieces(self, sizes: list[int]) -> Iterator[bytes]:
        for size in sizes:
            yield b"x" * size

    @motet.endpoint
    async def stuck(self) -> None:
        await asyncio.Event().wait()

    @motet.endpoint
    async def stuck_behind(self, items: int) -> AsyncIterator[int]:
        for number in range(items):
            yield number
        await asyncio.Event().wait()

    @motet.endpoint
    def told(self) -> dict[str, str | None]:
        request = motet.current_request()
        return {} if request is None else {"id": request.request_id, "trace": request.traceparent, "state": request.tracestate}

    @motet.endpoint
    async def head(self, request: motet.Request) -> str:
        return request.method

    @motet.endpoint
    async def __call__(self, number: int) -> int:
        return -number


@pytest.fixture(scope="module")
def url():
    with motet.run(Shop.bind(), port=0):
        (server,) = motet.status().result()
        yield server.url


@pytest.fixture
def shop(url):
    with motet.connect(url, Shop) as shop:
        yield shop


def test_values(shop):
    """Arguments and results have the types of the endpoint."""
    assert shop.double(Item(name="a", count=4)).result() == Item(name="a", count=8)
    assert shop.join("l").result() == "lr"
    assert shop.join("l", right="x").result() == "lx"
    assert shop.reverse(b"\x00\xff").result() == b"\xff\x00"


def test_streams(shop):
    """A stream yields its items, and its failure after them."""
    assert list(shop.count(1000)) == list(range(1000))
    error, *texts = shop.texts()
    assert error == {"error": "an item, not a failure"}
    assert [item["text"] for item in texts] == ["lines\n\nand \u2028 separators", "event: error\ndata: x", "x" * 3_000_000]
    items = iter(shop.fail_after(2))
    assert [next(items).count, next(items).count] == [0, 1]
    with pytest.raises(motet.HTTPError, match="no more") as caught:
        next(items)
    assert caught.value.status == 418


def test_errors(shop):
    """Motet's errors arrive as their own class, others as `RemoteError` with the name of theirs."""
    with pytest.raises(motet.Overloaded, match="too much") as caught:
        shop.refuse("busy").result()
    assert caught.value.retry_after == 7
    with pytest.raises(motet.HTTPError, match="tea") as caught:
        shop.refuse("status").result()
    assert (caught.value.status, caught.value.found, caught.value.instead) == (418, "a pot", "coffee")
    with pytest.raises(motet.RemoteError) as caught:
        shop.refuse("key").result()
    assert caught.value.kind == "KeyError"


def test_wrong_arguments_are_found_here(shop):
    """Arguments that don't fit are refused before anything is sent."""
    with pytest.raises(motet.InvalidInput):
        shop.double(3).result()
    with pytest.raises(motet.InvalidInput, match="left"):
        shop.join().result()
    with pytest.raises(motet.UsageError, match="refs"):
        shop.join(shop.join("a").ref).result()


def test_every_kind_of_endpoint(shop):
    """Batched ones, streams of bytes, and `__call__`."""
    assert [call.result() for call in [shop.lengths("a"), shop.lengths("bcd")]] == [1, 3]
    assert b"".join(shop.pieces([3, 0, 100_000])) == b"x" * 100_003
    assert shop(3).result() == -3


def test_arrays_and_bytes(shop):
    """They arrive as they were: dtype, shape and every byte."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    result = shop.scale(array, 0.5).result()
    assert (result.dtype, result.tolist()) == (np.float32, (array * 0.5).tolist())
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert shop.sealed({"a": b"\xff\x00"}, moment).result() == {"a": b"\xff\x00", "moment": moment}
    with pytest.raises(motet.InvalidInput):
        shop.scale("no array").result()


def test_timeouts(shop):
    """The deadline of a call is kept here, and ends the request there."""
    hasty = shop.options(timeout=0.05)
    with pytest.raises(motet.DeadlineExceeded, match="stuck"):
        hasty.stuck().result()
    items = iter(hasty.stuck_behind(2))
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(motet.DeadlineExceeded):
        next(items)
    assert shop.options(timeout=30).join("l").result() == "lr"


def test_options_that_make_no_sense(shop):
    """They are refused by name."""
    with pytest.raises(motet.UsageError, match="retried by the server"):
        shop.options(retries=2)
    with pytest.raises(motet.DefinitionError, match="speed"):
        shop.options(speed=2)


def test_endpoints_of_http_itself(shop):
    """An endpoint that takes the request isn't called with arguments."""
    with pytest.raises(motet.UsageError, match="an HTTP client"):
        shop.head().result()


def test_async(url):
    """The same in async code, many at once."""

    async def main():
        async with motet.connect(url, Shop) as shop:
            answers = await asyncio.gather(*(shop.join(str(number)) for number in range(50)))
            items = [item async for item in shop.count(5)]
        return answers, items

    answers, items = asyncio.run(main())
    assert answers == [f"{number}r" for number in range(50)]
    assert items == [0, 1, 2, 3, 4]


class Agent(motet.Service):
    """Calls an app elsewhere from within its endpoints."""

    def __init__(self, url: str) -> None:
        self.connection = motet.connect(url, Shop)

    async def start(self) -> None:
        self.shop = await self.connection

    async def stop(self) -> None:
        await self.connection.aclose()

    @motet.endpoint
    async def told(self) -> dict[str, str | None]:
        return await self.shop.told()


@pytest.mark.parametrize("engine", ["inline", "local"])
def test_calls_within_an_endpoint(url, engine):
    """They belong to its request: the same id and trace."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"x-request-id": "mine", "traceparent": f"00-{trace}-b7ad6b7169203331-01", "tracestate": "vendor=1"}
    if engine == "inline":
        with motet.run(Agent.bind(url), engine=engine) as agent:
            assert agent.told().result()["id"]
        return
    with motet.run(Agent.bind(url), name="agent"):
        told = httpx.post(f"{url}/agent/told", headers=headers).json()
        assert (told["id"], told["trace"].split("-")[1], told["state"]) == ("mine", trace, "vendor=1")
        assert told["trace"].split("-")[2] != "b7ad6b7169203331"


def test_a_call_within_an_endpoint_ends_by_its_deadline(url):
    """It doesn't wait for its own, which is a minute away; of two that pass together, either may be heard first."""

    def call(shop: Shop) -> None:
        enter_scope(scope)
        shop.stuck().result()

    with motet.connect(url, Shop) as shop:
        deadline = time.monotonic() + 0.05
        scope = Scope(endpoint="Agent.ask", request_id="mine", trace=None, deadline=deadline, loop=background_loop())
        with pytest.raises(motet.DeadlineExceeded, match="was not answered before its deadline"):
            contextvars.copy_context().run(call, shop)
    assert time.monotonic() < deadline + 30


def test_nobody_there():
    """A server that isn't there is `Unavailable`, with the URL."""
    with motet.connect("http://127.0.0.1:9", Shop) as shop, pytest.raises(motet.Unavailable, match=r"127\.0\.0\.1:9"):
        shop.join("a").result()


def test_wrong_url():
    """What is no URL is refused at once."""
    with pytest.raises(motet.UsageError, match="URL"):
        motet.connect("localhost", Shop)


def test_closing_answers_what_runs(url):
    """A call that still runs when the connection is closed hears so."""
    with motet.connect(url, Shop) as shop:
        endless = shop.count(10**9)
        assert next(iter(endless)) == 0
    with pytest.raises(motet.CallCancelled, match="closed"):
        list(endless)


class Writer(motet.Service):
    """Is called wrongly by another service, or refuses an argument on purpose."""

    @motet.endpoint
    def write(self, text: str) -> str:
        if not text:
            raise motet.InvalidInput("there is no text")
        return text


class Desk(motet.Service):
    """Calls the writer."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    @motet.endpoint
    async def wrong(self) -> str:
        return await self.writer.write(3, "angry")

    @motet.endpoint
    async def relay(self, text: str) -> str:
        return await self.writer.write(text)


def test_wrong_call_between_services_is_no_fault_of_the_client(url):
    """A service that calls another with wrong arguments answers 500; input that a service refuses on purpose stays 422."""
    with motet.run(Desk.bind(Writer.bind()), name="desk"):
        wrong = httpx.post(f"{url}/desk/wrong")
        assert (wrong.status_code, wrong.json()["error"]["where"]) == (500, "Writer.write")
        assert httpx.post(f"{url}/desk/relay", json={"text": ""}).status_code == 422
        assert httpx.post(f"{url}/desk/relay", json={"text": 3}).status_code == 422
