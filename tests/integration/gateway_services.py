"""Services for the tests of the gateway."""

import asyncio
from collections.abc import AsyncIterator, Iterator

from pydantic import BaseModel

import motet
from motet.testing import Gate


class Note(BaseModel):
    """A remark about a page."""

    text: str
    page: int = 1


class Desk(motet.Service):
    """Answers at once."""

    @motet.endpoint
    async def note(self, note: Note) -> Note:
        """Give a note back.

        It is the same one.
        """
        return note

    @motet.endpoint
    async def add(self, a: int, b: int = 1) -> int:
        return a + b

    @motet.endpoint
    async def nothing(self) -> None:
        return None

    @motet.endpoint
    async def echo(self, data: bytes) -> bytes:
        return data

    @motet.endpoint
    async def read(self, request: motet.Request) -> motet.Response:
        return motet.Response(await request.body())

    @motet.endpoint
    async def deaf(self, request: motet.Request) -> motet.Response:
        return motet.Response(b"")

    @motet.endpoint
    async def talk(self, socket: motet.WebSocket) -> None:
        await socket.accept()
        await socket.close()

    @motet.endpoint
    async def size(self, data: bytes) -> int:
        return len(data)

    @motet.endpoint
    async def upper(self, text: str) -> str:
        return text.upper()

    @motet.endpoint
    async def blob(self, size: int) -> bytes:
        return bytes(size)

    @motet.endpoint
    def fail(self, status: int, message: str) -> None:
        raise motet.HTTPError(status, message)

    @motet.endpoint
    async def crash(self) -> None:
        raise KeyError("no such key")

    @motet.endpoint
    async def busy(self, seconds: float) -> None:
        raise motet.Overloaded("too much to do", retry_after=seconds)

    @motet.endpoint(timeout=0.001)
    async def late(self) -> None:
        await asyncio.Event().wait()


class Held(motet.Service):
    """Answers when the test says so, and notes what becomes of its requests."""

    def __init__(self, gate: Gate, cancelled: Gate) -> None:
        self.gate = gate
        self.cancelled = cancelled

    @motet.endpoint
    async def wait(self, number: int) -> int:
        self.gate.reached()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.reached()
            raise
        return number

    @motet.endpoint
    async def echo(self, number: int) -> int:
        return number

    @motet.endpoint
    async def lines(self, number: int) -> AsyncIterator[int]:
        try:
            yield number
            self.gate.reached()
            await self.gate.wait()
            yield number + 1
        except asyncio.CancelledError:
            self.cancelled.reached()
            raise


class Streams(motet.Service):
    """Answers in pieces."""

    def __init__(self, produced: Gate) -> None:
        self.produced = produced

    @motet.endpoint
    def count(self, to: int) -> Iterator[int]:
        yield from range(to)

    @motet.endpoint
    async def words(self, words: list[str]) -> AsyncIterator[str]:
        for word in words:
            yield word

    @motet.endpoint
    async def parts(self, sizes: list[int]) -> AsyncIterator[bytes]:
        for size in sizes:
            yield b"x" * size

    @motet.endpoint
    async def notes(self, to: int) -> AsyncIterator[Note]:
        for page in range(to):
            yield Note(text="line\nbreak", page=page)

    @motet.endpoint
    async def broken(self, after: int) -> AsyncIterator[int]:
        for number in range(after):
            yield number
        raise ValueError("out of paper")

    @motet.endpoint
    async def broken_words(self, after: int) -> AsyncIterator[str]:
        for _ in range(after):
            yield "word "
        raise ValueError("out of paper")

    @motet.endpoint(timeout=None)
    async def endless(self, size: int) -> AsyncIterator[bytes]:
        while True:
            self.produced.reached()
            yield b"x" * size
