"""Running a batch: the items of many requests as one list, each answered for itself."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any, Protocol, cast

from motet.context import Scope, enter_scope
from motet.errors import InvalidOutput
from motet.faces import Failed
from motet.runtime import formats
from motet.runtime.exchange import Request
from motet.runtime.execution import NO_CALLS_OWN, Runner, as_cancelled, close_scope

Answered = Callable[[list[Request]], None]


class BatchSlot(Protocol):
    """A slot of a lane that a batch runs in."""

    def take(self, size: int) -> list[Request] | None:
        """Return the batch that is to follow one of `size` in this slot, if it is ready; called in the batch's thread."""
        ...

    def release(self, size: int) -> None:
        """Give the slot of a batch of `size` back."""


class BatchRunner(Runner):
    """Runs a batched endpoint of one instance."""

    def start_batch(self, requests: list[Request], slot: BatchSlot, answered: Answered) -> None:
        """Run a batch in a slot, and those that may follow it there; `answered` is called in the loop for each when all of it is."""
        if self.endpoint.is_async:

            def done() -> None:
                answered(requests)
                slot.release(len(requests))

            abort = self._start_task(self._batch_in_loop(requests, done), done)
            for request in requests:
                request.abort = lambda: abort() if all(r.cancelled for r in requests) else None
        else:
            context = contextvars.copy_context()
            self._threads.submit(lambda: context.copy().run(self._batch_in_thread, requests, slot, answered, context))

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
                except (asyncio.CancelledError, *NO_CALLS_OWN):
                    raise
                except BaseException as error:  # noqa: BLE001  # it belongs to the callers
                    scope.failed = True
                    results = error
                for answer in self._batch_answers(accepted, results):
                    answer()
        except asyncio.CancelledError as error:
            for request in requests:
                self.fail(request, as_cancelled(error, self.where))
        finally:
            close_scope(scope)
            done()

    def _batch_in_thread(self, requests: list[Request], slot: BatchSlot, answered: Answered, context: contextvars.Context) -> None:
        scope = self._batch_scope(requests)
        enter_scope(scope)
        post = self._loop.call_soon_threadsafe
        accepted: list[Request] = []
        answers: list[Callable[[], None]] = []
        results: Any = []
        try:
            accepted, items = self._batch_items([r for r in requests if not r.cancelled], later=True)
            if accepted:
                results = self._function(self._instance, items)
        except BaseException as error:  # noqa: BLE001  # it belongs to the callers
            results = error
        # This thread goes on with the next batch by itself if that is ready: until the loop has heard of the end of this one,
        # answered 32 calls and handed over the next batch, a millisecond would pass.
        if (following := slot.take(len(requests))) is not None:
            self._threads.submit_more(lambda: context.copy().run(self._batch_in_thread, following, slot, answered, context))
        else:
            post(slot.release, len(requests))
        try:
            answers = self._batch_answers(accepted, results)
        finally:
            close_scope(scope)

            def finish() -> None:
                try:
                    for answer in answers:
                        answer()
                finally:
                    answered(requests)

            post(finish)

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


def _answering(request: Request, answer: formats.Answer) -> Callable[[], None]:
    def send() -> None:
        if not request.cancelled:
            request.reply.result(answer.payload, answer.content_type)

    return send
