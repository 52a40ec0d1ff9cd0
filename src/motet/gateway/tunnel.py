"""Requests that are handed to a replica in pieces, as they come, and answered the same way."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final, Protocol

import msgspec

from motet.errors import InvalidOutput, MotetError, ShuttingDown, http_status, public_fields
from motet.gateway import answers
from motet.gateway.exchange import Answerer
from motet.media import ALL_LINES, EVENTS, media_type
from motet.runtime.exchange import Exchange
from motet.runtime.inbox import TUNNEL_WINDOW
from motet.wire.failure import Failure
from motet.wire.names import class_name
from motet.wire.payload import Payload
from motet.wire.tunnel import FAILED, RESTARTS, TunnelStart, decode_start, short_reason

log = logging.getLogger("motet.gateway")

INFORMAL = 200  # statuses below it announce another answer
# What a stream ends with between two items, for those where that can be seen.
BOUNDS: Final = {EVENTS: (b"\n\n", b"\r\r", b"\r\n\r\n"), **dict.fromkeys(ALL_LINES, (b"\n",))}
LONGEST = 4  # bytes of those

_STOPPING = class_name(ShuttingDown)


class TunnelConnection(Answerer, Protocol):
    """The connection of a tunnel, as the tunnel sees it."""

    def choke(self, *, choked: bool) -> None:
        """Stop reading from the client, or go on, because the replica is slower than it."""


class TwoWayExchange(Exchange, kw_only=True):
    """An exchange with pieces from the gateway to the replica, as many as the replica gives credit for.

    Attributes:
        quota: bytes that may still be sent.
        has_replica: whether a replica got it.
        over: whether all pieces have come.
        done: whether it has ended.
        begun: whether a part of the answer is out.
        kept: what was sent, until the replica takes of it: one that refuses to begin leaves the request to another.
    """

    quota: int = TUNNEL_WINDOW
    has_replica: bool = False
    over: bool = False
    done: bool = False
    begun: bool = False
    kept: list[bytes] | None = msgspec.field(default_factory=list[bytes])

    @property
    def begun_stream(self) -> bool:
        """Whether it can't be given to another replica any more: the client has been answered, or pieces were taken and are gone."""
        return self.begun or self.kept is None

    @property
    def held(self) -> int:
        """Bytes that wait here for a replica."""
        return sum(map(len, self.kept or ()))

    def push(self, piece: bytes) -> None:
        """Send a piece, now or as soon as a replica has the request."""
        if self.done:
            return
        self.quota -= len(piece)
        if self.kept is not None:
            self.kept.append(piece)
        if self.has_replica and self.link is not None:
            self.link.item(self, piece)
        if self.quota <= 0:
            self.choke(choked=True)

    def push_end(self) -> None:
        """Say that there is no more."""
        self.over = True
        if self.has_replica and not self.done and self.link is not None:
            self.link.end(self)

    def assigned(self) -> None:
        """Send what has come so far."""
        self.has_replica = True
        if self.link is None:
            return
        for piece in self.kept or ():
            self.link.item(self, piece)
        if self.over:
            self.link.end(self)

    def on_credit(self, size: int) -> None:
        """Let the client send more."""
        self.kept = None
        was_choked = self.quota <= 0
        self.quota += size
        if was_choked and self.quota > 0:
            self.choke(choked=False)

    def choke(self, *, choked: bool) -> None:
        """Stop reading from the client, or go on."""
        raise NotImplementedError


