"""Running requests with many results."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, cast

from motet.context import Scope
from motet.errors import CallCancelled, UsageError
from motet.pending import Pending, running_loop

if TYPE_CHECKING:
    from motet.wire.payload import Payload

T = TypeVar("T", covariant=True)


class Stream(Pending, AsyncIterator[T]):
    """A running request with many results: `async for` over it, or `for` in sync code.

    At most a window of items waits here; a reader that is slower than the producer slows the producer.
    """

    __slots__ = ("_consume", "_decode", "_end", "_items", "_observed", "_waiter")

    def __init__(self, name: str, home: asyncio.AbstractEventLoop, decode: Callable[[Payload], T] | None = None) -> None:
        super().__init__(name, home)
        self._decode = decode
        self._items: deque[Any] = deque()
        self._end: BaseException | None = None  # StopAsyncIteration for the good end
        self._waiter: asyncio.Future[None] | None = None
        self._consume: Callable[[], None] | None = None
        self._observed = False

    def _join(self, scope: Scope) -> None:
        scope.add_stream(self)

    def _leave(self) -> None:
        if self.scope is not None:
            self.scope.remove_stream(self)

    def on_consume(self, consume: Callable[[], None]) -> None:
        """Set what tells the producer that one item was taken; runs in the home loop."""
        self._consume = consume

    def done(self) -> bool:
        """Whether the producer has ended; items may still wait here."""
        return self._end is not None

    def __aiter__(self) -> Stream[T]:
        """Return itself."""
        return self

    async def __anext__(self) -> T:
        """Return the next item."""
        if running_loop() is not self.home:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._next(), self.home))
        return self._take() if self._items else await self._next()

    def __iter__(self) -> Iterator[T]:
        """Iterate from sync code."""
        if running_loop() is not None:
            message = f"`for` over {self.name}(...) would block the event loop that runs in this thread"
            raise UsageError(message, instead="`async for`")
        while True:
            try:
                yield asyncio.run_coroutine_threadsafe(self._next(), self.home).result()
            except StopAsyncIteration:
                return
            except (asyncio.CancelledError, concurrent.futures.CancelledError):
                raise CallCancelled(f"{self.name} was cancelled") from None

    async def _next(self) -> T:
        while not self._items:
            if self._end is not None:
                self._observed = True
                raise self._end
            if self._waiter is not None:
                message = f"two readers wait for the next item of {self.name}"
                raise UsageError(message, instead="read a stream from one place")
            self._waiter = self.home.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._take()

    def _take(self) -> T:
        item = self._items.popleft()
        if self._consume is not None and self._end is None:
            self._consume()
        return cast("T", item if self._decode is None else self._decode(item))

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002  # asyncio passes a message
        """Stop the producer; items that wait here are dropped."""
        if self._end is not None:
            return False
        self.at_home(self._cancel)
        return True

    def _cancel(self) -> None:
        if self._end is None:
            self._observed = True
            self._items.clear()
            abort = self._abort
            self._finish(asyncio.CancelledError())
            if abort is not None:
                abort()

    async def aclose(self) -> None:
        """Stop the producer, as `cancel` does."""
        self.cancel()

    def push(self, item: object) -> None:
        """Add an item (encoded, if the stream decodes); called in the home loop."""
        if self._end is None:
            self._items.append(item)
            self._wake()

    def set_error(self, error: BaseException) -> None:
        """End with an error after the items that wait; called in the home loop."""
        if self._end is None:
            self._finish(error)

    def finish(self) -> None:
        """End well after the items that wait; called in the home loop."""
        if self._end is None:
            self._finish(StopAsyncIteration())

    def _finish(self, end: BaseException) -> None:
        self._end = end
        self._abort = self._consume = None  # what they belong to holds the arguments
        self._leave()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done() and not self.home.is_closed():
            self._waiter.set_result(None)

    def __repr__(self) -> str:
        """Return name and state."""
        return f"<Stream {self.name} {'ended' if self._end is not None else 'running'}>"

    def __del__(self) -> None:
        """Stop the producer of a stream that nobody reads any more."""
        if getattr(self, "_end", self) is None and self._abort is not None and not self.home.is_closed():
            self.home.call_soon_threadsafe(self._abort)
