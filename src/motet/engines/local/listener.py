"""The replica's end of its callers' connections: requests in, answers out."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import socket
import time
from typing import cast

from motet.engines.local.sharing import Sharing, take_side
from motet.errors import MotetError, Unavailable
from motet.linux import peer_is_own
from motet.runtime.exchange import CODEC, HTTP, TUNNEL, Request
from motet.runtime.replica import Replica
from motet.wire import failure
from motet.wire.failure import Failure, encode_failure
from motet.wire.frames import (
    AnswerMeta,
    FrameKind,
    FrameReader,
    FrameWriter,
    decode_call,
    decode_number,
    describe,
    encode_meta,
    pack,
    parts_of,
    split,
)
from motet.wire.payload import Payload

log = logging.getLogger("motet.listener")

# Plain numbers: members of an enum are slower to compare and to pack.
_CALL, _CANCEL, _CREDIT, _RESULT, _ITEM, _RECEIVED, _FORGET, _END, _LACK = (
    int(k)
    for k in (
        FrameKind.CALL, FrameKind.CANCEL, FrameKind.CREDIT, FrameKind.RESULT, FrameKind.ITEM, FrameKind.RECEIVED, FrameKind.FORGET,
        FrameKind.END, FrameKind.LACK,
    )
)  # fmt: skip
BACKLOG = 1024
RETRY = 1.0  # s after which a replica that is out of descriptors accepts callers again
_FORMATS = (CODEC, HTTP, TUNNEL)


class Listener:
    """Accepts callers: takes the side socket that each one sends first, which an event loop's transport would lose."""

    def __init__(self, replica: Replica, path: str) -> None:
        self._replica = replica
        self._loop = asyncio.get_running_loop()
        self._fresh: set[socket.socket] = set()  # connections whose side socket hasn't come
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)  # noqa: FBT003  # takes no keyword
        self._socket.bind(path)
        self._socket.listen(BACKLOG)
        self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # no descriptor is left; the connection stays where it is
            log.error("%s can't accept a caller: %s", self._replica.spec.identity, error)  # noqa: TRY400  # there is nothing else to see
            self._loop.remove_reader(self._socket)
            self._loop.call_later(RETRY, self._accept_again)
            return
        if not peer_is_own(connection):
            log.error("a process of another user connected to %s; refused", self._replica.spec.identity)
            connection.close()
            return
        connection.setblocking(False)  # noqa: FBT003  # takes no keyword
        self._fresh.add(connection)
        self._loop.add_reader(connection, self._greet, connection)

    def _accept_again(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket, self._accept)

    def _greet(self, connection: socket.socket) -> None:
        self._loop.remove_reader(connection)
        self._fresh.discard(connection)
        side = take_side(connection)
        if side is None:
            connection.close()
            return
        task = self._loop.create_task(self._serve(connection, side))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket, side: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: CallerConnection(self._replica, side), connection)
        except OSError as error:  # before there is a transport, whose end would close both
            log.error("%s can't serve a caller: %s", self._replica.spec.identity, error)  # noqa: TRY400  # there is nothing else to see
            connection.close()
            side.close()

    def close(self) -> None:
        """Accept nobody any more; connections that stand go on."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        for connection in self._fresh:
            self._loop.remove_reader(connection)
            connection.close()


class CallerConnection(asyncio.Protocol):
    """One caller's connection to this replica; when it ends, its requests are cancelled."""

    def __init__(self, replica: Replica, side: socket.socket) -> None:
        self._replica = replica
        self._side = side
        self._requests: dict[int, Request] = {}
        self._reader = FrameReader(self._handle)
        self._transport: asyncio.Transport | None = None
        self._writer: FrameWriter
        self.sharing: Sharing

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._writer = FrameWriter(self._transport, asyncio.get_running_loop())
        self.sharing = Sharing(self._side, self._writer.write)

    def data_received(self, data: bytes) -> None:
        """Take requests. Nothing may escape from here: uvloop would drop the connection and all other calls with it."""
        try:
            self._reader.feed(data)
        except MotetError:
            log.exception("a caller of %s sent something that is no frame; its connection is closed", self._replica.spec.identity)
            cast("asyncio.Transport", self._transport).abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Cancel what the caller had asked for."""
        self.sharing.close()
        requests, self._requests = list(self._requests.values()), {}
        for request in requests:
            self._replica.cancel(request)

    def _handle(self, kind: int, number: int, meta: bytes | memoryview, body: bytes | memoryview) -> None:
        if kind == _CALL:
            self._call(number, meta, body)
        elif kind == _CANCEL:
            if (request := self._requests.pop(number, None)) is not None:
                self._replica.cancel(request)
        elif kind == _CREDIT:
            if (request := self._requests.get(number)) is not None:
                request.grant(decode_number(meta))
        elif kind in (_ITEM, _END):
            self._piece(number, body if kind == _ITEM else None)
        elif kind == _RECEIVED:
            self.sharing.confirmed(meta)
        elif kind == _FORGET:
            self.sharing.forgotten(meta)
        elif kind == _LACK:
            self.sharing.lacking(meta)
        else:
            log.error("%s got a frame of kind %s", self._replica.spec.identity, describe(kind))

    def _piece(self, number: int, body: bytes | memoryview | None) -> None:
        """Take a piece that comes through a tunnel, or the end of them."""
        request = self._requests.get(number)
        if request is None or request.inbox is None:
            return
        if body is None:
            request.inbox.end()
        else:
            request.inbox.put(bytes(body))

    def _call(self, number: int, meta: bytes | memoryview, body: bytes | memoryview) -> None:
        reply = FrameReply(self, number)
        try:
            call = decode_call(meta)
            request = Request(
                endpoint=call.endpoint,
                body=split(body, call.parts, self.sharing.find),
                format=_FORMATS[call.format],
                reply=reply,
                deadline=math.inf if call.left is None else time.monotonic() + call.left,
                request_id=call.request_id,
                trace=call.trace,
                content_type=call.content_type,
                accept=call.accept,
            )
            if request.format is TUNNEL:
                request.open_tunnel()
            self._requests[number] = request
            self._replica.submit(request)
        except Unavailable as error:  # the caller has given the call up
            reply.failure(failure.record(error, endpoint=self._replica.spec.node, replica=self._replica.spec.identity))
        except Exception as error:
            log.exception("%s couldn't take a call", self._replica.spec.identity)
            reply.failure(failure.record(error, endpoint=self._replica.spec.node, replica=self._replica.spec.identity))

    def finished(self, number: int) -> None:
        """Forget a request that has been answered."""
        self._requests.pop(number, None)

    def write(self, frame: bytes | list[bytes | bytearray | memoryview], *, now: bool = False) -> None:
        """Send a frame, unless the caller has gone; at once if it is to be so, or if the caller waits for nothing else."""
        self._writer.write(frame, last=now or not self._requests)


@functools.lru_cache(maxsize=256)
def _typed(content_type: str | None) -> bytes:
    """Return what describes an answer of which only the media type is to be told, if that."""
    return encode_meta(AnswerMeta(content_type)) if content_type is not None else b""


class FrameReply:
    """Answers one request over its connection."""

    __slots__ = ("_connection", "_number", "_sent")

    def __init__(self, connection: CallerConnection, number: int) -> None:
        self._connection = connection
        self._number = number
        self._sent = False  # whether an item is out

    def result(self, payload: Payload, content_type: str | None) -> None:
        """Answer a unary request."""
        connection = self._connection
        connection.finished(self._number)
        try:
            if payload.buffers:
                self._send(_RESULT, payload, content_type)
            else:
                connection.write(pack(_RESULT, self._number, _typed(content_type), payload))
        except MotetError as error:
            self.failure(failure.record(error, endpoint="", replica=""))

    def _send(self, kind: int, payload: Payload, content_type: str | None = None, *, items: int = 1, now: bool = False) -> None:
        connection = self._connection
        if not payload.buffers:
            meta = encode_meta(AnswerMeta(None, None, items)) if items != 1 else _typed(content_type)
            connection.write(pack(kind, self._number, meta, payload), now=now)
            return
        payload = connection.sharing.prepare(payload)
        connection.write(pack(kind, self._number, encode_meta(AnswerMeta(content_type, parts_of(payload), items)), payload), now=now)
        connection.sharing.keep(payload)

    def begin(self, content_type: str | None) -> None:
        """Announce a stream's items."""
        self._connection.write(pack(FrameKind.BEGIN, self._number, encode_meta(AnswerMeta(content_type))))

    def item(self, payload: Payload, items: int = 1) -> None:
        """Send one item of a stream, or several in one payload."""
        self._send(_ITEM, payload, items=items, now=not self._sent)  # the first is waited for most
        self._sent = True

    def end(self) -> None:
        """End a stream well."""
        self._connection.finished(self._number)
        self._connection.write(pack(FrameKind.END, self._number))

    def failure(self, failure: Failure) -> None:
        """End with an error."""
        self._connection.finished(self._number)
        self._connection.write(pack(FrameKind.FAILURE, self._number, payload=Payload(encode_failure(failure))))

    def credit(self, size: int) -> None:
        """Let the caller send `size` more bytes of pieces."""
        self._connection.write(pack(FrameKind.CREDIT, self._number, encode_meta(size)))
