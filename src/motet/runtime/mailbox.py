"""The bounded queue of a replica: what runs, what waits, what is refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Protocol

from motet.errors import DeadlineExceeded, MotetError, Overloaded, ShuttingDown, Unavailable
from motet.runtime.exchange import Request

Refuse = Callable[[Request, MotetError], None]


class Lane(Protocol):
    """Slots that some endpoints of a replica share."""

    def offer(self, request: Request) -> bool:
        """Run the request now if a slot is free; returns whether it did."""
        ...

    def wait(self, request: Request) -> None:
        """Keep the request until a slot is free."""

    def withdraw(self, request: Request) -> bool:
        """Forget a waiting request; returns whether it was waiting."""
        ...

    def flush(self) -> list[Request]:
        """Forget all waiting requests and return them."""
        ...


class SlotLane:
    """Slots that take one request each, in order of arrival.

    Everything happens in the loop, but for `take`, by which a thread goes on with the next request.
    """

    __slots__ = ("_loop", "_mailbox", "_start", "_waiting", "capacity", "running")

    def __init__(self, mailbox: Mailbox, capacity: int, start: Callable[[Request], None], loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._mailbox = mailbox
        self._start = start
        self._waiting: deque[Request] = deque()
        self.capacity = capacity
        self.running = 0

    def offer(self, request: Request) -> bool:
        """Run the request now if a slot is free; returns whether it did."""
        if self.running >= self.capacity:
            return False
        self.running += 1
        self._start(request)
        return True

    def wait(self, request: Request) -> None:
        """Keep the request until a slot is free."""
        self._waiting.append(request)

    def release(self) -> None:
        """Give a slot back, and to the next request that waits."""
        self.running -= 1
        while self.running < self.capacity:
            try:
                request = self._waiting.popleft()
            except IndexError:  # a thread may have taken the last one
                return
            if self._mailbox.leave(request):
                self.running += 1
                self._start(request)

    def take(self) -> Request | None:
        """Return the request that follows in a slot, if one waits; called in the thread of the one that ends there."""
        while True:
            try:
                request = self._waiting.popleft()
            except IndexError:
                return None
            if not request.expired():
                self._loop.call_soon_threadsafe(self._mailbox.taken)
                return request
            self._loop.call_soon_threadsafe(self._mailbox.leave, request)

    def withdraw(self, request: Request) -> bool:
        """Forget a waiting request; returns whether it was waiting."""
        try:
            self._waiting.remove(request)
        except ValueError:
            return False
        self._mailbox.waiting -= 1
        return True

    def flush(self) -> list[Request]:
        """Forget all waiting requests and return them."""
        waiting: list[Request] = []
        with contextlib.suppress(IndexError):  # looking first wouldn't do: a thread may take the last one meanwhile
            while True:
                waiting.append(self._waiting.popleft())
        self._mailbox.waiting -= len(waiting)
        return waiting


class Mailbox:
    """Admits requests to lanes and counts those that wait.

    Args:
        limit: requests that may wait at once, over all lanes.
        refuse: answers a request with an error without running it.
        owner: name of the replica's node, for messages.
    """

    def __init__(self, *, limit: int, refuse: Refuse, owner: str) -> None:
        self.limit = limit
        self.waiting = 0
        self.closed: str | None = None
        self._refuse = refuse
        self._owner = owner
        self.lanes: list[Lane] = []

    def put(self, request: Request, lane: Lane) -> None:
        """Run the request, keep it, or refuse it."""
        if self.closed is not None:
            self._refuse(request, Unavailable(f"{self._owner} {self.closed} and takes no calls", where=self._owner))
        elif request.expired():
            self.refuse_late(request)
        elif not lane.offer(request):
            if self.waiting >= self.limit:
                self._refuse(
                    request,
                    Overloaded(
                        f"the queue of {self._owner} is full",
                        where=f"{self._owner}.{request.endpoint}",
                        found=f"{self.waiting} calls wait",
                        instead="try again later, raise `queue`, or add replicas",
                    ),
                )
            else:
                self.waiting += 1
                lane.wait(request)

    def leave(self, request: Request) -> bool:
        """Take a request out of the queue to run it; returns False, and refuses it, if its deadline has passed."""
        self.waiting -= 1
        if request.expired():
            self.refuse_late(request)
            return False
        return True

    def taken(self) -> None:
        """Note that a request has left the queue to be run."""
        self.waiting -= 1

    def refuse_late(self, request: Request) -> None:
        """Refuse a request whose deadline has passed."""
        self._refuse(
            request,
            DeadlineExceeded(
                "the deadline passed while the call waited in the queue",
                where=f"{self._owner}.{request.endpoint}",
                instead="a longer timeout, more replicas, or more concurrency",
            ),
        )

    def close(self, reason: str) -> None:
        """Refuse what waits now and what comes later, each with an error of its own."""
        self.closed = reason
        for lane in self.lanes:
            for request in lane.flush():
                self._refuse(
                    request, ShuttingDown(f"{self._owner} stopped before the call's turn came", where=f"{self._owner}.{request.endpoint}")
                )
