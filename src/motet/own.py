"""Calls of one's own endpoints, `self.f(x)`: they run at once, in the caller's slot, and nothing is copied."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from motet.background import home_loop
from motet.calls import Call
from motet.errors import InvalidOutput
from motet.faces import Failed
from motet.pending import running_loop
from motet.streams import Stream

if TYPE_CHECKING:
    from motet.definitions import EndpointDefinition

T = TypeVar("T", covariant=True)


def own_call(
    instance: object, endpoint: EndpointDefinition, args: Sequence[object], kwargs: Mapping[str, object]
) -> Call[Any] | Stream[Any]:
    """Run an endpoint of `instance` itself and return it as a call or stream."""
    name = f"{type(instance).__name__}.{endpoint.name}"
    if endpoint.kind == "stream":
        return OwnStream(name, home_loop(), endpoint.function(instance, *args, **kwargs))
    call: Call[Any] = Call(name, home_loop())
    try:
        if endpoint.batching is not None:
            item = inspect.signature(endpoint.function).bind(instance, *args, **kwargs).args[1]
            outcome = endpoint.function(instance, [item])
        else:
            outcome = endpoint.function(instance, *args, **kwargs)
    except Exception as error:  # noqa: BLE001  # it belongs to whoever looks at the call
        call.set_error(error)
        return call
    if endpoint.is_async:
        _follow(call, outcome, batched=endpoint.batching is not None)
    else:
        _settle(call, outcome, batched=endpoint.batching is not None)
    return call


def single_result(results: object, *, name: str) -> object:
    """Return the only result of a batch of one, raising its error if it is `Failed`."""
    kind = type(results).__name__
    items = cast("list[object]", results) if isinstance(results, list) else None
    if items is None or len(items) != 1:
        message = f"{name} got 1 item and returned {kind if items is None else len(items)}"
        raise InvalidOutput(message, where=name, instead="a list with one result for each item, in their order")
    if isinstance(items[0], Failed):
        raise items[0].error
    return items[0]


def _settle(call: Call[Any], outcome: object, *, batched: bool) -> None:
    try:
        call.set_value(single_result(outcome, name=call.name) if batched else outcome)
    except Exception as error:  # noqa: BLE001  # as above
        call.set_error(error)


def _follow(call: Call[Any], coroutine: Any, *, batched: bool) -> None:
    def finished(task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            call.cancel()
        elif (error := task.exception()) is not None:
            call.set_error(error)
        else:
            _settle(call, task.result(), batched=batched)

    def begin() -> None:
        task = call.home.create_task(coroutine)
        call.on_cancel(task.cancel)
        task.add_done_callback(finished)

    if running_loop() is call.home:
        begin()
    else:
        call.home.call_soon_threadsafe(begin)


class OwnStream(Stream[T]):
    """A generator of one's own instance, read directly: it runs when it is read, in the reader's slot."""

    __slots__ = ("_source",)

    def __init__(self, name: str, home: asyncio.AbstractEventLoop, source: Generator[T, Any, Any] | AsyncGenerator[T, Any]) -> None:
        super().__init__(name, home)
        self._source = source
        self._leave()  # it has no producer that would have to be stopped

    async def __anext__(self) -> T:
        """Return the next item."""
        if isinstance(self._source, AsyncGenerator):
            return await self._source.__anext__()
        try:
            return next(self._source)
        except StopIteration:
            raise StopAsyncIteration from None

    def __iter__(self) -> Iterator[T]:
        """Iterate from sync code."""
        if isinstance(self._source, AsyncGenerator):
            while True:
                try:
                    yield asyncio.run_coroutine_threadsafe(anext_of(self._source), self.home).result()
                except StopAsyncIteration:
                    return
        yield from self._source

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002  # asyncio passes a message
        """Close the generator."""
        if not isinstance(self._source, AsyncGenerator):
            self._source.close()
        return True

    async def aclose(self) -> None:
        """Close the generator."""
        if isinstance(self._source, AsyncGenerator):
            await self._source.aclose()
        else:
            self._source.close()


async def anext_of(source: AsyncGenerator[T, Any]) -> T:
    """Return the next item as a coroutine (`__anext__` gives a bare awaitable)."""
    return await source.__anext__()
