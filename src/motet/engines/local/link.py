"""The caller's end of a connection to a replica: exchanges out, answers in."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from motet.engines.local.sharing import Sharing
from motet.errors import MotetError, Unavailable
from motet.runtime.exchange import Exchange
from motet.wire.failure import decode_failure, record
from motet.wire.frames import (
    LARGE,
    AnswerMeta,
    CallMeta,
    FrameKind,
    FrameReader,
    FrameWriter,
    decode_answer,
    decode_number,
    encode_meta,
    pack,
    parts_of,
    split,
)
from motet.wire.payload import Payload

if TYPE_CHECKING:
    from motet.runtime.router import Router

log = logging.getLogger("motet.link")

_CALL, _RESULT, _ITEM, _END, _BEGIN, _FAILURE, _FORGET, _CREDIT, _LACK = (
    int(k)
    for k in (
        FrameKind.CALL, FrameKind.RESULT, FrameKind.ITEM, FrameKind.END, FrameKind.BEGIN, FrameKind.FAILURE, FrameKind.FORGET,
        FrameKind.CREDIT, FrameKind.LACK,
    )
)  # fmt: skip
_NO_META = AnswerMeta()


class SocketLink(asyncio.Protocol):
    """A link to one replica over a Unix socket.

    Args:
        replica: its identity.
        router: is told of what is lost.
        on_lost: called when the link has ended.
        side: the side socket for descriptors of shared memory.
    """

    def __init__(self, replica: str, router: Router, on_lost: Callable[[], None], side: socket.socket) -> None:
        self.replica = replica
        self._side = side
        self._on_lost = on_lost
        self.closed = False
        self.ending: str | None = None  # why its replica is about to be ended
        self._router = router
        self._exchanges: dict[int, Exchange] = {}
        self._ids = itertools.count(1)
        self._reader = FrameReader(self._handle)
        self._transport: asyncio.Transport | None = None
        self._writer: FrameWriter
        self._sharing: Sharing
        self._retiring = False

    @property
    def outstanding(self) -> int:
        """Exchanges that the replica hasn't answered."""
        return len(self._exchanges)

    # -- link ------------------------------------------------------------------------------------------------------

    def send(self, exchange: Exchange) -> None:
        """Start an exchange."""
        deadline = exchange.deadline
        body = exchange.body
        parts = None
        if body.buffers:
            body = self._sharing.prepare(body)
            parts = parts_of(body)
        meta = encode_meta(CallMeta(
            exchange.endpoint, exchange.format, None if deadline == math.inf else deadline - time.monotonic(), exchange.request_id,
            exchange.trace, exchange.content_type, exchange.accept, parts,
        ))  # fmt: skip
        number = next(self._ids) & 0xFFFFFFFF
        frame = pack(_CALL, number, meta, body)
        exchange.id = number
        alone = not self._exchanges
        self._exchanges[number] = exchange
        if self.closed:
            # The loss of this link is being told to its exchanges; this one never left.
            self._exchanges.pop(number)
            self._router.lost(exchange, self.replica, begun=False)
        else:
            self._writer.write(frame, last=alone)

    def cancel(self, exchange: Exchange) -> None:
        """Stop an exchange; none of its callbacks is called any more."""
        if self._exchanges.pop(exchange.id, None) is not None:
            self._writer.write(pack(FrameKind.CANCEL, exchange.id))
            self._close_if_retired()

    def credit(self, exchange: Exchange, items: int) -> None:
        """Let a stream send more items."""
        if exchange.id in self._exchanges:
            self._writer.write(pack(FrameKind.CREDIT, exchange.id, encode_meta(items)))

    def item(self, exchange: Exchange, piece: bytes) -> None:
        """Send a piece through a tunnel."""
        if exchange.id in self._exchanges:
            self._writer.write(pack(_ITEM, exchange.id, b"", Payload(piece)))

    def end(self, exchange: Exchange) -> None:
        """Say that no piece follows."""
        if exchange.id in self._exchanges:
            self._writer.write(pack(_END, exchange.id))

    def retire(self) -> None:
        """Close once everything outstanding is answered; nothing new is sent."""
        self._retiring = True
        self._close_if_retired()

    def close(self) -> None:
        """Close now; what is outstanding is lost."""
        if self._transport is not None:
            self._writer.flush()
            self._transport.close()

    def _close_if_retired(self) -> None:
        if self._retiring and not self._exchanges:
            self.close()

    # -- protocol --------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._writer = FrameWriter(self._transport, asyncio.get_running_loop())
        self._sharing = Sharing(self._side, self._writer.write)

    def data_received(self, data: bytes) -> None:
        """Take answers. Nothing may escape from here: uvloop would drop the connection and all other calls with it."""
        try:
            self._reader.feed(data)
        except MotetError:
            log.exception("the link to %s carried something that is no frame; it is closed", self.replica)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Tell the router what is lost."""
        self.closed = True
        self._sharing.close()
        lost, self._exchanges = list(self._exchanges.values()), {}
        self._router.remove_link(self)
        for exchange in lost:
            self._router.lost(exchange, self.replica, why=self.ending)
        self._on_lost()

    def _handle(self, kind: int, number: int, meta: bytes | memoryview, body: bytes | memoryview) -> None:
        exchange = self._exchanges.get(number)
        try:
            if exchange is not None:
                if kind == _RESULT:
                    self._answer(exchange, meta, body)
                else:
                    self._deliver(kind, exchange, meta, body)
            elif kind == _FORGET:
                self._sharing.forgotten(meta)
            elif kind == _LACK:
                self._sharing.lacking(meta)
            elif kind in (_RESULT, _ITEM) and len(meta):  # cancelled here while its answer was on the way
                self._payload(decode_answer(meta), body)
        except Exception as error:
            log.exception("an answer of %s to %s couldn't be delivered", self.replica, exchange.name if exchange is not None else "nobody")
            if exchange is not None and self._exchanges.pop(number, None) is not None:  # nobody else would tell its caller
                self._writer.write(pack(FrameKind.CANCEL, number))
                exchange.fail(record(error, endpoint=exchange.name, replica=self.replica))
                self._close_if_retired()

    def _payload(self, described: AnswerMeta, body: bytes | memoryview) -> Payload:
        try:
            return split(body, described.parts, self._sharing.find)
        finally:
            if described.parts is not None:
                self._sharing.received(described.parts)

    def _part(self, exchange: Exchange, described: AnswerMeta, body: bytes | memoryview) -> Payload | None:
        """Return what came with a frame; None if who made it or passed it on has died, which will be known soon."""
        try:
            return self._payload(described, body)
        except Unavailable:
            del self._exchanges[exchange.id]
            self._router.lost(exchange, self.replica)
            return None

    def _answer(self, exchange: Exchange, meta: bytes | memoryview, body: bytes | memoryview) -> None:
        described = decode_answer(meta) if len(meta) else _NO_META
        payload: Payload | None
        if described.parts is not None:
            payload = self._part(exchange, described, body)
            if payload is None:
                return
        else:
            # A view keeps alive what it was read with: that of a large HTTP body is hardly more, and soon written.
            payload = Payload(body if len(body) > LARGE and described.content_type is not None else bytes(body))
        del self._exchanges[exchange.id]
        exchange.answer(payload, described.content_type)
        if self._retiring:
            self._close_if_retired()

    def _deliver(self, kind: int, exchange: Exchange, meta: bytes | memoryview, body: bytes | memoryview) -> None:
        if kind == _CREDIT:
            exchange.on_credit(decode_number(meta))
            return
        described = decode_answer(meta) if len(meta) else _NO_META
        if kind == _BEGIN:
            exchange.on_begin(described.content_type)
            return
        if kind == _ITEM:
            if (payload := self._part(exchange, described, body)) is not None:
                exchange.on_item(payload, described.items)
            return
        del self._exchanges[exchange.id]
        if kind == _END:
            exchange.end()
        elif kind == _FAILURE:
            exchange.fail(decode_failure(body))
        self._close_if_retired()
