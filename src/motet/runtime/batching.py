"""Dynamic batching: single calls joined into lists while the replica is busy."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

from motet.definitions import Batching
from motet.runtime.exchange import Request
from motet.runtime.mailbox import Mailbox


class BatchLane:
    """Slots that take a batch each.

    A batch leaves when a slot is free. It waits for more items only while fewer have come than were under way when the last
    batch ended (so a lone caller never waits, and a steady crowd is served in full batches), and never over `max_wait`. Who is to
    come again comes within `max_wait` of that end: an item after it leaves at once.

    Everything happens in the loop, but for `take`, by which the thread of a batch goes on with the next one.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        batching: Batching,
        capacity: int,
        start: Callable[[list[Request]], None],
        loop: asyncio.AbstractEventLoop,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mailbox = mailbox
        self._batching = batching
        self._start = start
        self._loop = loop
        self._clock = clock
        self._waiting: deque[Request] = deque()  # filled by the loop; both sides take from it, each request once
        self._free_places = 0  # items that were let in beside the queue's count, because a slot was free
        self._expected = 1
        self._expected_until = -math.inf
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
        self._expect(size)
        if self._waiting:
            self._schedule()

    def take(self, size: int) -> list[Request] | None:
        """Return the batch that follows one of `size` in its slot, if there is one that need not wait; called in its thread."""
        self._expect(size)
        if not self._waiting or not self._ready():
            return None
        taken = self._next()
        late = [request for request in taken if request.expired()]
        self._loop.call_soon_threadsafe(self._taken, len(taken), late)
        return [request for request in taken if request not in late] or None

    def _taken(self, count: int, late: list[Request]) -> None:
        self._uncount(count)
        for request in late:
            self._mailbox.refuse_late(request)

    def _expect(self, size: int) -> None:
        self._expected = min(self._batching.max_size, max(1, size, len(self._waiting)))
        self._expected_until = self._clock() + self._batching.max_wait

    def _ready(self) -> bool:
        return len(self._waiting) >= self._expected or self._clock() >= self._expected_until

    def _next(self) -> list[Request]:
        """Take a batch out of what waits."""
        batch: list[Request] = []
        try:
            while len(batch) < self._batching.max_size:
                batch.append(self._waiting.popleft())
        except IndexError:  # somebody else may have taken the last one since it was looked for
            pass
        return batch

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
        waiting: list[Request] = []
        while batch := self._next():
            waiting += batch
        self._uncount(len(waiting))
        return waiting

    def _uncount(self, count: int) -> None:
        free = min(count, self._free_places)
        self._free_places -= free
        self._mailbox.waiting -= count - free

    def _schedule(self) -> None:
        if self._ready():
            self._set_timer(self._loop.call_soon(self._dispatch))
        elif self._timer is None:
            self._set_timer(self._loop.call_later(self._batching.max_wait, self._dispatch))

    def _set_timer(self, timer: asyncio.Handle) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer

    def _dispatch(self) -> None:
        self._timer = None
        while self.running < self.capacity and (taken := self._next()):
            batch = [request for request in taken if self._leave(request)]
            if batch:
                self.running += 1
                self._start(batch)

    def _leave(self, request: Request) -> bool:
        if self._free_places:
            self._free_places -= 1
            self._mailbox.waiting += 1  # leave() takes it off again
        return self._mailbox.leave(request)
