"""This process's pool of shared memory: where large buffers are put to be passed on without copies.

Blocks come in size classes and are used again: memory that is touched for the first time costs several times what copying into
it costs. Beyond a budget, buffers are copied through sockets instead; nothing is refused.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from motet.amounts import parse_bytes
from motet.errors import UsageError
from motet.wire import segments
from motet.wire.segments import PAGE, Lease, Segment

log = logging.getLogger("motet.memory")

SHARED = 65536  # bytes from which a buffer goes through shared memory
SEGMENT = 2**22  # bytes of a segment of small blocks, about
MOST_BLOCKS = PAGE // 8  # of a segment: there is one page for their uses
PROBES = 8  # free blocks that are tried before a new one is taken: other processes may still hold them
RESERVE = 2**26  # bytes of free blocks that are kept however long they are idle
IDLE = 5.0  # s after which free blocks beyond the reserve are given back to the system
SEARCH = 0.01  # s between searches for room when the budget is spent
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of the container that this process is in, if it is in one
BUDGET = "MOTET_SHARED_MEMORY"  # the environment variable with the budget of each process


class Usage(NamedTuple):
    """What a pool has: bytes of all blocks that have been written, and those of them that are free; segments."""

    bytes: int
    free: int
    segments: int


@dataclass(slots=True)
class _Shelf:
    """The blocks of one size."""

    size: int
    blocks: int = 0
    # Written before, and held by nobody in this process; since when. Those that were used last are at the end.
    free: OrderedDict[tuple[Segment, int], float] = field(default_factory=OrderedDict[tuple[Segment, int], float])
    blank: list[tuple[Segment, int]] = field(default_factory=list[tuple[Segment, int]])  # never written, or given back

    def take_free(self, tries: int) -> Lease | None:
        """Return a free block that no other process holds, the one that was used last."""
        for _ in range(min(tries, len(self.free))):
            (segment, block), since = self.free.popitem()
            if (lease := segment.reuse(block)) is not None:
                return lease
            self.free[segment, block] = since
            self.free.move_to_end((segment, block), last=False)
        return None


class Pool:
    """Blocks of shared memory for the values that this process produces. May be used from any thread.

    Args:
        budget: bytes that it may occupy.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._shelves: dict[int, _Shelf] = {}
        self._bytes = 0
        self._segments = 0
        self._searched = -math.inf
        self._complained = False

    def take(self, size: int) -> Lease | None:
        """Return a block of at least `size` bytes, or None if the budget is spent."""
        size = class_of(size)
        with segments.mutex:
            shelf = self._shelves.get(size)
            if shelf is None:
                shelf = self._shelves[size] = _Shelf(size)
            lease = shelf.take_free(PROBES) or self._take_blank(shelf)
            if lease is None and time.monotonic() - self._searched > SEARCH:
                lease = shelf.take_free(len(shelf.free)) or (self._take_blank(shelf) if self._make_room(size) else None)
                if lease is None:
                    self._searched = time.monotonic()
        if lease is None and not self._complained:
            self._complained = True
            log.warning(
                "large values of this process are copied through sockets: its budget of shared memory, %.0f MB, is spent; set %s for more",
                self.budget / 1e6,
                BUDGET,
            )
        return lease

    def _take_blank(self, shelf: _Shelf) -> Lease | None:
        if self._bytes + shelf.size > self.budget or not (shelf.blank or self._grow(shelf)):
            return None
        segment, block = shelf.blank.pop()
        lease = segment.reuse(block)
        if lease is None:  # it was given back, and somebody who heard of it too late looks at it at this moment
            shelf.blank.insert(0, (segment, block))
        else:
            self._bytes += shelf.size
        return lease

    def _grow(self, shelf: _Shelf) -> bool:
        """Add a segment; each is larger than the last, so that descriptors stay few."""
        count = min(MOST_BLOCKS, max(1, SEGMENT // shelf.size, shelf.blocks // 2))
        try:
            segment = segments.create(shelf.size, count, self)
        except OSError as error:
            log.warning("no shared memory could be had: %s", error)
            return False
        shelf.blocks += count
        shelf.blank += [(segment, block) for block in reversed(range(count))]
        self._segments += 1
        return True

    def held(self, segment: Segment, block: int) -> None:
        """Note that a block that other processes had is held here again; called by its segment."""
        self._shelves[segment.block_size].free.pop((segment, block), None)

    def freed(self, segment: Segment, block: int) -> None:
        """Note that a block is held here no more; called by its segment."""
        self._shelves[segment.block_size].free[segment, block] = time.monotonic()

    def _make_room(self, size: int) -> bool:
        """Give free blocks of other sizes back until `size` bytes fit into the budget; returns whether they do."""
        for shelf in self._shelves.values():
            self._give_back(shelf, excess=self._bytes + size - self.budget, before=math.inf)
        return self._bytes + size <= self.budget

    def trim(self, now: float) -> bool:
        """Give back what has been free for long, beyond a small reserve; returns whether there may be more to give back later.

        Args:
            now: `time.monotonic()` seconds.
        """
        with segments.mutex:
            for shelf in sorted(self._shelves.values(), key=lambda shelf: -shelf.size):
                self._give_back(shelf, excess=self._free - RESERVE, before=now - IDLE)
            return self._bytes > RESERVE

    def _give_back(self, shelf: _Shelf, *, excess: int, before: float) -> None:
        """Give back about `excess` bytes of blocks that have been free since before a time."""
        for _ in range(min(len(shelf.free), math.ceil(excess / shelf.size))):
            (segment, block), since = shelf.free.popitem(last=False)
            if since < before and segment.reclaim(block):
                segment.give_back(block)
                shelf.blank.append((segment, block))
                self._bytes -= shelf.size
            else:
                shelf.free[segment, block] = since

    @property
    def _free(self) -> int:
        return sum(shelf.size * len(shelf.free) for shelf in self._shelves.values())

    @property
    def usage(self) -> Usage:
        """What the pool has at the moment."""
        with segments.mutex:
            return Usage(bytes=self._bytes, free=self._free, segments=self._segments)


def class_of(size: int) -> int:
    """Return the size of the blocks that `size` bytes go into: there are four sizes to each doubling, whole pages."""
    step = max(PAGE, 1 << (size - 1).bit_length() - 3)
    return -(-size // step) * step


def budget() -> int:
    """Return the bytes of shared memory that this process may occupy: as `MOTET_SHARED_MEMORY` says, else a quarter of what there is.

    Raises:
        UsageError: the variable is no amount of memory.
    """
    if text := os.environ.get(BUDGET):
        try:
            return parse_bytes(text)
        except ValueError as error:
            raise UsageError(f"the environment variable {BUDGET} can't be read: {error}", instead="such as 2GiB, or 0 for none") from None
    memory = os.sysconf("SC_PHYS_PAGES") * PAGE
    with contextlib.suppress(OSError, ValueError):  # no control group, or no limit ("max")
        memory = min(memory, int(CGROUP_LIMIT.read_text(encoding="ascii")))
    return memory // 4


_pool: Pool | None = None


def open_pool() -> Pool | None:
    """Return this process's pool, opening it first; None if its budget is nothing. For processes whose links share memory."""
    global _pool  # noqa: PLW0603  # there is one for the process, as there is one set of locks
    if _pool is None and (most := budget()) > 0:
        _pool = Pool(most)
    return _pool


def pool() -> Pool | None:
    """Return this process's pool, or None if it has none (yet)."""
    return _pool


def _after_fork() -> None:
    global _pool  # noqa: PLW0603  # the parent's pool is the parent's
    _pool = None


os.register_at_fork(after_in_child=_after_fork)
