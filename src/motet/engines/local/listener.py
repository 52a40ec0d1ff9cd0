"""The replica's end of its callers' connections: requests in, answers out."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import cast

from motet.engines.local.linux import peer_is_own
from motet.errors import MotetError
from motet.runtime.exchange import Format, Request
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
    sizes_of,
    split,
)
from motet.wire.payload import Payload

log = logging.getLogger("motet.listener")

# Plain numbers: members of an enum are slower to compare and to pack.
_CALL, _CANCEL, _CREDIT, _RESULT, _ITEM = (
    int(k) for k in (FrameKind.CALL, FrameKind.CANCEL, FrameKind.CREDIT, FrameKind.RESULT, FrameKind.ITEM)
)
_FORMATS = (Format.CODEC, Format.HTTP)


class CallerConnection(asyncio.Protocol):
    """One caller's connection to this replica; when it ends, its requests are cancelled."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._requests: dict[int, Request] = {}
        self._reader = FrameReader(self._handle)
        self._transport: asyncio.Transport | None = None
        self._writer: FrameWriter

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse other users' processes."""
        self._transport = cast("asyncio.Transport", transport)
        self._writer = FrameWriter(self._transport, asyncio.get_running_loop())
        if not peer_is_own(transport.get_extra_info("socket")):
            log.error("a process of another user connected to %s; refused", self._replica.spec.identity)
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take requests. Nothing may escape from here: uvloop would drop the connection and all other calls with it."""
        try:
            self._reader.feed(data)
        except MotetError:
            log.exception("a caller of %s sent something that is no frame; its connection is closed", self._replica.spec.identity)
            cast("asyncio.Transport", self._transport).abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Cancel what the caller had asked for."""
        requests, self._requests = list(self._requests.values()), {}
        for request in requests:
            self._replica.cancel(request)

    def _handle(self, kind: int, number: int, meta: memoryview, body: memoryview) -> None:
        if kind == _CALL:
            self._call(number, meta, body)
        elif kind == _CANCEL:
            if (request := self._requests.pop(number, None)) is not None:
                self._replica.cancel(request)
        elif kind == _CREDIT:
            if (request := self._requests.get(number)) is not None:
                request.grant(decode_number(meta))
        else:
            log.error("%s got a frame of kind %s", self._replica.spec.identity, describe(kind))

    def _call(self, number: int, meta: memoryview, body: memoryview) -> None:
        reply = FrameReply(self, number)
        try:
            call = decode_call(meta)
            request = Request(
                endpoint=call.endpoint,
                body=split(body, call.sizes),
                format=_FORMATS[call.format],
                reply=reply,
                deadline=math.inf if call.left is None else time.monotonic() + call.left,
                request_id=call.request_id,
                trace=call.trace,
                content_type=call.content_type,
                accept=call.accept,
            )
            self._requests[number] = request
            self._replica.submit(request)
        except Exception as error:
            log.exception("%s couldn't take a call", self._replica.spec.identity)
            reply.failure(failure.record(error, endpoint=self._replica.spec.node, replica=self._replica.spec.identity))

    def finished(self, number: int) -> None:
        """Forget a request that has been answered."""
        self._requests.pop(number, None)

    def write(self, frame: bytes | list[bytes | bytearray | memoryview]) -> None:
        """Send a frame, unless the caller has gone; at once if the caller waits for nothing else."""
        self._writer.write(frame, last=not self._requests)


class FrameReply:
    """Answers one request over its connection."""

    __slots__ = ("_connection", "_number")

    def __init__(self, connection: CallerConnection, number: int) -> None:
        self._connection = connection
        self._number = number

    def result(self, payload: Payload, content_type: str | None) -> None:
        """Answer a unary request."""
        self._connection.finished(self._number)
        sizes = sizes_of(payload)
        meta = encode_meta(AnswerMeta(content_type, sizes)) if content_type is not None or sizes is not None else b""
        try:
            frame = pack(_RESULT, self._number, meta, payload)
        except MotetError as error:
            self.failure(failure.record(error, endpoint="", replica=""))
        else:
            self._connection.write(frame)

    def begin(self, content_type: str | None) -> None:
        """Announce a stream's items."""
        self._connection.write(pack(FrameKind.BEGIN, self._number, encode_meta(AnswerMeta(content_type))))

    def item(self, payload: Payload) -> None:
        """Send one item of a stream."""
        sizes = sizes_of(payload)
        self._connection.write(pack(_ITEM, self._number, encode_meta(AnswerMeta(None, sizes)) if sizes is not None else b"", payload))

    def end(self) -> None:
        """End a stream well."""
        self._connection.finished(self._number)
        self._connection.write(pack(FrameKind.END, self._number))

    def failure(self, failure: Failure) -> None:
        """End with an error."""
        self._connection.finished(self._number)
        self._connection.write(pack(FrameKind.FAILURE, self._number, payload=Payload(encode_failure(failure))))
