"""Making calls: arguments are encoded, refs awaited, requests routed, and answers given to calls and streams."""

from __future__ import annotations

import asyncio
import math
import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from motet.calls import Call, Ref
from motet.context import Scope, new_request_id
from motet.errors import CallCancelled, Unavailable, UsageError
from motet.pending import post, running_loop
from motet.runtime.exchange import CODEC, WINDOW, Exchange
from motet.runtime.plans import Method
from motet.runtime.router import IDEMPOTENT_RETRIES, Router
from motet.streams import Stream
from motet.trace import child
from motet.wire import codec
from motet.wire.failure import Failure, rebuild
from motet.wire.payload import Payload

_forks = 0


def _count_fork() -> None:
    global _forks  # noqa: PLW0603  # of this process
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


class Caller:
    """Makes the calls of one process over one router; may be used from any thread.

    Args:
        router: where requests go; everything of it runs in `loop`.
        loop: the loop of the router and its links.
    """

    def __init__(self, router: Router, loop: asyncio.AbstractEventLoop) -> None:
        self.router = router
        self.loop = loop
        self._forks = _forks

    def call(self, method: Method, args: Sequence[object], kwargs: Mapping[str, object]) -> Call[Any] | Stream[Any]:
        """Start a call of an endpoint and return it at once.

        Raises:
            UsageError: this process was forked from the one that holds the handle; its connections stayed there.
        """
        if self._forks != _forks:
            raise UsageError(
                f"{method.name} was called in a process that was forked from the one that runs the app",
                instead="run the app in this process, or give it the URL and motet.connect",
            )
        running = running_loop()
        home = running or self.loop
        pending: Call[Any] | Stream[Any]
        decode = codec.decode_shared if method.shares else codec.decode
        pending = Stream(method.name, home, decode) if method.streams else Call(method.name, home, decode)
        scope = pending.scope
        deadline = scope.deadline if scope is not None else math.inf
        if method.timeout is not None:
            deadline = min(deadline, time.monotonic() + method.timeout)
        try:
            body, refs = encode_arguments(args, kwargs, scope)
        except Exception as error:  # noqa: BLE001  # whatever is wrong, the call is how its maker hears of it
            pending.set_error(error)
            return pending
        answered: Any = weakref.ref(pending) if isinstance(pending, Stream) else pending
        exchange = (_StreamExchange if method.streams else _CallExchange)(
            target=method.address,
            endpoint=method.endpoint,
            body=body,
            format=CODEC,
            deadline=deadline,
            request_id=scope.request_id if scope is not None else new_request_id(),
            trace=child(scope.trace) if scope is not None and scope.trace is not None else None,
            idempotent=method.idempotent,
            retries=IDEMPOTENT_RETRIES if method.retries is None else method.retries,
            caller=self,
            pending=answered,
        )
        pending.on_cancel(exchange.abort)
        if isinstance(exchange, _StreamExchange) and isinstance(pending, Stream):
            pending.on_consume(exchange.consumed)
        if refs:
            self._send_when_ready(exchange, pending, refs, lambda: encode_arguments(args, kwargs, scope)[0])
        elif running is self.loop:
            self.router.send(exchange)
        elif self.loop.is_closed():
            pending.set_error(
                Unavailable("the event loop that the app was started in has ended", where=method.name, instead="start the app again")
            )
        else:
            self.loop.call_soon_threadsafe(self.router.send, exchange)
        return pending

    def _send_when_ready(
        self, exchange: _Outgoing, pending: Call[Any] | Stream[Any], refs: Sequence[Ref], encode: Callable[[], Payload]
    ) -> None:
        """Send the exchange once the calls behind its refs have ended, or fail it with the first error among them."""
        calls = {id(ref.call): ref.call for ref in refs}
        missing = len(calls)

        def ended(call: Call[Any]) -> None:
            nonlocal missing
            missing -= 1
            problem = _why_no_value(call, taker=pending.name)
            if pending.done() or (problem is None and missing > 0):
                return
            if problem is None:
                try:
                    exchange.body = encode()
                except Exception as error:  # noqa: BLE001  # as above
                    problem = error
            if problem is None:
                post(self.loop, self.router.release, exchange)
            else:
                pending.set_error(problem)
                post(self.loop, self.router.finished, exchange)

        def hand_over(call: Call[Any]) -> None:
            pending.at_home(ended, call)

        post(self.loop, self.router.hold, exchange)
        for call in calls.values():  # each may be at home in another loop
            call.at_home(call.add_done_callback, hand_over)


