"""Items of a stream on their way out: over HTTP, those of one turn of the loop go out together."""

from __future__ import annotations

import asyncio
from collections import deque

from motet.runtime.exchange import WINDOW, Request
from motet.wire.payload import Payload

TOGETHER = WINDOW // 2 - 1  # items that go out as one: with the first of a turn, as many as a reader takes note of at a time
LARGE = 16384  # bytes that do


class Outbox:
    """Answers the request of a stream.

    The first item of a turn goes out at once and those that follow it in the same turn together, so that a lone item is
    never kept waiting. Between services an item is a `Payload`, which goes out by itself, because it is a value of its own.

    Args:
        request: what is answered.
        media: type of the stream over HTTP, or None between services.
        loop: of the replica, in which everything here happens.
    """

    __slots__ = ("_begun", "_loop", "_media", "_parts", "_request", "_size", "_turn")

    def __init__(self, request: Request, media: str | None, loop: asyncio.AbstractEventLoop) -> None:
        self._request = request
        self._media = media
        self._loop = loop
        self._begun = False
        self._turn = False  # whether something went out in this turn of the loop
        self._parts: list[bytes] = []
        self._size = 0

    def put(self, item: Payload | bytes) -> None:
        """Send an item, or keep it for those that follow in this turn."""
        if not self._turn:
            self._put_first(item)
            return
        assert isinstance(item, bytes)
        self._parts.append(item)
        self._size += len(item)
        if len(self._parts) >= TOGETHER or self._size >= LARGE:
            self.flush()

    def _put_first(self, item: Payload | bytes) -> None:
        if self._request.cancelled:
            return
        if not self._begun:
            self._begin()
        if isinstance(item, Payload):
            self._request.reply.item(item)
            return
        self._turn = True
        self._loop.call_soon(self._next_turn)
        self._request.reply.item(Payload(item))

    def _begin(self) -> None:
        self._begun = True
        self._request.reply.begin(self._media)

    def _next_turn(self) -> None:
        self._turn = False
        self.flush()

    def flush(self) -> None:
        """Send what was kept."""
        if not self._parts:
            return
        parts, self._parts, self._size = self._parts, [], 0
        if not self._request.cancelled:
            self._request.reply.item(Payload(b"".join(parts)), len(parts))

    def end(self) -> None:
        """End the stream well."""
        if self._request.cancelled:
            return
        if not self._begun:
            self._begin()
        self.flush()
        self._request.reply.end()


class ThreadOutbox:
    """The same for a producer in a thread; waking the loop costs more than an item, so items that come meanwhile share it."""

    __slots__ = ("_loop", "_outbox", "_posted", "_waiting")

    def __init__(self, outbox: Outbox, loop: asyncio.AbstractEventLoop) -> None:
        self._outbox = outbox
        self._loop = loop
        self._waiting: deque[Payload | bytes] = deque()
        self._posted = False

    def put(self, item: Payload | bytes) -> None:
        """Hand an item to the loop."""
        self._waiting.append(item)
        if not self._posted:
            self._posted = True
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._posted = False  # before looking: an item that comes later is posted again
        while self._waiting:
            self._outbox.put(self._waiting.popleft())

    def flush(self) -> None:
        """Send what was kept; called in the loop."""
        self._drain()
        self._outbox.flush()

    def end(self) -> None:
        """End the stream well; called in the loop."""
        self._drain()
        self._outbox.end()
