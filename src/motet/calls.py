"""Running requests as values: `Call`, and `Ref`, a promise of its result to pass on.

A call is at home in one event loop, the one that was running when it was made or else Motet's own; its state changes only
there. It is a future in asyncio's sense (by duck typing), so `await`, `gather`, `wait_for` and `as_completed` use it as it
is, without a task around it. The result stays encoded until somebody looks at it: a value that is only forwarded is never
decoded here.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from motet.context import Scope
from motet.errors import CallCancelled, RefExpired, UsageError
from motet.pending import Pending, running_loop

if TYPE_CHECKING:
    from motet.wire.payload import Payload

V = TypeVar("V", covariant=True)

log = logging.getLogger("motet.calls")

_UNSET: Any = object()
_making_events = threading.Lock()
State = Literal["pending", "done", "failed", "cancelled"]


def _bearable(error: BaseException) -> BaseException:
    """Return an error that can be raised where calls and streams are awaited: the ends of iterators mean something else there."""
    if not isinstance(error, StopIteration | StopAsyncIteration):
        return error
    told = RuntimeError(f"the endpoint raised {type(error).__name__}")
    told.__dict__.update(error.__dict__)
    told.__cause__ = error
    return told


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
