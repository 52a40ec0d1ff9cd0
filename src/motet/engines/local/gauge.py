"""What a process uses of the memory, with the processes that it has started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

EXACT_EVERY = 20  # looks at one that shares much: when another process ends, more of it is its own
PAGE = os.sysconf("SC_PAGE_SIZE")


class Gauge:
    """Tells what a process uses, with the processes that it has started.

    What is resident counts shared pages in full, and is cheap to know. Only when that is over the limit the exact share is asked
    for, which walks through all pages; and then not again before so much has been added that it could be over.
    """

    def __init__(self, pid: int, limit: int) -> None:
        self._pid = pid
        self._limit = limit
        self._resident = 0  # when the exact share was asked for
        self._exact: int | None = None
        self._looks = 0

    def look(self) -> int:
        """Return bytes: over the limit only if that is exact."""
        pids = [self._pid, *_descendants(self._pid)]
        resident = sum(map(_resident, pids))
        if resident <= self._limit:
            return resident
        self._looks += 1
        if self._exact is not None and self._looks % EXACT_EVERY:
            at_most = self._exact + max(0, resident - self._resident)
            if at_most <= self._limit:
                return at_most
        self._resident, self._exact = resident, sum(map(_share, pids))
        return self._exact


def _descendants(pid: int) -> Iterator[int]:
    try:
        children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    except OSError:  # it, or a thread of it, has just ended
        return
    for child in children:
        yield child
        yield from _descendants(child)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def _share(pid: int) -> int:
    """Return the bytes of a process, what it shares divided by those who share it."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