def _why_no_value(call: Call[Any], *, taker: str) -> BaseException | None:
    """Return why an ended call has no value for the call `taker`, or None if it has one."""
    if call.cancelled():
        return CallCancelled(f"{call.name}, whose value {taker} takes, was cancelled", where=taker)
    return call.exception()


def encode_arguments(args: Sequence[object], kwargs: Mapping[str, object], scope: Scope | None) -> tuple[Payload, Sequence[Ref]]:
    """Encode arguments; values of refs go in as they are, still encoded.

    Returns:
        The payload and the refs in it that aren't ready; while there is one, the payload is of no use.
    """
    if (plain := codec.encode_plain((args, kwargs), (*args, *kwargs.values()) if kwargs else args)) is not None:
        return plain, ()
    pending: list[Ref] = []

    def embed(value: object) -> Payload | None:
        if isinstance(value, Ref):
            value.check(scope)
            if not value.call.done() or value.call.cancelled() or value.call.exception() is not None:
                pending.append(value)
                return _NOT_READY
            # A call of one's own endpoint was never encoded.
            return value.call.payload_to_forward() or codec.encode(value.call.result())
        if isinstance(value, Call):
            raise UsageError(f"a call was passed as an argument: {value.name}", instead="pass its `.ref`, or await it first")
        if isinstance(value, Stream):
            raise UsageError(f"a stream was passed as an argument: {value.name}", instead="pass a list of its items")
        return None

    return codec.encode([list(args), dict(kwargs)], embed=embed), pending


_NOT_READY = Payload(b"\xc0")


class _Outgoing(Exchange, kw_only=True):
    """An exchange whose answers go to a call or stream in its home loop."""

    caller: Caller
    pending: Any

    def abort(self) -> None:
        """Stop it, because the call or stream was cancelled."""
        post(self.caller.loop, self.caller.router.cancel, self)


class _CallExchange(_Outgoing, kw_only=True):
    pending: Call[Any]

    def on_result(self, payload: Payload, content_type: str | None) -> None:  # noqa: ARG002  # it is the codec's
        call = self.pending
        if running_loop() is call.home:
            call.set_payload(payload)
        else:
            call.at_home(call.set_payload, payload)

    def on_failure(self, failure: Failure) -> None:
        self.pending.at_home(self.pending.set_error, rebuild(failure))


class _StreamExchange(_Outgoing, kw_only=True):
    """Holds its stream weakly: one that nobody reads any more stops its producer when it is collected."""

    pending: weakref.ref[Stream[Any]]
    begun: bool = False
    taken: int = 0

    @property
    def begun_stream(self) -> bool:
        return self.begun

    def consumed(self) -> None:
        """Let the producer go on, for half a window of items at a time."""
        self.taken += 1
        if self.taken >= WINDOW // 2:
            taken, self.taken = self.taken, 0
            post(self.caller.loop, self.caller.router.credit, self, taken)

    def on_item(self, payload: Payload, items: int) -> None:  # noqa: ARG002  # it is one
        self.begun = True
        if (stream := self.pending()) is not None:
            stream.at_home(stream.push, payload)

    def on_end(self) -> None:
        if (stream := self.pending()) is not None:
            stream.at_home(stream.finish)

    def on_failure(self, failure: Failure) -> None:
        if (stream := self.pending()) is not None:
            stream.at_home(stream.set_error, rebuild(failure))
