"""Services that fail in every way, and those that call them."""

import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

from pydantic import BaseModel

import motet


class Simple(Exception):
    """An exception of the user's own."""


class Several(Exception):
    """Takes other arguments than it hands on."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{reason} ({code})")
        self.code = code
        self.reason = reason


class Positional(Exception):
    """Two required arguments, none handed on."""

    def __init__(self, first: int, second: str) -> None:
        self.first = first
        self.second = second

    def __str__(self) -> str:
        return f"{self.first} and {self.second}"


class Slotted(Exception):
    """Rebuilds itself."""

    def __init__(self, value: int) -> None:
        super().__init__()
        self.value = value

    def __reduce__(self) -> tuple[type["Slotted"], tuple[int]]:
        return Slotted, (self.value,)


class Unshowable(Exception):
    """Fails when it is printed."""

    def __str__(self) -> str:
        message = "no text"
        raise RuntimeError(message)


class Unfinished(motet.HTTPError):
    """Doesn't call the constructor of its base."""

    def __init__(self, detail: str) -> None:
        self.detail = detail


class Panic(BaseException):
    """What a panic of a Rust extension looks like: no `Exception`."""


class Strange(motet.MotetError):
    """Has fields that no other process can have."""

    def fields(self) -> dict[str, object]:
        return {**super().fields(), "number": 10**40}


class Typed(BaseModel):
    x: int
    names: list[str]


class Faulty(motet.Service):
    """Raises what it is asked for."""

    @motet.endpoint
    def simple(self) -> int:
        raise Simple("a", 2, None)

    @motet.endpoint
    async def simple_async(self) -> int:
        raise Simple("a", 2, None)

    @motet.endpoint
    def several(self) -> int:
        raise Several(7, reason="because")

    @motet.endpoint
    def positional(self) -> int:
        raise Positional(1, "two")

    @motet.endpoint
    def slotted(self) -> int:
        raise Slotted(5)

    @motet.endpoint
    def with_attributes(self) -> int:
        error = Simple("text")
        error.detail = {"a": [1, 2]}  # type: ignore[attr-defined]
        raise error

    @motet.endpoint
    def builtin(self) -> int:
        raise FileNotFoundError(2, "No such file", "/there")

    @motet.endpoint
    def unicode(self) -> str:
        return b"\xff".decode()

    @motet.endpoint
    def local_class(self) -> int:
        class Hidden(Exception):
            pass

        raise Hidden("can't be imported")

    @motet.endpoint
    def unsendable_attribute(self) -> int:
        error = Simple("text")
        error.lock = (i for i in ())  # type: ignore[attr-defined]
        raise error

    @motet.endpoint
    def unshowable(self) -> int:
        raise Unshowable

    @motet.endpoint
    async def unfinished(self) -> int:
        raise Unfinished("half")

    @motet.endpoint
    def chained(self) -> int:
        try:
            self._lookup({})
        except KeyError as error:
            raise Simple("no such word") from error
        return 1

    def _lookup(self, table: dict[str, int]) -> int:
        return table["word"]

    @motet.endpoint
    def group(self) -> int:
        raise ExceptionGroup("both", [ValueError("one"), KeyError("two")])

    @motet.endpoint
    def exits(self) -> int:
        raise SystemExit(3)

    @motet.endpoint
    async def exits_async(self) -> int:
        raise SystemExit(3)

    @motet.endpoint
    def panics(self) -> int:
        raise Panic("at src/lib.rs:1")

    @motet.endpoint
    async def panics_async(self) -> int:
        raise Panic("at src/lib.rs:1")

    @motet.batched
    async def panics_in_batch(self, xs: list[int]) -> list[int]:
        raise Panic("at src/lib.rs:1")

    @motet.endpoint
    async def panics_in_stream(self) -> AsyncIterator[int]:
        yield 1
        raise Panic("at src/lib.rs:1")

    @motet.endpoint
    def odd_text(self) -> int:
        raise Simple(os.fsdecode(b"no file \xff"))

    @motet.endpoint
    async def odd_text_async(self) -> int:
        raise Simple(os.fsdecode(b"no file \xff"))

    @motet.endpoint
    def odd_fields(self) -> int:
        raise Strange("strange")

    @motet.endpoint
    def http(self) -> int:
        raise motet.HTTPError(418, "a teapot")

    @motet.endpoint
    def stream(self, good: int) -> Iterator[int]:
        yield from range(good)
        raise Several(good, reason="after the items")

    @motet.endpoint
    async def stream_async(self, good: int) -> AsyncIterator[int]:
        for i in range(good):
            yield i
        raise Several(good, reason="after the items")

    @motet.endpoint
    def ok(self, x: int) -> int:
        return x

    @motet.endpoint
    def wrong_result(self) -> int:
        return "text"  # type: ignore[return-value]

    @motet.endpoint
    async def wrong_result_async(self) -> list[int]:
        return [1, None]  # type: ignore[list-item]

    @motet.endpoint
    def wrong_model(self) -> Typed:
        return {"x": "no", "names": []}  # type: ignore[return-value]

    @motet.endpoint
    def wrong_item(self) -> Iterator[int]:
        yield 1
        yield "two"  # type: ignore[misc]

    @motet.endpoint
    def unsendable(self) -> Any:
        return (i for i in ())

    @motet.endpoint
    def missing_none(self, flag: bool) -> str:
        if flag:
            return "x"
        return None  # type: ignore[return-value]


class Typist(motet.Service):
    """Takes arguments of several types."""

    @motet.endpoint
    def take(self, typed: Typed, count: int, *, flag: bool = False) -> str:
        return f"{typed.x} {count} {flag}"


class Middle(motet.Service):
    """One hop between the program and the fault."""

    def __init__(self, faulty: Faulty) -> None:
        self.faulty = faulty

    @motet.endpoint
    async def pass_on(self) -> int:
        return await self._ask()

    async def _ask(self) -> int:
        return await self.faulty.chained()

    @motet.endpoint
    def pass_on_sync(self) -> int:
        return self.faulty.several().result()

    @motet.endpoint
    async def translate(self) -> int:
        try:
            return await self.faulty.several()
        except Several as error:
            message = f"translated {error.code}"
            raise Simple(message) from error

    @motet.endpoint
    async def survive(self) -> str:
        try:
            await self.faulty.several()
        except Several as error:
            return error.reason
        return "nothing was raised"

    @motet.endpoint
    async def relay(self, good: int) -> AsyncIterator[int]:
        async for item in self.faulty.stream(good):
            yield item


class Top(motet.Service):
    """Two hops above the fault."""

    def __init__(self, middle: Middle) -> None:
        self.middle = middle

    @motet.endpoint
    async def pass_on(self) -> int:
        return await self.middle.pass_on()

    @motet.endpoint
    def pass_on_sync(self) -> int:
        return self.middle.pass_on_sync().result()
