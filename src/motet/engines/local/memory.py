"""The memory of replicas that have a limit: looked at four times a second, and one that is over its limit is ended."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from motet.engines.local.ledger import memory_text

if TYPE_CHECKING:
    from motet.engines.local.slots import Slot

INTERVAL = 0.25  # s
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


async def watch_memory(slots: Callable[[], Iterable[Slot]]) -> None:
    """Look at all replicas with a limit, and end those that are over it, until cancelled."""
    while True:
        await asyncio.sleep(INTERVAL)
        watched = [(slot, record, gauge) for slot in slots() for record in slot.records if (gauge := record.gauge) is not None]
        if not watched:
            continue
        used = await asyncio.to_thread(_look, [gauge for _, _, gauge in watched])
        for (slot, record, _), size in zip(watched, used, strict=True):
            record.memory = size
            limit = record.placement.memory
            if limit is not None and size > limit:
                slot.end(record, f"it used {memory_text(size)}, its limit is {memory_text(limit)} (memory in its Resources)")


def _look(gauges: Iterable[Gauge]) -> list[int]:
    return [gauge.look() for gauge in gauges]


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
