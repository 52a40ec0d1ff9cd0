"""Deadlines of many requests with few timers: exact for short ones, swept for long ones."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from motet.runtime.exchange import Exchange

SHORT = 1.0  # s; below this every request has a timer of its own
SWEEP = 0.05  # s between looks at the others: the most by which they expire late


class Timeouts:
    """Calls `expire(exchange)` once its deadline has passed, unless it is discarded before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[Exchange], None]) -> None:
        self._loop = loop
        self._expire = expire
        self._long: set[Exchange] = set()
        self._short: dict[Exchange, asyncio.TimerHandle] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def add(self, exchange: Exchange, deadline: float) -> None:
        """Watch an exchange; `deadline` is in `time.monotonic()` seconds."""
        if deadline == math.inf:
            return
        left = deadline - time.monotonic()
        if left < SHORT:
            self._short[exchange] = self._loop.call_later(max(0.0, left), self._now, exchange)
            return
        self._long.add(exchange)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP, self._sweep)

    def discard(self, exchange: Exchange) -> None:
        """Stop watching an exchange."""
        self._long.discard(exchange)
        if self._short and (timer := self._short.pop(exchange, None)) is not None:
            timer.cancel()

    def _now(self, exchange: Exchange) -> None:
        if self._short.pop(exchange, None) is not None:
            self._expire(exchange)

    def _sweep(self) -> None:
        self._sweeper = None
        now = time.monotonic()
        for exchange in [e for e in self._long if e.deadline <= now]:
            if exchange in self._long:
                self._long.discard(exchange)
                self._expire(exchange)
        if self._long:
            self._sweeper = self._loop.call_later(SWEEP, self._sweep)

    def close(self) -> None:
        """Stop all timers."""
        for timer in (*self._short.values(), *([self._sweeper] if self._sweeper else ())):
            timer.cancel()
        self._short.clear()
        self._long.clear()
