"""The lifespan of an ASGI app: its startup and shutdown, run with those of the replica that it is in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, MutableMapping
from typing import Any

from motet.errors import MotetError

log = logging.getLogger("motet.replica")

Message = MutableMapping[str, Any]


class Lifespan:
    """Runs the lifespan of an ASGI app; an app without one is fine, too.

    Args:
        app: the app.
        where: its name, for messages.
    """

    def __init__(self, app: Any, *, where: str) -> None:
        self._app = app
        self._where = where
        self._stopping = asyncio.Event()
        self._told: asyncio.Future[Message] | None = None
        self._asked = False
        self.state: dict[str, Any] = {}  # what the app wants its requests to see

    async def start(self) -> None:
        """Run the startup.

        Raises:
            MotetError: it failed.
        """
        self._task = asyncio.create_task(self._run())
        message = await self._answer()
        if message["type"] == "lifespan.startup.failed":
            raise MotetError(f"the app's startup failed: {message.get('message', '')}", where=self._where)

    async def stop(self) -> None:
        """Run the shutdown."""
        self._stopping.set()
        if not self._task.done():
            message = await self._answer()
            if message["type"] == "lifespan.shutdown.failed":
                log.error("the shutdown of the app %s failed: %s", self._where, message.get("message", ""))
        await asyncio.wait([self._task])

    async def _answer(self) -> Message:
        self._told = asyncio.get_running_loop().create_future()
        self._task.add_done_callback(self._settle(self._told))
        return await self._told

    @staticmethod
    def _settle(told: asyncio.Future[Message]) -> Callable[[asyncio.Task[None]], None]:
        def ended(_: asyncio.Task[None]) -> None:
            if not told.done():
                told.set_result({"type": "ended"})

        return ended

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._receive, self._send)
        except Exception:  # an app that knows no lifespan raises at the scope, as the standard says
            log.debug("%s has no lifespan", self._where, exc_info=True)

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "lifespan.startup"}
        await self._stopping.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        if self._told is not None and not self._told.done():
            self._told.set_result(message)
