"""`motet.connect`: the typed face of an app over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from pydantic import BaseModel

import motet


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

    @motet.endpoint
    def refuse(self, how: str) -> str:
        if how == "key":
            raise KeyError("missing")
        raise motet.Overloaded("too much")


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
    assert list(shop.texts()) == [{"error": "an item, not a failure"}, {"text": "lines\n\nand \u2028 separators"}]
    items = iter(shop.fail_after(2))
    assert [next(items).count, next(items).count] == [0, 1]
    with pytest.raises(motet.HTTPError, match="no more") as caught:
        next(items)
    assert caught.value.status == 418


def test_errors(shop):
    """Motet's errors arrive as their own class, others as `RemoteError` with the name of theirs."""
    with pytest.raises(motet.Overloaded, match="too much"):
        shop.refuse("busy").result()
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
