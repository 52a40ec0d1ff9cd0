"""Running one endpoint: sync or async, unary or stream; arguments in, answers out, one scope around each."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Protocol

from motet.calls import Ref
from motet.context import Scope, enter_scope
from motet.definitions import EndpointDefinition
from motet.errors import CallCancelled, InvalidInput, MotetError
from motet.runtime import formats
from motet.runtime.exchange import Format, Request
from motet.runtime.outbox import Outbox, ThreadOutbox
from motet.runtime.threads import WorkerThreads
from motet.schema import EndpointSchema
from motet.wire import failure

log = logging.getLogger("motet.replica")

# What ends the program, not the call. Everything else is the caller's to hear: a panic of a Rust extension is no `Exception`.
NO_CALLS_OWN = (KeyboardInterrupt, GeneratorExit)
_SUSPENDABLE = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Done(Protocol):
    """Called in the loop when a request has ended: its slot is free, unless it was passed on."""

    def __call__(self, *, passed_on: bool = False) -> None: ...  # noqa: D102


class Runner:
    """Runs one endpoint of one instance.

    Args:
        endpoint: what to run.
        schema: its validators.
        instance: the service.
        owner: name of the node, for messages.
        replica: identity of the replica, for error hops.
        threads: where sync code runs.
        pass_on: called in a thread whose request ends: starts the next one that waits for its slot in the same thread, if there is
            one, in the context that it is given; returns whether there was.
    """

    def __init__(
        self,
        *,
        endpoint: EndpointDefinition,
        schema: EndpointSchema,
        instance: object,
        owner: str,
        replica: str,
        threads: WorkerThreads,
        loop: asyncio.AbstractEventLoop,
        pass_on: Callable[[contextvars.Context], bool],
    ) -> None:
        self.endpoint = endpoint
        self.schema = schema
        self.where = f"{owner}.{endpoint.name}"
        self.replica = replica
        self._instance = instance
        self._function = endpoint.function
        self._threads = threads
        self._loop = loop
        self._pass_on = pass_on
        if endpoint.kind == "stream":
            self._begin = self._stream_in_loop if endpoint.is_async else self._run_in_thread
        else:
            self._begin = self._run_in_loop if endpoint.is_async else self._run_in_thread

    # -- one request -----------------------------------------------------------------------------------------------

    def start(self, request: Request, done: Done) -> None:
        """Run a request; `done` is called in the loop once its slot is free."""
        self._begin(request, done)

    def _scope(self, request: Request) -> Scope:
        return Scope(endpoint=self.where, request_id=request.request_id, trace=request.trace, deadline=request.deadline, loop=self._loop)

    def _start_task(self, coroutine: Coroutine[Any, Any, None], done: Callable[[], None]) -> Callable[[], None]:
        """Run a coroutine that calls `done` at its end; returns what cancels it."""
        task = asyncio.Task(coroutine, loop=self._loop, name=self.where)  # by a loop it takes a quarter longer: it makes up a name

        def abort() -> None:
            unstarted = inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
            task.cancel()
            if unstarted:  # its `finally` will never run
                done()

        return abort

    def _run_in_loop(self, request: Request, done: Done) -> None:
        request.abort = self._start_task(self._unary(request, done), done)

    async def _unary(self, request: Request, done: Done) -> None:
        scope = self._scope(request)
        enter_scope(scope)
        try:
            kwargs = formats.arguments(self.schema, request, where=self.where)
            value = await self._function(self._instance, **kwargs)
            if type(value) is Ref:
                value = await value.call
            answer = formats.answer(self.schema, request, value, where=self.where)
        except asyncio.CancelledError as error:
            scope.failed = True
            if not request.cancelled:  # the endpoint awaited something that was cancelled
                self.fail(request, as_cancelled(error, self.where))
        except NO_CALLS_OWN:
            raise
        except BaseException as error:  # noqa: BLE001  # it belongs to the caller
            scope.failed = True
            self.fail(request, error)
        else:
            if not request.cancelled:
                request.reply.result(answer.payload, answer.content_type)
        finally:
            close_scope(scope)
            request.abort = None
            done()

    def _run_in_thread(self, request: Request, done: Done) -> None:
        self._threads.submit(self._work(request, done, contextvars.copy_context()))

    def start_in_thread(self, request: Request, done: Done, context: contextvars.Context) -> None:
        """Run a request after the one that ends in this thread."""
        self._threads.submit_more(self._work(request, done, context))

    def _work(self, request: Request, done: Done, context: contextvars.Context) -> Callable[[], None]:
        if self.endpoint.kind == "stream":
            wake = threading.Event()
            request.on_credit = wake.set
            request.abort = wake.set
            return lambda: context.copy().run(self._produce, request, wake, done)
        return lambda: context.copy().run(self._unary_in_thread, request, done, context)

    def _unary_in_thread(self, request: Request, done: Done, context: contextvars.Context) -> None:
        scope = self._scope(request)
        enter_scope(scope)
        finish: Callable[[], None]
        try:
            if request.cancelled:
                self._loop.call_soon_threadsafe(done)
                return
            kwargs = formats.arguments(self.schema, request, where=self.where)
            value = self._function(self._instance, **kwargs)
            if type(value) is Ref:
                value = value.call.result()
            answer = formats.answer(self.schema, request, value, where=self.where)
        except BaseException as error:  # noqa: BLE001  # also SystemExit: a thread has nobody else to tell
            scope.failed = True
            failed = error

            def finish() -> None:
                try:
                    self.fail(request, failed)
                finally:
                    done(passed_on=passed_on)
        else:

            def finish() -> None:
                try:
                    if not request.cancelled:
                        request.reply.result(answer.payload, answer.content_type)
                finally:
                    done(passed_on=passed_on)

        close_scope(scope)
        # Waking the loop and being woken by it for the next request takes longer than a small one takes to run.
        passed_on = self._pass_on(context)
        self._loop.call_soon_threadsafe(finish)

    # -- streams ---------------------------------------------------------------------------------------------------

    def _media(self, request: Request) -> str | None:
        return None if request.format is Format.CODEC else formats.chosen(self.schema, request.accept, where=self.where)

    def _stream_in_loop(self, request: Request, done: Done) -> None:
        request.abort = self._start_task(self._stream(request, done), done)

    async def _stream(self, request: Request, done: Done) -> None:
        scope = self._scope(request)
        enter_scope(scope)
        source: Any = None
        outbox: Outbox | None = None
        try:
            media = self._media(request)
            kwargs = formats.arguments(self.schema, request, where=self.where)
            encode = formats.item_encoder(self.schema, media, where=self.where)
            outbox = Outbox(request, media, self._loop)
            source = self._function(self._instance, **kwargs)
            async for value in source:
                item = encode(value)
                while request.credit <= 0:
                    await self._credit(request)
                request.credit -= 1
                outbox.put(item)
            outbox.end()
        except asyncio.CancelledError as error:
            scope.failed = True
            if not request.cancelled:
                self._fail_stream(request, outbox, as_cancelled(error, self.where))
        except NO_CALLS_OWN:
            raise
        except BaseException as error:  # noqa: BLE001  # it belongs to the caller
            scope.failed = True
            self._fail_stream(request, outbox, error)
        finally:
            if source is not None:
                await _close_quietly(source, self.where)
            close_scope(scope)
            request.abort = None
            done()

    async def _credit(self, request: Request) -> None:
        granted = self._loop.create_future()
        request.on_credit = lambda: None if granted.done() else granted.set_result(None)
        try:
            await granted
        finally:
            request.on_credit = None

    def _produce(self, request: Request, wake: threading.Event, done: Done) -> None:
        scope = self._scope(request)
        enter_scope(scope)
        post = self._loop.call_soon_threadsafe
        source: Any = None
        outbox: ThreadOutbox | None = None
        sent = 0
        try:
            media = self._media(request)
            kwargs = formats.arguments(self.schema, request, where=self.where)
            encode = formats.item_encoder(self.schema, media, where=self.where)
            outbox = ThreadOutbox(Outbox(request, media, self._loop), self._loop)
            source = self._function(self._instance, **kwargs)
            for value in source:
                item = encode(value)
                while request.credit <= sent and not request.cancelled:
                    wake.wait()
                    wake.clear()
                if request.cancelled:
                    break
                # The credit is only ever raised, by the loop; what was sent is counted here, so neither needs a lock.
                sent += 1
                outbox.put(item)
            else:
                post(outbox.end)
        except BaseException as error:  # noqa: BLE001  # it belongs to the caller
            scope.failed = True
            post(self._fail_stream, request, outbox, error)
        finally:
            if source is not None:
                try:
                    source.close()
                except BaseException:  # also SystemExit: the slot must be free afterwards
                    log.exception("%s raised while it was closed", self.where)
            close_scope(scope)
            post(done)

    def _fail_stream(self, request: Request, outbox: Outbox | ThreadOutbox | None, error: BaseException) -> None:
        if outbox is not None:
            outbox.flush()
        self.fail(request, error)

    # -- errors ----------------------------------------------------------------------------------------------------

    def fail(self, request: Request, error: BaseException) -> None:
        """Answer with an error; errors of the user's own code are logged with their traceback."""
        if request.cancelled:
            return
        came_from_elsewhere = bool(getattr(error, failure.HOPS, ()))
        mistake = came_from_elsewhere and isinstance(error, InvalidInput) and error.of_service  # in this endpoint's own call
        if mistake or (not isinstance(error, MotetError) and not came_from_elsewhere):
            log.error("%s raised (request %s)", self.where, request.request_id, exc_info=error)
        request.reply.failure(failure.record(error, endpoint=self.where, replica=self.replica))
        _clear_frames(error)


