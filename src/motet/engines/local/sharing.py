"""Shared memory over a link: descriptors go over a socket beside it, since event loops' transports lose them.

Whoever sends a frame that refers to a segment for the first time pushes the segment's descriptor over the side socket before it. So it
is there when the frame arrives, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from struct import Struct

from motet.errors import MotetError
from motet.wire import memory, segments
from motet.wire.frames import FrameKind, Place, decode_number, encode_meta, pack
from motet.wire.payload import Buffer, Part, Payload
from motet.wire.segments import Segment, SharedBuffer

_PUSHED = Struct("<QQQ")  # key, bytes of a block, blocks
HELLO = b"m"  # the byte that the side socket comes with over a fresh connection


def open_side(connection: socket.socket) -> socket.socket:
    """Make the side socket of a link, and send the other end its own over the connection, before an event loop gets that."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        socket.send_fds(connection, [HELLO], [theirs.fileno()])
    ours.setblocking(False)  # noqa: FBT003  # takes no keyword
    return ours


def take_side(connection: socket.socket) -> socket.socket | None:
    """Receive this end's side socket over a fresh connection that can be read; None if the other end is gone, or no caller of ours."""
    try:
        data, descriptors, _, _ = socket.recv_fds(connection, len(HELLO), 1, socket.MSG_CMSG_CLOEXEC)
    except OSError:
        return None
    side = socket.socket(fileno=descriptors[0]) if descriptors else None
    if side is not None and data != HELLO:
        side.close()
        return None
    if side is not None:
        side.setblocking(False)  # noqa: FBT003  # takes no keyword
    return side


class Sharing:
    """One end of a link, as far as shared memory goes; lives in the link's loop.

    Args:
        side: the side socket, which belongs to it.
        write: sends a frame over the link.
    """

    def __init__(self, side: socket.socket, write: Callable[[bytes | list[Buffer]], None]) -> None:
        self._side = side
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._pushed: dict[int, Segment] = {}  # the other end knows them from here
        self._given: dict[int, Segment] = {}  # this end knows them from there
        self._unconfirmed: deque[Payload] = deque()
        self._unanswered = 0
        self._closed = False

    # -- out -------------------------------------------------------------------------------------------------------

    def prepare(self, payload: Payload) -> Payload:
        """Return a payload as it can be sent: with what the other end can't be told of in line."""
        if not payload.shared:
            return payload
        _trimmer.watch(self._loop)
        parts: list[Part] = [
            part.view() if isinstance(part, SharedBuffer) and not self._push(part.lease.segment) else part for part in payload.buffers
        ]
        return Payload(payload.head, tuple(parts))

    def _push(self, segment: Segment) -> bool:
        """Let the other end have a segment; returns False if it can't be told of it now."""
        if self._pushed.get(segment.key) is segment:
            return True
        if self._closed:
            return False
        try:
            socket.send_fds(self._side, [_PUSHED.pack(segment.key, segment.block_size, segment.blocks)], [segment.descriptor])
        except OSError:  # full, or too many descriptors are on their way
            return False
        self._pushed[segment.key] = segment
        segment.takers.add(self)
        return True

    def lacking(self, meta: bytes | memoryview) -> None:
        """Push a segment again the next time it is referred to; the other end had no room for its descriptor."""
        if (segment := self._pushed.pop(decode_number(meta), None)) is not None:
            segment.takers.discard(self)

    def keep(self, payload: Payload) -> None:
        """Hold what a sent payload refers to, until the other end has said that it does."""
        if not self._closed and payload.shared:
            self._unconfirmed.append(payload)

    def confirmed(self, meta: bytes | memoryview) -> None:
        """Let go of what the other end holds now."""
        for _ in range(min(decode_number(meta), len(self._unconfirmed))):
            self._unconfirmed.popleft()

    def forget(self, segment: Segment) -> None:
        """Tell the other end that a segment won't be referred to any more; called from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._forget, segment)

    def _forget(self, segment: Segment) -> None:
        if self._pushed.get(segment.key) is segment and not self._closed:
            del self._pushed[segment.key]
            self._write(pack(FrameKind.FORGET, 0, encode_meta(segment.key)))

    # -- in --------------------------------------------------------------------------------------------------------

    def find(self, place: Place) -> SharedBuffer:
        """Hold what a frame refers to.

        Raises:
            Unavailable: it is gone.
            MotetError: the other end hasn't sent the segment's descriptor.
        """
        segment = self._given.get(place.key) or self._receive(place.key)
        if place.block >= segment.blocks or place.start + place.size > segment.block_size:
            message = f"a frame refers to block {place.block} of a segment of {segment.blocks}"
            raise MotetError(message)
        return SharedBuffer(segment.hold(place.block, place.use), place.start, place.size)

    def _receive(self, key: int) -> Segment:
        """Take all descriptors that have been sent, up to that of a segment."""
        while key not in self._given:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._side, _PUSHED.size, 1, socket.MSG_CMSG_CLOEXEC)
            except OSError:
                data, descriptors = b"", []
            if not descriptors:
                self._write(pack(FrameKind.LACK, 0, encode_meta(key)))
                message = "a frame refers to shared memory whose descriptor hasn't come: this process may have too many open"
                raise MotetError(message)
            given, block_size, blocks = _PUSHED.unpack(data)
            self._given[given] = segments.take_in(given, block_size, blocks, descriptors[0], self)
        return self._given[key]

    def received(self, parts: Iterable[int | Place]) -> None:
        """Note that a frame has arrived; if it refers to shared memory, the other end keeps that for us."""
        if any(isinstance(part, Place) for part in parts):
            if not self._unanswered:
                self._loop.call_soon(self.confirm)  # after what this frame sets off
            self._unanswered += 1

    def confirm(self) -> None:
        """Tell the other end of the payloads that have arrived."""
        if self._unanswered and not self._closed:
            count, self._unanswered = self._unanswered, 0
            self._write(pack(FrameKind.RECEIVED, 0, encode_meta(count)))

    def forgotten(self, meta: bytes | memoryview) -> None:
        """Forget a segment that the other end won't refer to any more."""
        if (segment := self._given.pop(decode_number(meta), None)) is not None:
            segment.forgotten_by(self)

    def close(self) -> None:
        """Let go of everything; the link has ended."""
        if self._closed:
            return
        self._closed = True
        self._side.close()
        self._unconfirmed.clear()
        for segment in self._pushed.values():
            segment.takers.discard(self)
        self._pushed.clear()
        for segment in self._given.values():
            segment.forgotten_by(self)
        self._given.clear()


class _Trimmer:
    """Has this process's free memory given back while it is idle."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at the pool in a while, and again as long as it is large."""
        if self._loop is None or self._loop.is_closed():
            self._loop = loop
            loop.call_later(memory.IDLE, self._look)

    def _look(self) -> None:
        loop, self._loop = self._loop, None
        pool = memory.pool()
        if loop is not None and pool is not None and pool.trim(time.monotonic()):
            self.watch(loop)


_trimmer = _Trimmer()
