"""What running requests share, and how to get to the loop where one is at home: its state changes only there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from motet.context import Scope, current_scope
from motet.errors import UsageError

running_loop = asyncio._get_running_loop  # noqa: SLF001  # asyncio exports it for this; get_running_loop() raises where there is none


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
