"""Running one endpoint: sync or async, unary or stream; arguments in, answers out, one scope around each."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, cast

from motet.calls import Ref
from motet.context import Scope, enter_scope
from motet.definitions import EndpointDefinition
from motet.errors import CallCancelled, InvalidOutput, MotetError
from motet.faces import Failed
from motet.runtime import formats
from motet.runtime.exchange import Format, Request
from motet.runtime.threads import WorkerThreads
from motet.schema import EndpointSchema
from motet.wire import failure

log = logging.getLogger("motet.replica")

# What ends the program, not the call. Everything else is the caller's to hear: a panic of a Rust extension is no `Exception`.
_NO_CALLS_OWN = (KeyboardInterrupt, GeneratorExit)


class Runner:
    """Runs one endpoint of one instance.

    Args:
        endpoint: what to run.
        schema: its validators.
        instance: the service.
        owner: name of the node, for messages.
        replica: identity of the replica, for error hops.
        threads: where sync code runs.
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
    ) -> None:
        self.endpoint = endpoint
        self.schema = schema
        self.where = f"{owner}.{endpoint.name}"
        self.replica = replica
        self._instance = instance
        self._function = endpoint.function
        self._threads = threads
        self._loop = loop

    # -- one request -----------------------------------------------------------------------------------------------

    def start(self, request: Request, done: Callable[[], None]) -> None:
        """Run a request; `done` is called in the loop once its slot is free."""
        if self.endpoint.kind == "stream":
            begin = self._stream_in_loop if self.endpoint.is_async else self._stream_in_thread
        else:
            begin = self._run_in_loop if self.endpoint.is_async else self._run_in_thread
        begin(request, done)

    def _scope(self, request: Request) -> Scope:
        return Scope(endpoint=self.where, request_id=request.request_id, trace=request.trace, deadline=request.deadline, loop=self._loop)

    def _start_task(self, coroutine: Coroutine[Any, Any, None], done: Callable[[], None]) -> Callable[[], None]:
        """Run a coroutine that calls `done` at its end; returns what cancels it."""
        task = self._loop.create_task(coroutine)

        def abort() -> None:
            unstarted = inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
            task.cancel()
            if unstarted:  # its `finally` will never run
                done()

        return abort

    def _run_in_loop(self, request: Request, done: Callable[[], None]) -> None:
        request.abort = self._start_task(self._unary(request, done), done)

    async def _unary(self, request: Request, done: Callable[[], None]) -> None:
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
                self.fail(request, _as_cancelled(error, self.where))
        except _NO_CALLS_OWN:
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

    def _run_in_thread(self, request: Request, done: Callable[[], None]) -> None:
        context = contextvars.copy_context()
        self._threads.submit(lambda: context.run(self._unary_in_thread, request, done))

    def _unary_in_thread(self, request: Request, done: Callable[[], None]) -> None:
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
                    done()
        else:

            def finish() -> None:
                try:
                    if not request.cancelled:
                        request.reply.result(answer.payload, answer.content_type)
                finally:
                    done()

        close_scope(scope)
        self._loop.call_soon_threadsafe(finish)

    # -- streams ---------------------------------------------------------------------------------------------------

    def _media(self, request: Request) -> str | None:
        return None if request.format is Format.CODEC else formats.stream_type(self.schema, request.accept, where=self.where)

    def _stream_in_loop(self, request: Request, done: Callable[[], None]) -> None:
        request.abort = self._start_task(self._stream(request, done), done)

    async def _stream(self, request: Request, done: Callable[[], None]) -> None:
        scope = self._scope(request)
        enter_scope(scope)
        source: Any = None
        begun = False
        try:
            media = self._media(request)
            kwargs = formats.arguments(self.schema, request, where=self.where)
            source = self._function(self._instance, **kwargs)
            async for value in source:
                item = formats.stream_item(self.schema, media, value, where=self.where)
                while request.credit <= 0:
                    await self._credit(request)
                if not begun:
                    begun = True
                    request.reply.begin(media)
                request.credit -= 1
                request.reply.item(item)
            if not begun:
                request.reply.begin(media)
            request.reply.end()
        except asyncio.CancelledError as error:
            scope.failed = True
            if not request.cancelled:
                self.fail(request, _as_cancelled(error, self.where))
        except _NO_CALLS_OWN:
            raise
        except BaseException as error:  # noqa: BLE001  # it belongs to the caller
            scope.failed = True
            self.fail(request, error)
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

    def _stream_in_thread(self, request: Request, done: Callable[[], None]) -> None:
        context = contextvars.copy_context()
        wake = threading.Event()
        request.on_credit = wake.set
        request.abort = wake.set
        self._threads.submit(lambda: context.run(self._produce, request, wake, done))

    def _produce(self, request: Request, wake: threading.Event, done: Callable[[], None]) -> None:
        scope = self._scope(request)
        enter_scope(scope)
        post = self._loop.call_soon_threadsafe
        source: Any = None
        sent = 0
        try:
            media = self._media(request)
            kwargs = formats.arguments(self.schema, request, where=self.where)
            source = self._function(self._instance, **kwargs)
            for value in source:
                item = formats.stream_item(self.schema, media, value, where=self.where)
                while request.credit <= sent and not request.cancelled:
                    wake.wait()
                    wake.clear()
                if request.cancelled:
                    break
                if sent == 0:
                    post(request.reply.begin, media)
                # The credit is only ever raised, by the loop; what was sent is counted here, so neither needs a lock.
                sent += 1
                post(_send_item, request, item)
            else:
                if sent == 0:
                    post(request.reply.begin, media)
                post(_send_end, request)
        except BaseException as error:  # noqa: BLE001  # it belongs to the caller
            scope.failed = True
            post(self.fail, request, error)
        finally:
            if source is not None:
                try:
                    source.close()
                except BaseException:  # also SystemExit: the slot must be free afterwards
                    log.exception("%s raised while it was closed", self.where)
            close_scope(scope)
            post(done)

    # -- batches ---------------------------------------------------------------------------------------------------

    def start_batch(self, requests: list[Request], done: Callable[[], None]) -> None:
        """Run a batch; `done` is called in the loop once its slot is free."""
        if self.endpoint.is_async:
            abort = self._start_task(self._batch_in_loop(requests, done), done)
            for request in requests:
                request.abort = lambda: abort() if all(r.cancelled for r in requests) else None
        else:
            context = contextvars.copy_context()
            self._threads.submit(lambda: context.run(self._batch_in_thread, requests, done))

    def _batch_scope(self, requests: list[Request]) -> Scope:
        first = requests[0]
        return Scope(
            endpoint=self.where, request_id=first.request_id, trace=first.trace, deadline=max(r.deadline for r in requests), loop=self._loop
        )

    async def _batch_in_loop(self, requests: list[Request], done: Callable[[], None]) -> None:
        scope = self._batch_scope(requests)
        enter_scope(scope)
        try:
            accepted, items = self._batch_items(requests)
            if accepted:
                try:
                    results = await self._function(self._instance, items)
                except (asyncio.CancelledError, *_NO_CALLS_OWN):
                    raise
                except BaseException as error:  # noqa: BLE001  # it belongs to the callers
                    scope.failed = True
                    results = error
                for answer in self._batch_answers(accepted, results):
                    answer()
        except asyncio.CancelledError as error:
            for request in requests:
                self.fail(request, _as_cancelled(error, self.where))
        finally:
            close_scope(scope)
            done()

    def _batch_in_thread(self, requests: list[Request], done: Callable[[], None]) -> None:
        scope = self._batch_scope(requests)
        enter_scope(scope)
        answers: list[Callable[[], None]] = []
        try:
            accepted, items = self._batch_items([r for r in requests if not r.cancelled], later=True)
            if accepted:
                try:
                    results = self._function(self._instance, items)
                except BaseException as error:  # noqa: BLE001  # it belongs to the caller
                    results = error
                answers = self._batch_answers(accepted, results)
        finally:
            close_scope(scope)

            def finish() -> None:
                try:
                    for answer in answers:
                        answer()
                finally:
                    done()

            self._loop.call_soon_threadsafe(finish)

    def _batch_items(self, requests: list[Request], *, later: bool = False) -> tuple[list[Request], list[Any]]:
        """Decode each request's item; one that can't be is refused alone."""
        accepted: list[Request] = []
        items: list[Any] = []
        for request in requests:
            try:
                items += formats.arguments(self.schema, request, where=self.where).values()
                accepted.append(request)
            except Exception as error:  # noqa: BLE001  # it belongs to the caller
                if later:
                    self._loop.call_soon_threadsafe(self.fail, request, error)
                else:
                    self.fail(request, error)
        return accepted, items

    def _batch_answers(self, requests: list[Request], results: Any) -> list[Callable[[], None]]:
        if isinstance(results, BaseException):
            return [self._failing(request, results) for request in requests]
        got = type(results).__name__
        items = cast("list[object]", results) if isinstance(results, list) else None
        if items is None or len(items) != len(requests):
            wrong = InvalidOutput(
                f"a batch of {len(requests)} items was answered with {got if items is None else f'{len(items)} results'}",
                where=self.where,
                instead="a list with one result for each item, in their order",
            )
            return [self._failing(request, wrong) for request in requests]
        answers: list[Callable[[], None]] = []
        for request, result in zip(requests, items, strict=True):
            if isinstance(result, Failed):
                answers.append(self._failing(request, result.error))
                continue
            try:
                answer = formats.answer(self.schema, request, result, where=self.where)
            except Exception as error:  # noqa: BLE001  # it fails alone, whatever kept it from being encoded
                answers.append(self._failing(request, error))
            else:
                answers.append(_answering(request, answer))
        return answers

    def _failing(self, request: Request, error: BaseException) -> Callable[[], None]:
        return lambda: self.fail(request, error)

    # -- errors ----------------------------------------------------------------------------------------------------

    def fail(self, request: Request, error: BaseException) -> None:
        """Answer with an error; errors of the user's own code are logged with their traceback."""
        if request.cancelled:
            return
        if not isinstance(error, MotetError) and not getattr(error, failure.HOPS, ()):
            log.error("%s raised (request %s)", self.where, request.request_id, exc_info=error)
        request.reply.failure(failure.record(error, endpoint=self.where, replica=self.replica))


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


def _as_cancelled(error: BaseException, where: str) -> CallCancelled:
    wrapped = CallCancelled("something that the endpoint awaited was cancelled", where=where)
    wrapped.__cause__ = error
    return wrapped


def _answering(request: Request, answer: formats.Answer) -> Callable[[], None]:
    def send() -> None:
        if not request.cancelled:
            request.reply.result(answer.payload, answer.content_type)

    return send


def _send_item(request: Request, item: Any) -> None:
    if not request.cancelled:
        request.reply.item(item)


def _send_end(request: Request) -> None:
    if not request.cancelled:
        request.reply.end()


async def _close_quietly(source: Any, where: str) -> None:
    try:
        await source.aclose()
    except Exception:
        log.exception("%s raised while it was closed", where)
