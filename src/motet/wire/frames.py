"""Frames: what travels over a link between two processes.

A frame is a prefix (length of the rest, kind, id of the exchange, length of the meta part), the meta part (msgpack), the
head of a payload, and the payload's buffers. Nothing is copied into the head to be framed, and a frame that arrives whole is
sliced, not copied.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from struct import Struct
from typing import cast

import msgspec

from motet.errors import InvalidOutput, MotetError
from motet.wire.payload import NOTHING, Buffer, Part, Payload
from motet.wire.segments import SharedBuffer

PREFIX = Struct("<IBII")
pack_prefix = PREFIX.pack
unpack_prefix = PREFIX.unpack_from
LARGE = 65536  # bytes from which it is cheaper to write apart than to copy behind a prefix
PREFIX_SIZE = PREFIX.size
MAX_FRAME = 2**31
SMALL = 4096  # bytes up to which what has arrived is copied in pieces, not viewed
TOGETHER = 8  # frames to a write: with more of them the other process would idle until all are made


class FrameKind(enum.IntEnum):
    """What a frame means. The numbers are part of the wire format."""

    CALL = 1
    CANCEL = 2
    CREDIT = 3
    RESULT = 4
    BEGIN = 5
    ITEM = 6
    END = 7
    FAILURE = 8
    RECEIVED = 9  # the receiver holds what so many frames have placed in shared memory
    FORGET = 10  # no frame refers to a segment any more, unless its descriptor comes anew
    LACK = 11  # a segment's descriptor didn't arrive, so it has to come again


class Place(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Where a buffer is in shared memory: which use of which block of which segment, and which bytes of that."""

    key: int
    block: int
    use: int
    start: int
    size: int


