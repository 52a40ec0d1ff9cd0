"""Running requests as values: `Call` (one result), `Stream` (many) and `Ref` (a promise to pass on).

A call is at home in one event loop, the one that was running when it was made or else Motet's own; its state changes only
there. It is a future in asyncio's sense (by duck typing), so `await`, `gather`, `wait_for` and `as_completed` use it as it
is, without a task around it. The result stays encoded until somebody looks at it: a value that is only forwarded is never
decoded here.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from motet.context import Scope, current_scope
from motet.errors import CallCancelled, RefExpired, UsageError

if TYPE_CHECKING:
    from motet.wire.payload import Payload

V = TypeVar("V", covariant=True)
T = TypeVar("T", covariant=True)

log = logging.getLogger("motet.calls")
running_loop = asyncio._get_running_loop  # noqa: SLF001  # asyncio exports it for this; get_running_loop() raises where there is none

_UNSET: Any = object()
_making_events = threading.Lock()
State = Literal["pending", "done", "failed", "cancelled"]


def post(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: object) -> None:
    """Run `callback` in `loop`: now if this is its thread, else as soon as it comes round; never if it is closed."""
    if running_loop() is loop:
        callback(*args)
        return
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise


def _bearable(error: BaseException) -> BaseException:
    """Return an error that can be raised where calls and streams are awaited: the ends of iterators mean something else there."""
    if not isinstance(error, StopIteration | StopAsyncIteration):
        return error
    told = RuntimeError(f"the endpoint raised {type(error).__name__}")
    told.__dict__.update(error.__dict__)
    told.__cause__ = error
    return told


class Pending:
    """What calls and streams share: a name, a home, the scope that made them, and cancelling."""

    __slots__ = ("__weakref__", "_abort", "home", "name", "scope")

    def __init__(self, name: str, home: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self.home = home
        self.scope = scope = current_scope()
        self._abort: Callable[[], object] | None = None
        if scope is not None:
            if not scope.open:
                message = f"{name} was called after the endpoint {scope.endpoint} had returned"
                raise UsageError(message, instead="await background work before returning, or start it in `async start()`")
            self._join(scope)

    def on_cancel(self, abort: Callable[[], object]) -> None:
        """Set what to do with the running request when it is cancelled here; runs in the home loop."""
        self._abort = abort

    def at_home(self, callback: Callable[..., object], *args: object) -> None:
        """Run `callback` in the home loop, or right here if that is closed: nothing runs there any more that this could race with.

        The end of one loop must not keep the others from hearing of their calls.
        """
        if running_loop() is not self.home:
            try:
                self.home.call_soon_threadsafe(callback, *args)
            except RuntimeError:
                if not self.home.is_closed():
                    raise
            else:
                return
        callback(*args)

    def cancel(self, msg: object = None) -> bool:
        """Stop the request: a queued one is never run, a running async endpoint is cancelled.

        Returns:
            False if it had ended already.
        """
        raise NotImplementedError

    def _join(self, scope: Scope) -> None:
        scope.calls.add(self)


class Call(Pending, Awaitable[V]):
    """A running request. It started when it was made; await it, or ask for `.result()` from sync code."""

    __slots__ = ("_asyncio_future_blocking", "_callbacks", "_decode", "_error", "_event", "_observed", "_payload", "_state", "_value")

    def __init__(self, name: str, home: asyncio.AbstractEventLoop, decode: Callable[[Payload], V] | None = None) -> None:
        Pending.__init__(self, name, home)  # sooner done than by `super()`; this runs for each call
        self._asyncio_future_blocking = False
        self._state: State = "pending"
        self._value: V = _UNSET
        self._payload: Payload | None = None
        self._error: BaseException | None = None
        self._decode = decode
        self._callbacks: list[tuple[Callable[[Call[V]], object], contextvars.Context | None]] | None = None
        self._event: threading.Event | None = None
        self._observed = False

    # -- what users call -------------------------------------------------------------------------------------------

    def result(self, timeout: float | None = None) -> V:
        """Return the value, waiting for it if this is sync code.

        Args:
            timeout: seconds to wait; None waits until the call's own deadline.

        Raises:
            UsageError: the call still runs and this thread runs an event loop, which waiting would block.
            TimeoutError: it still runs after `timeout`; the call goes on.
        """
        if self._state == "pending":
            self._wait(timeout)
        self._observed = True
        if self._state == "done":
            if self._value is _UNSET and self._decode is not None:
                self._value = self._decode(cast("Payload", self._payload))
            return self._value
        if self._state == "failed":
            raise cast("BaseException", self._error)
        if running_loop() is not None:
            raise asyncio.CancelledError
        message = f"{self.name} was cancelled"
        raise CallCancelled(message)

    @property
    def ref(self) -> V:
        """A promise of the value, to pass to another endpoint: the value goes there without passing through here."""
        self._observed = True
        return cast("V", Ref(self))

    def done(self) -> bool:
        """Whether the call has ended: with a value, an error, or cancelled."""
        return self._state != "pending"

    def cancelled(self) -> bool:
        """Whether the call was cancelled."""
        return self._state == "cancelled"

    def exception(self) -> BaseException | None:
        """Return the error of an ended call, or None if it has a value."""
        if self._state == "pending":
            message = f"{self.name} still runs"
            raise asyncio.InvalidStateError(message)
        self._observed = True
        if self._state == "cancelled":
            raise asyncio.CancelledError
        return self._error

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002  # asyncio passes a message
        """Stop the call: a queued one is never run, a running async endpoint is cancelled."""
        if self._state != "pending":
            return False
        self.at_home(self._cancel)
        return True

    def _cancel(self) -> None:
        if self._state == "pending":
            abort = self._abort
            self._end("cancelled")
            if abort is not None:
                abort()

    def __await__(self) -> Generator[Any, None, V]:
        """Wait in an event loop."""
        if self._state == "pending":
            self._asyncio_future_blocking = True
            yield self  # asyncio has asked for the result by then, and so decoded it
        return self._value if self._state == "done" and self._value is not _UNSET else self.result()

    def __repr__(self) -> str:
        """Return name and state."""
        return f"<Call {self.name} {self._state}>"

    # -- what asyncio calls ----------------------------------------------------------------------------------------

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop that the call is at home in."""
        return self.home

    def add_done_callback(self, fn: Callable[[Call[V]], object], *, context: contextvars.Context | None = None) -> None:
        """Have `fn(call)` run in the home loop once the call has ended."""
        if self._state != "pending":
            self.home.call_soon(fn, self, context=context)
        elif self._callbacks is None:
            self._callbacks = [(fn, context)]
        else:
            self._callbacks.append((fn, context))

    def remove_done_callback(self, fn: Callable[[Call[V]], object]) -> int:
        """Forget `fn`; returns how often it had been added."""
        before = self._callbacks or []
        self._callbacks = [entry for entry in before if entry[0] != fn]
        return len(before) - len(self._callbacks)

    # -- what the runtime calls, in the home loop ------------------------------------------------------------------

    def set_payload(self, payload: Payload) -> None:
        """End with an encoded value."""
        if self._state == "pending":
            self._payload = payload
            self._end("done")

    def set_value(self, value: object) -> None:
        """End with a value that needs no decoding."""
        if self._state == "pending":
            self._value = cast("V", value)
            self._end("done")

    def set_error(self, error: BaseException) -> None:
        """End with an error."""
        if self._state == "pending":
            self._error = _bearable(error)
            self._end("failed")

    def payload_to_forward(self) -> Payload | None:
        """Return the encoded value of an ended call, or None if it never was encoded."""
        return self._payload

    def _end(self, state: State) -> None:
        self._state = state
        self._abort = None  # a cycle: values in shared memory would be held until somebody collects garbage
        if self.scope is not None:
            self.scope.calls.discard(self)
        if self._event is not None:
            self._event.set()
        if self._callbacks is not None:
            callbacks, self._callbacks = self._callbacks, None
            for fn, context in callbacks if not self.home.is_closed() else ():
                self.home.call_soon(fn, self, context=context)

    def _wait(self, timeout: float | None) -> None:
        if running_loop() is not None:
            message = f"{self.name}(...).result() would block the event loop that runs in this thread"
            raise UsageError(message, instead="`await` the call, or make the endpoint a plain `def`")
        if not self.home.is_running():
            message = f"{self.name}(...).result() would wait for ever: the event loop that it is at home in doesn't run"
            raise UsageError(message, instead="`await` it in that loop, or start the app by `with motet.run(...)`")
        with _making_events:  # several threads may wait for one call
            event = self._event = self._event or threading.Event()
        if self._state == "pending" and not event.wait(timeout):
            message = f"{self.name} has not answered after {timeout} s; it still runs"
            raise TimeoutError(message)

    def __del__(self) -> None:
        """Log an error that nobody has looked at."""
        if getattr(self, "_state", None) == "failed" and not self._observed:  # one that was refused has no state
            log.error("%s failed and nobody looked at the error: %r", self.name, self._error)


class Ref:
    """Stands for the value of a call among the arguments of another."""

    __slots__ = ("call",)

    def __init__(self, call: Call[Any]) -> None:
        self.call = call

    def check(self, scope: Scope | None) -> None:
        """Refuse a ref that is used outside the request it belongs to."""
        if self.call.scope is not None and (self.call.scope is not scope or not self.call.scope.open):
            whose = "another request" if self.call.scope.open else "a request that has ended, and its value is gone"
            message = f"the ref of {self.call.name} belongs to {whose}"
            raise RefExpired(
                message,
                where=self.call.scope.endpoint,
                instead="use a ref within the request that made it; keep values, not refs, between requests",
            )

    def __repr__(self) -> str:
        """Return the call's name."""
        return f"<Ref of {self.call.name}>"

    def __getattr__(self, name: str) -> Any:
        """Explain that a promise has nothing of its value yet."""
        message = f"{self!r} has no {name!r}: it only stands for the value, to be passed on; await the call to look at it"
        raise AttributeError(message)

    def __reduce__(self) -> str:
        """Refuse: a ref that gets here would leave its process."""
        message = f"{self!r} can't be pickled"
        raise UsageError(message, instead="pass it to an endpoint directly, in a list, dict, dataclass or model field")


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
