"""Noticing user code that keeps a replica's event loop from running, and telling which endpoint it is."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple

from motet.identity import is_users_file
from motet.options import LIBRARY
from motet.runtime.execution import Runner

log = logging.getLogger("motet.replica")

BEAT = 0.1  # s between two signs of life of the loop
IDLE_BEAT = 1.0  # s while nothing runs: looking ten times a second costs a thousandth of a core
LIMIT = 0.2  # s without one from which on the loop counts as held up
LONG = 5.0  # s after which it is told of while it goes on
QUIET = 60.0  # s between two warnings about one endpoint


class Culprit(NamedTuple):
    """What was found to run while a loop didn't.

    Attributes:
        endpoint: full name of the endpoint, or what is known of the task.
        place: file and line of the user's own code.
        in_loop: whether it ran in the loop's thread; otherwise it held the GIL in another one.
    """

    endpoint: str
    place: str
    in_loop: bool


class LoopWatch:
    """Watches the loop that it is made in, from a thread: logs who held it up, where, and for how many milliseconds.

    Args:
        owner: the replica's identity, for messages.
        busy: tells whether calls run that a delay could hold up.
        limit: seconds from which on a delay of the loop is told of.
        clock: tells when it is time to repeat a warning.
    """

    def __init__(self, *, owner: str, busy: Callable[[], bool], limit: float = LIMIT, clock: Callable[[], float] = time.monotonic) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._owner = owner
        self._limit = limit
        self._clock = clock
        self._busy = busy
        self._beat()
        self._stopped = threading.Event()
        self.noticed = 0  # times that the loop was held up
        self._told: dict[str, float] = {}
        self._times: Counter[str] = Counter()  # since it was told last
        self._thread = threading.Thread(target=self._watch, name=f"{owner}-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._timer.cancel()
        self._stopped.set()

    def _beat(self) -> None:
        self._interval = BEAT if self._busy() else IDLE_BEAT
        self._due = time.monotonic() + self._interval
        self._timer = self._loop.call_later(self._interval, self._beat)

    def _watch(self) -> None:
        while True:
            slept, worked = time.monotonic(), time.process_time()
            pause = self._interval
            if self._stopped.wait(pause):
                return
            if time.monotonic() - self._due < self._limit:
                continue
            # Whoever holds the GIL keeps this thread from looking, too. Python takes it from him as soon as it can, so that he is
            # still there to be seen. A process that got no processor is late as well, but has nothing to show for it.
            late = time.monotonic() - slept - pause
            held = late > self._limit and time.process_time() - worked > late / 2
            if (culprit := self._culprit(held=held)) is not None:
                self._follow(culprit)

    def _follow(self, culprit: Culprit) -> None:
        """Wait until the loop runs again, and tell how long it didn't; of a long time also while it lasts."""
        begun = self._due
        quiet = self._clock() - self._told.get(culprit.endpoint, -math.inf) < QUIET
        self._times[culprit.endpoint] += 1
        self.noticed += 1
        told = quiet
        while self._due == begun:
            if not told and time.monotonic() - begun > LONG:
                told = True
                self._tell(culprit, time.monotonic() - begun, " so far")
            if self._stopped.wait(BEAT / 10):
                return
        if not quiet:
            self._tell(culprit, self._due - self._interval - begun)

    def _tell(self, culprit: Culprit, seconds: float, so_far: str = "") -> None:
        self._told[culprit.endpoint] = self._clock()
        times = self._times.pop(culprit.endpoint, 1)
        log.warning(
            "%s %s %s for %s ms%s at %s; the other calls of this replica had to wait%s. %s",
            culprit.endpoint,
            "blocked the event loop of" if culprit.in_loop else "held the GIL in",
            self._owner,
            f"{1000 * seconds:,.0f}",
            so_far,
            culprit.place,
            f", {times} times since the last warning" if times > 1 else "",
            "Make it a plain `def`, which runs in a thread, or await `asyncio.to_thread(...)` there"
            if culprit.in_loop
            else "Code that releases the GIL, or more replicas, would let them run",
        )

    def _culprit(self, *, held: bool) -> Culprit | None:
        """Return who runs in the loop's thread, or else, if the GIL was held, in another one; None if it is no code of the user's."""
        frames = sys._current_frames()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # documented, for this
        frame = frames.pop(self._loop_thread, None)
        task = asyncio.current_task(self._loop)
        if task is not None and (place := _users_place(frame)) is not None:
            return Culprit(_endpoint(frame) or f"the task {task.get_name()}", place, in_loop=True)
        for other in frames.values() if held else ():
            if (name := _endpoint(other)) is not None and (place := _users_place(other)) is not None:
                return Culprit(name, place, in_loop=False)
        return None


def _endpoint(frame: FrameType | None) -> str | None:
    """Return the endpoint that runs in a stack."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(LIBRARY) and isinstance(runner := frame.f_locals.get("self"), Runner):
            return runner.where
        frame = frame.f_back
    return None


def _users_place(frame: FrameType | None) -> str | None:
    """Return where in a stack the user's own code is."""
    while frame is not None:
        file = frame.f_code.co_filename
        if is_users_file(file) and not file.startswith("<frozen "):  # the interpreter's own start
            return f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return None
