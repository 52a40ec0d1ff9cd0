"""Dynamic batching: single calls joined into lists while the replica is busy."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from motet.definitions import Batching
from motet.runtime.exchange import Request
from motet.runtime.mailbox import Mailbox


class BatchLane:
    """Slots that take a batch each.

    A batch leaves when a slot is free. It waits for more items only while fewer have come than were under way when the last
    batch ended (so a lone caller never waits, and a steady crowd is served in full batches), and never over `max_wait`.
    """

    def __init__(
        self, mailbox: Mailbox, batching: Batching, capacity: int, start: Callable[[list[Request]], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._mailbox = mailbox
        self._batching = batching
        self._start = start
        self._loop = loop
        self._waiting: deque[Request] = deque()
        self._free_places = 0  # items that were let in beside the queue's count, because a slot was free
        self._expected = 1
        self._timer: asyncio.Handle | None = None
        self.capacity = capacity
        self.running = 0

    def offer(self, request: Request) -> bool:
        """Take the request into the next batch if that can leave at once; returns whether it could."""
        if self.running >= self.capacity or len(self._waiting) >= self._batching.max_size:
            return False
        self._waiting.append(request)
        self._free_places += 1
        self._schedule()
        return True

    def wait(self, request: Request) -> None:
        """Keep the request for a later batch."""
        self._waiting.append(request)

    def release(self, size: int) -> None:
        """Give the slot of a batch back."""
        self.running -= 1
        self._expected = min(self._batching.max_size, max(1, size, len(self._waiting)))
        if self._waiting:
            self._schedule()

    def withdraw(self, request: Request) -> bool:
        """Forget a waiting request; returns whether it was waiting."""
        try:
            self._waiting.remove(request)
        except ValueError:
            return False
        self._uncount(1)
        return True

    def flush(self) -> list[Request]:
        """Forget all waiting requests and return them."""
        waiting = list(self._waiting)
        self._waiting.clear()
        self._uncount(len(waiting))
        return waiting

    def _uncount(self, count: int) -> None:
        free = min(count, self._free_places)
        self._free_places -= free
        self._mailbox.waiting -= count - free

    def _schedule(self) -> None:
        if len(self._waiting) >= self._expected or self._batching.max_wait == 0:
            self._set_timer(self._loop.call_soon(self._dispatch))
        elif self._timer is None:
            self._set_timer(self._loop.call_later(self._batching.max_wait, self._dispatch))

    def _set_timer(self, timer: asyncio.Handle) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer

    def _dispatch(self) -> None:
        self._timer = None
        while self._waiting and self.running < self.capacity:
            batch: list[Request] = []
            while self._waiting and len(batch) < self._batching.max_size:
                request = self._waiting.popleft()
                if self._free_places:
                    self._free_places -= 1
                    self._mailbox.waiting += 1  # leave() takes it off again
                if self._mailbox.leave(request):
                    batch.append(request)
            if batch:
                self.running += 1
                self._start(batch)