class CallMeta(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a call carries besides its body. `left` is the time to its deadline in seconds, since clocks of machines differ."""

    endpoint: str
    format: int
    left: float | None
    request_id: str
    trace: str | None = None
    content_type: str | None = None
    accept: str | None = None
    parts: tuple[int | Place, ...] | None = None


class AnswerMeta(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What an answer carries besides its value; left out where there is nothing to say. `items` is how many are in it."""

    content_type: str | None = None
    parts: tuple[int | Place, ...] | None = None
    items: int = 1


encode_meta = msgspec.msgpack.Encoder().encode
decode_call = msgspec.msgpack.Decoder(CallMeta).decode
decode_answer = msgspec.msgpack.Decoder(AnswerMeta).decode
decode_number = msgspec.msgpack.Decoder(int).decode


def parts_of(payload: Payload) -> tuple[int | Place, ...] | None:
    """Return the lengths of head and buffers, for those in shared memory their places; None if there is only a head."""
    if not payload.buffers:
        return None
    return (len(payload.head), *(_place(part) if type(part) is SharedBuffer else len(part) for part in payload.buffers))


def _place(buffer: SharedBuffer) -> Place:
    lease = buffer.lease
    return Place(lease.segment.key, lease.block, lease.use, buffer.start, buffer.size)


def pack(kind: int, exchange: int, meta: bytes = b"", payload: Payload = NOTHING) -> bytes | list[Buffer]:
    """Return a frame as one byte string, or as parts if it has buffers; those in shared memory stay there.

    Raises:
        InvalidOutput: it would be longer than a frame can be.
    """
    head = payload.head
    size = len(head)
    described = len(meta)
    buffers: list[Buffer] = []
    if payload.buffers:
        buffers = [cast("Buffer", part) for part in payload.buffers if type(part) is not SharedBuffer]
        size += sum(map(len, buffers))
    if size > MAX_FRAME:
        message = f"a value of {size:,} bytes is over the {MAX_FRAME:,} bytes that can be sent at once"
        raise InvalidOutput(message, instead="several smaller values, or a stream")
    prefix = pack_prefix(9 + described + size, kind, exchange, described) + meta
    if buffers:
        return [prefix + head, *buffers]
    if size > LARGE:
        return [prefix, head]
    return prefix + head


def split(body: bytes | memoryview, parts: tuple[int | Place, ...] | None, find: Callable[[Place], SharedBuffer]) -> Payload:
    """Cut the part of a frame after its meta into a payload; buffers are read-only views, or held in shared memory by `find`."""
    if parts is None:
        return Payload(bytes(body))
    found: list[Part] = []
    start = 0
    for part in parts:
        if isinstance(part, int):
            found.append(body[start : start + part])
            start += part
        else:
            found.append(find(part))
    if start != len(body):
        message = f"a frame announces {start} bytes and has {len(body)}"
        raise MotetError(message)
    return Payload(bytes(cast("Buffer", found[0])), tuple(found[1:]))


class FrameReader:
    """Cuts a byte stream into frames and hands each to `handle(kind, exchange, meta, body)`."""

    __slots__ = ("_handle", "_large", "_large_filled", "_rest")

    def __init__(self, handle: Callable[[int, int, bytes | memoryview, bytes | memoryview], None]) -> None:
        self._handle = handle
        self._rest = b""
        self._large: bytearray | None = None  # a frame that came in several pieces
        self._large_filled = 0

    def feed(self, data: bytes) -> None:
        """Take what has arrived.

        Raises:
            MotetError: the bytes are no frames.
        """
        if self._large is not None:
            data = self._fill(self._large, data)
            if not data:
                return
        if self._rest:
            data = self._rest + data
            self._rest = b""
        view = memoryview(data).toreadonly()
        handle = self._handle
        start, end = 0, len(data)
        while end - start >= PREFIX_SIZE:
            length, kind, exchange, meta_length = unpack_prefix(data, start)
            if length > MAX_FRAME + 2**20 or meta_length > length - 9:
                message = f"a frame of {length} bytes with {meta_length} bytes of meta is malformed"
                raise MotetError(message)
            stop = start + 4 + length
            if stop > end:
                self._begin_large(data, start, 4 + length)
                return
            body_start = start + PREFIX_SIZE + meta_length
            handle(kind, exchange, view[start + PREFIX_SIZE : body_start], view[body_start:stop])
            start = stop
        self._rest = data[start:] if start else data

    def _begin_large(self, data: bytes, start: int, length: int) -> None:
        self._large = bytearray(length)
        piece = memoryview(data)[start:]
        self._large[: len(piece)] = piece
        self._large_filled = len(piece)

    def _fill(self, large: bytearray, data: bytes) -> bytes:
        """Add to the unfinished frame; returns what belongs to the next ones."""
        missing = len(large) - self._large_filled
        piece = data[:missing] if len(data) > missing else data
        large[self._large_filled : self._large_filled + len(piece)] = piece
        self._large_filled += len(piece)
        if self._large_filled == len(large):
            self._large = None
            _, kind, exchange, meta_length = unpack_prefix(large)
            view = memoryview(large).toreadonly()
            meta_end = PREFIX_SIZE + meta_length
            self._handle(kind, exchange, view[PREFIX_SIZE:meta_end], view[meta_end:])
            return data[missing:]
        return b""


class FrameWriter:
    """Sends the frames of one turn of the loop together, a few in each write.

    uvloop makes a system call for each write, which costs more than packing several frames. A frame that nothing is likely to
    follow is sent at once.
    """

    __slots__ = ("_loop", "_parts", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[Buffer] = []

    def write(self, frame: bytes | list[Buffer], *, last: bool = False) -> None:
        """Send a frame, or those that were kept and this one; at the latest when the loop comes round."""
        parts = self._parts
        if last and not parts and type(frame) is bytes:
            if not self._transport.is_closing():
                self._transport.write(frame)
            return
        if not parts and not last:
            self._loop.call_soon(self.flush)
        if isinstance(frame, list):
            parts += frame
            last = True  # large, so that joining it to others saves nothing
        else:
            parts.append(frame)
        if last or len(parts) >= TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Send what was kept."""
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.writelines(parts)


def describe(kind: int) -> str | int:
    """Return the name of a frame kind, for messages."""
    try:
        return FrameKind(kind).name
    except ValueError:
        return kind
