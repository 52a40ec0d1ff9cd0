"""Segments of shared memory, and who holds which of their blocks.

A segment is a memfd, cut into equal blocks, that each process maps once. Its producer writes into a block once, and passes on
only its place. A process that holds block k has a POSIX read lock on byte k of the memfd; the producer uses the block again
when the write lock on that byte can be had. The kernel drops the locks of a process that dies, at any moment, so no
bookkeeping has to be repaired. Each use of a block has a number, in shared memory behind the blocks: a place that arrives
after the process that sent it has died, and with it the lock, is known by its outdated number.

Traps of POSIX locks, and what is done about each: closing any descriptor of the file drops all locks that the process has on it, so a
descriptor that arrives twice is kept until the segment is dropped; a process never conflicts with itself, so it counts what
it holds; a fork inherits none, so the child takes its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import sys
import threading
from struct import Struct
from typing import Any, Protocol

from motet.errors import Unavailable

PAGE = os.sysconf("SC_PAGE_SIZE")
HUGE = 2**21  # bytes of a huge page
_PROT_READ, _PROT_WRITE, _MAP_SHARED = 1, 2, 1
_MADV_REMOVE, _MADV_HUGEPAGE = 9, 14
_USE = Struct("<Q")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

mutex = threading.RLock()
"""Guards all of this process's segments. Re-entrant, since a garbage collection may end leases anywhere; never held while
memory is copied."""


class Holder(Protocol):
    """Who gave a segment to this process, or got it from here: a link's other end."""

    def forget(self, segment: Segment) -> None:
        """Tell the other end that the segment won't be referred to any more; called from any thread."""


class Owner(Protocol):
    """The pool of the process that a segment belongs to; only that one writes to it."""

    def held(self, segment: Segment, block: int) -> None:
        """Note that this process holds a block again, because another one has passed it back."""

    def freed(self, segment: Segment, block: int) -> None:
        """Note that this process holds a block no more."""


class Segment:
    """A segment, of this process or of another.

    Args:
        key: names it on this machine.
        block_size: bytes of each block, whole pages.
        blocks: how many there are.
        descriptor: of the memfd; belongs to the segment from now on.
        owner: the pool that it belongs to, if that is this process's.
    """

    __slots__ = ("__weakref__", "_address", "_counts", "_descriptors", "_held", "_kind", "_uses",
                 "block_size", "blocks", "givers", "key", "owner", "takers")  # fmt: skip

    def __init__(self, key: int, block_size: int, blocks: int, descriptor: int, *, owner: Owner | None = None) -> None:
        self.key = key
        self.block_size = block_size
        self.blocks = blocks
        self.owner = owner
        self.givers: set[Holder] = set()
        self.takers: set[Holder] = set()
        self._descriptors = [descriptor]
        self._counts = [0] * blocks
        self._held = 0
        self._address = 0
        self._uses: Any = None  # once it is mapped
        self._kind: Any = None  # the type of a block's memory

    @property
    def descriptor(self) -> int:
        """The memfd."""
        return self._descriptors[0]

    @property
    def size(self) -> int:
        """Bytes of all blocks."""
        return self.block_size * self.blocks

    @property
    def mapped(self) -> bool:
        """Whether this process has looked into it."""
        return self._address != 0

    def address(self) -> int:
        """Return where the segment is in this process's memory; maps it, writeable only for its producer."""
        with mutex:
            if self._address == 0:
                protection = _PROT_READ if self.owner is None else _PROT_READ | _PROT_WRITE
                address = _libc.mmap(None, self.size + PAGE, protection, _MAP_SHARED, self.descriptor, 0)
                if address is None or address == ctypes.c_void_p(-1).value:
                    error = ctypes.get_errno()
                    raise OSError(error, os.strerror(error))
                if self.block_size >= HUGE:
                    _libc.madvise(address, self.size, _MADV_HUGEPAGE)  # a first touch costs a fault a page
                self._uses = (ctypes.c_uint64 * (PAGE // _USE.size)).from_address(address + self.size)
                self._address = address
            return self._address

    # -- holding ---------------------------------------------------------------------------------------------------

    def hold(self, block: int, use: int) -> Lease:
        """Hold a block that another process has told of.

        Raises:
            Unavailable: it contains something else by now; who told of it has died, or has given up the request.
        """
        with mutex:
            if self.owner is not None and self.use_of(block) != use:
                raise _gone()  # held for a moment, a block that was given back would be freed once more, and used twice
            self._counts[block] += 1
            self._held += 1
            lease = Lease(self, block, use)
            if self._counts[block] == 1 and self.owner is not None:
                self.owner.held(self, block)
            elif self._counts[block] == 1:
                try:
                    self._lock(block)
                except OSError:  # the producer is about to use it again
                    raise _gone() from None
        if self.use_of(block) != use:
            raise _gone()
        return lease

    def reuse(self, block: int) -> Lease | None:
        """Hold a block for something new, or return None if another process still holds the old; for the producer."""
        with mutex:
            if not self.reclaim(block):
                return None
            self._counts[block] += 1
            self._held += 1
            return Lease(self, block, self.use_of(block))

    def reclaim(self, block: int) -> bool:
        """End the present use of a block; returns False if another process holds it."""
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, block)
        except OSError:
            return False
        self._uses[block] += 1
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, block)
        return True

    def use_of(self, block: int) -> int:
        """Return the number of a block's present use. Doesn't map the segment: who only forwards never needs to."""
        if self._address:
            return int(self._uses[block])
        return int(_USE.unpack(os.pread(self.descriptor, _USE.size, self.size + _USE.size * block))[0])

    def _lock(self, block: int) -> None:
        fcntl.lockf(self.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, block)

    def released(self, block: int) -> None:
        """Take note of the end of a lease."""
        with mutex:
            self._counts[block] -= 1
            self._held -= 1
            if self._counts[block] == 0:
                if self.owner is not None:
                    self.owner.freed(self, block)
                else:
                    fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, block)
            self._drop_if_unused()

    def memory(self, block: int) -> Any:
        """Return the memory of a block as an object with the buffer interface; keeps nothing alive."""
        if self._kind is None:
            self._kind = type("Block", (ctypes.Array,), {"_type_": ctypes.c_ubyte, "_length_": self.block_size})
        return self._kind.from_address(self.address() + block * self.block_size)

    def give_back(self, block: int) -> None:
        """Return a block's pages to the system, although other processes have it mapped; for the producer, after `reclaim`."""
        _libc.madvise(self.address() + block * self.block_size, self.block_size, _MADV_REMOVE)

    # -- the end ---------------------------------------------------------------------------------------------------

    def given_by(self, holder: Holder, descriptor: int | None = None) -> None:
        """Note that a link may refer to the segment, by a descriptor of its own if it has sent one."""
        with mutex:
            self.givers.add(holder)
            if descriptor is not None:
                self._descriptors.append(descriptor)

    def forgotten_by(self, holder: Holder) -> None:
        """Note that a link won't refer to the segment any more; the last one's end drops it, once nothing in it is held."""
        with mutex:
            self.givers.discard(holder)
            self._drop_if_unused()

    def _drop_if_unused(self) -> None:
        if self.owner is not None or self.givers or self._held or not self._descriptors:
            return
        _segments.pop(self.key, None)
        if self._address:
            _libc.munmap(self._address, self.size + PAGE)
            self._address = 0
        descriptors, self._descriptors = self._descriptors, []
        for descriptor in descriptors:
            os.close(descriptor)
        for taker in self.takers:
            taker.forget(self)
        self.takers.clear()

    def adopt_in_child(self) -> None:
        """After a fork: hold for this process what the parent held, and leave the rest to it."""
        self.owner = None
        self.givers.clear()
        self.takers.clear()
        for block, count in enumerate(self._counts):
            if count:
                with contextlib.suppress(OSError):
                    self._lock(block)
        self._drop_if_unused()


