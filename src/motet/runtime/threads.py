"""The threads that run sync endpoints: a queue and a few workers, with nothing allocated per call but the entry."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

R = TypeVar("R")

log = logging.getLogger("motet.replica")


def as_exception(error: BaseException) -> Exception:
    """Return an error of a constructor or hook as one that ends nothing but the start: an exit, a panic, the end of an iterator."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    told = RuntimeError(f"{type(error).__name__}: {error}")
    told.__cause__ = error
    return told


class WorkerThreads:
    """Runs functions in `count` threads. The first thread also constructs the service, so what it makes there it may use.

    Args:
        count: of threads.
        name: of the threads, with a number behind it.
        prepare: run first by each of them.
    """

    def __init__(self, count: int, *, name: str, prepare: Callable[[], object] | None = None) -> None:
        self._prepare = prepare
        self._queue: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._count = count
        self._name = name
        self._threads: list[threading.Thread] = []

    def submit(self, work: Callable[[], object]) -> None:
        """Have `work` run by the next free thread; it must not raise."""
        if len(self._threads) < self._count:
            self._grow()
        self._queue.put(work)

    def submit_more(self, work: Callable[[], object]) -> None:
        """Have `work` run after what is submitted already; called by work in one of these threads, which will be free for it."""
        self._queue.put(work)

    def _grow(self) -> None:
        thread = threading.Thread(target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no more; those that there are will do it later
            if not self._threads:
                raise
            log.error("%s goes on with %d threads of %d: %s", self._name, len(self._threads), self._count, error)  # noqa: TRY400  # nothing else to see
            return
        self._threads.append(thread)

    def _run(self) -> None:
        if self._prepare is not None:
            self._prepare()
        while (work := self._queue.get()) is not None:
            try:
                work()
            except BaseException:  # a thread less would be a slot less, for good
                log.exception("a worker thread was given work that raised")

    async def call(self, function: Callable[[], R]) -> R:
        """Run `function` in a thread and return its value or raise its error."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()

        def settle(value: Any, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)

        def work() -> None:
            try:
                value = function()
            except BaseException as error:  # noqa: BLE001  # it is raised where the call is awaited
                loop.call_soon_threadsafe(settle, None, as_exception(error))
            else:
                loop.call_soon_threadsafe(settle, value, None)

        self.submit(work)
        return await future

    def close(self) -> None:
        """Let idle threads end; a thread that runs ends after what it runs."""
        for _ in self._threads:
            self._queue.put(None)