def _clear_frames(error: BaseException | None) -> None:
    """Empty the frames that an error came through.

    A call's error often holds the frame that holds the call: values in shared memory would stay until somebody collects garbage.
    A coroutine that caught the error, handed it over and lives on is among them, and clearing its frame would close it (Python
    3.13 refuses to). So of those only what the runtime itself called is emptied, which has ended, since the error came out of it.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        place = error.__traceback__
        called = False
        while place is not None:
            frame = place.tb_frame
            if called or not frame.f_code.co_flags & _SUSPENDABLE:
                with contextlib.suppress(RuntimeError):  # it runs
                    frame.clear()
            called = (called or place is error.__traceback__) and _of_runtime(frame)
            place = place.tb_next
        error = error.__cause__ or error.__context__


def _of_runtime(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith("motet.runtime.")


def close_scope(scope: Scope) -> None:
    """End a scope: calls that still run are cancelled, and named in the log (quietly where the endpoint failed)."""
    scope.open = False
    if not scope.calls and not scope.streams:
        return
    left = scope.running()
    log.log(
        logging.DEBUG if scope.failed else logging.WARNING,
        "%s returned while %d of its calls still ran; they were cancelled: %s",
        scope.endpoint,
        len(left),
        ", ".join(sorted(call.name for call in left)),
    )
    for call in left:
        try:
            call.cancel()
        except Exception:  # the endpoint's own answer doesn't depend on it
            log.exception("%s couldn't be cancelled", call.name)


def as_cancelled(error: BaseException, where: str) -> CallCancelled:
    """Return what a caller hears when something that the endpoint awaited was cancelled."""
    wrapped = CallCancelled("something that the endpoint awaited was cancelled", where=where)
    wrapped.__cause__ = error
    return wrapped


async def _close_quietly(source: Any, where: str) -> None:
    try:
        await source.aclose()
    except NO_CALLS_OWN:
        raise
    except BaseException:  # also CancelledError, of a task that its `finally` awaits: the slot must be free afterwards
        log.exception("%s raised while it was closed", where)