class Lease:
    """Keeps one use of a block as it is, for as long as this object lives.

    Attributes:
        sealed: whether others may have been told of the contents, so that they must not change any more.
    """

    __slots__ = ("block", "sealed", "segment", "use")

    def __init__(self, segment: Segment, block: int, use: int) -> None:
        self.segment = segment
        self.block = block
        self.use = use
        self.sealed = False

    def memory(self) -> Any:
        """Return the block's memory; the lease lives as long as any view of it."""
        memory = self.segment.memory(self.block)
        memory.lease = self
        return memory

    def __del__(self) -> None:
        """Let go of the block."""
        if not sys.is_finalizing():
            self.segment.released(self.block)


class SharedBuffer:
    """Part of a block as a payload's buffer: read-only bytes that this process hasn't looked at, and need not to forward them.

    Args:
        lease: of the block.
        start: where in the block it begins.
        size: in bytes.
    """

    __slots__ = ("lease", "size", "start")

    def __init__(self, lease: Lease, start: int, size: int) -> None:
        self.lease = lease
        self.start = start
        self.size = size
        lease.sealed = True

    def __len__(self) -> int:
        return self.size

    def __bytes__(self) -> bytes:
        return bytes(self.view())

    def memory(self) -> memoryview:
        """Return the bytes as they can be handed to C code that insists on writeable memory; writing ends the process."""
        return memoryview(self.lease.memory()).cast("B")[self.start : self.start + self.size]

    def view(self) -> memoryview:
        """Return the bytes; the block is held as long as any view of them."""
        return self.memory().toreadonly()


_segments: dict[int, Segment] = {}


def segments() -> list[Segment]:
    """Return this process's segments: its own, and those that it has heard of."""
    with mutex:
        return list(_segments.values())


def find(key: int) -> Segment | None:
    """Return a segment that this process has, or None."""
    return _segments.get(key)


def take_in(key: int, block_size: int, blocks: int, descriptor: int, giver: Holder) -> Segment:
    """Return the segment that a link has sent the descriptor of."""
    with mutex:
        known = _segments.get(key)
        if known is not None:
            known.given_by(giver, descriptor)
            return known
        segment = _segments[key] = Segment(key, block_size, blocks, descriptor)
        segment.givers.add(giver)
        return segment


def create(block_size: int, blocks: int, owner: Owner) -> Segment:
    """Return a new segment of this process.

    Raises:
        OSError: no descriptor or no memory is left.
    """
    descriptor = os.memfd_create(f"motet-{os.getpid()}", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, block_size * blocks + PAGE)
        key = int.from_bytes(os.urandom(8), "little")
        segment = Segment(key, block_size, blocks, descriptor, owner=owner)
        segment.address()
    except OSError:
        os.close(descriptor)
        raise
    with mutex:
        _segments[key] = segment
    return segment


def _gone() -> Unavailable:
    return Unavailable("a value in shared memory is gone: the process that sent it has died, or the request was cancelled")


def _after_fork() -> None:
    global mutex  # noqa: PLW0603  # another thread of the parent may have held it
    mutex = threading.RLock()
    for segment in list(_segments.values()):
        segment.adopt_in_child()
    _segments.clear()


os.register_at_fork(after_in_child=_after_fork)