class TunnelExchange(TwoWayExchange, kw_only=True):
    """One request; it has its turn from its head on, and its body follows.

    Attributes:
        connection: of the client.
        close: whether the connection closes after the answer.
        lines: complete header lines that it has besides those that every answer has.
        old: whether the client speaks HTTP/1.0.
        bodiless: whether the answer has headers only.
        expects: whether the client waits for `100 Continue`.
        started: whether it has its turn.
        broken: why the rest of its body can't be read, from before its turn.
        owed: bytes that the client has and the replica hasn't heard of.
        chunked: whether the answer goes out in chunks.
        left: bytes of the answer that its content-length has announced.
        tells: whether an error may be told in a stream that has begun; an ASGI app has its own rules for what it sends.
        media: of a stream where there is a place for that.
        tail: the last bytes of such a stream.
    """

    connection: TunnelConnection
    close: bool
    lines: bytes
    old: bool
    bodiless: bool
    expects: bool
    started: bool = False
    broken: MotetError | None = None
    owed: int = 0
    chunked: bool = False
    left: int | None = None
    tells: bool = False
    media: str | None = None
    tail: bytes = b""

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return self.held

    # -- the turn --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Send it to a replica."""
        self.started = True
        if self.broken is not None:
            self._refuse(self.broken)
            return
        if self.expects and not self.over and not self.held:
            self.connection.write(answers.CONTINUE)
        self.connection.state.router.send(self)

    def cancel(self) -> None:
        """Stop it; the client is gone."""
        if not self.done:
            self.done = True
            self.connection.state.router.cancel(self)

    def break_off(self, error: MotetError) -> None:
        """End it because the rest of its body can't be read; nothing else is read from this client."""
        self.close = True
        if not self.started:
            self.broken = error
            return
        self.connection.state.router.cancel(self)
        if self.begun:
            self.done = True
            self.connection.cut(reset=not self.chunked)
        else:
            self._refuse(error)

    def _refuse(self, error: MotetError) -> None:
        self._write_error(http_status(error), public_fields(error), {})

    def choke(self, *, choked: bool) -> None:
        """Stop reading from the client, or go on."""
        self.connection.choke(choked=choked)

    # -- the answer ------------------------------------------------------------------------------------------------

    def on_item(self, payload: Payload, items: int) -> None:  # noqa: ARG002  # each is one
        """Write the head, or a piece of the body."""
        if self.done:
            return
        if not self.begun:
            self._begin(decode_start(payload.head))
            return
        self._piece(payload.head)
        self.owed += len(payload.head)
        if self.owed >= TUNNEL_WINDOW // 2 and self.connection.writable:
            self.resume()

    def on_result(self, payload: Payload, content_type: str | None) -> None:  # noqa: ARG002  # it is among the headers
        """Write a whole answer."""
        if self.done:
            return
        start = decode_start(payload.head)
        self._begin(start)
        if not self.done:
            self._piece(start.body)
        self.on_end()

    def resume(self) -> None:
        """Let the replica send as much as the client has taken."""
        if self.owed and not self.done:
            owed, self.owed = self.owed, 0
            self.connection.state.router.credit(self, owed)

    def _begin(self, start: TunnelStart) -> None:
        if start.status < INFORMAL:
            self._break(InvalidOutput("an answer has a status from 200 to 599", where=self.name, found=str(start.status)))
            return
        self.begun = True
        headers, self.left, wants_close = answers.answer_headers(start.headers)
        if self.lines:  # of which there may be one only: two origins that are allowed are none, for a browser
            own = answers.names_in(self.lines)
            headers = [(name, value) for name, value in headers if name not in own]
        self.close = self.close or wants_close
        if start.status in answers.BODILESS:
            self.bodiless = True
            if start.status == HTTPStatus.NO_CONTENT:  # 304 may tell the length of what there is
                headers = [(name, value) for name, value in headers if name != "content-length"]
        elif self.left is None and not self.bodiless:
            if self.old:
                self.close = True
            else:
                self.chunked = True
                headers.append(("transfer-encoding", "chunked"))
        if self.tells and self.left is None and not self.bodiless:
            self.media = _plain_media(headers)
        if all(name != "x-request-id" for name, _ in headers):
            headers.append(("x-request-id", self.request_id))
        self.connection.write(answers.head(start.status, headers, self.connection.last_lines(self)))

    def _piece(self, data: bytes | bytearray | memoryview) -> None:
        if self.bodiless or not data:
            return
        if self.left is not None:
            self.left -= len(data)
            if self.left < 0:
                self._break(InvalidOutput("the body is longer than its content-length", where=self.name))
                return
        if self.media in BOUNDS:
            self.tail = (self.tail + data[-LONGEST:])[-LONGEST:]
        answers.write_piece(self.connection.write, data, chunked=self.chunked)

    def on_end(self) -> None:
        """Write the good end."""
        if self.done:
            return
        self.done = True
        if self.left and not self.bodiless:
            log.error("%s ended %d bytes short of its content-length (request %s)", self.name, self.left, self.request_id)
            self.connection.cut(reset=True)
            return
        if self.chunked:
            self.connection.write(answers.LAST_CHUNK)
        self._finish()

    def on_failure(self, failure: Failure) -> None:
        """Answer with an error, or break the answer off."""
        if self.done:
            return
        if not self.begun:
            self._write_error(failure.status, failure.fields, failure.headers)
            return
        item = answers.error_item(self.media, failure.fields, self.request_id) if self._between_items else None
        if item is not None:
            self._piece(item)
            self.on_end()
        else:
            self.done = True
            self.connection.cut(reset=not self.chunked)

    @property
    def _between_items(self) -> bool:
        """Whether what is written now would be no part of another item."""
        return self.media in BOUNDS and (not self.tail or self.tail.endswith(BOUNDS[self.media]))

    def _break(self, error: MotetError) -> None:
        """Stop because of what the endpoint sends."""
        log.error("%s (request %s)", error, self.request_id)
        self.connection.state.router.cancel(self)
        if self.begun:
            self.done = True
            self.connection.cut(reset=True)
        else:
            self._refuse(error)

    def _write_error(self, status: int, fields: Mapping[str, object], headers: Mapping[str, str]) -> None:
        self.done = True
        line, more = self.connection.last_lines(self), answers.error_headers(headers, self.lines)
        self.connection.write(answers.error(status, fields, self.request_id, line, more=more, bodiless=self.bodiless))
        self._finish()

    def _finish(self) -> None:
        if self.quota <= 0:  # the rest of the body is read and dropped
            self.choke(choked=False)
        self.connection.finished(self)


def _plain_media(headers: Iterable[tuple[str, str]]) -> str | None:
    """Return the media type of an answer, unless it is compressed."""
    found = dict(headers)
    return None if "content-encoding" in found else media_type(found.get("content-type", ""))[0]


def closing(failure: Failure) -> tuple[int, str]:
    """Return the code and the reason that a WebSocket is closed with because of an error."""
    reason = f"{failure.fields.get('type', 'Error')}: {failure.fields.get('message', '')}"
    return RESTARTS if failure.kind == _STOPPING else FAILED, short_reason(reason)
