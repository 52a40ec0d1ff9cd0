"""The one event loop that Motet owns, in a daemon thread, for code that runs none: scripts, notebooks, sync tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

from motet.calls import Call
from motet.context import current_scope
from motet.errors import UsageError
from motet.pending import post, running_loop

R = TypeVar("R")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """Return Motet's own loop; starts its thread at the first call."""
    global _loop  # noqa: PLW0603  # one per process by definition
    with _lock:
        if _loop is None or _loop.is_closed():
            _loop = uvloop.new_event_loop()
            runs = threading.Event()
            _loop.call_soon(runs.set)
            threading.Thread(target=_loop.run_forever, name="motet-loop", daemon=True).start()
            runs.wait()
        return _loop


def home_loop() -> asyncio.AbstractEventLoop:
    """Return the loop that a call made here is at home in: the running one, the replica's, or Motet's own."""
    running = running_loop()
    if running is not None:
        return running
    scope = current_scope()
    return scope.loop if scope is not None else background_loop()


def call_in(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, R], *, name: str) -> Call[R]:
    """Run a coroutine in `loop` as a call that is at home where it was made: awaitable there, `.result()` elsewhere."""
    call: Call[R] = Call(name, home_loop())

    def finished(task: asyncio.Task[R]) -> None:
        if task.cancelled():
            call.at_home(call.cancel)
        elif (error := task.exception()) is not None:
            call.at_home(call.set_error, error)
        else:
            call.at_home(call.set_value, task.result())

    def begin() -> None:
        task = loop.create_task(coroutine)
        call.on_cancel(lambda: post(loop, task.cancel))
        task.add_done_callback(finished)
        if call.cancelled():  # before this could begin
            task.cancel()

    post(loop, begin)
    return call


def run_in_background(coroutine: Coroutine[Any, Any, R], *, what: str) -> R:
    """Run a coroutine in Motet's own loop and wait for it.

    Raises:
        UsageError: this thread runs an event loop, which waiting would block.
    """
    if running_loop() is not None:
        coroutine.close()
        message = f"{what} would block the event loop that runs in this thread"
        raise UsageError(message, instead="the async form: `async with` or `await`")
    return asyncio.run_coroutine_threadsafe(coroutine, background_loop()).result()
