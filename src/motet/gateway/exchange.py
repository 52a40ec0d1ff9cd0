"""Requests whose turn it is to be answered: calls of endpoints, and refusals."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from http import HTTPStatus
from typing import Protocol

from motet.errors import MotetError
from motet.gateway import answers
from motet.gateway.state import GatewayState
from motet.media import EVENTS
from motet.runtime.exchange import WINDOW, Exchange
from motet.wire.failure import Failure
from motet.wire.payload import Payload


class Answerer(Protocol):
    """The connection of a request, as the request sees it."""

    state: GatewayState
    writable: bool

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes."""

    def finished(self, turn: Turn) -> None:
        """Note that the request is answered, which gives the next one its turn."""

    def last_lines(self, turn: Turn) -> bytes:
        """Return the header lines that end every head: the turn's own, and what becomes of the connection."""
        ...

    def cut(self, *, reset: bool) -> None:
        """Close in the middle of an answer; with a reset where the end of the connection would be that of the answer."""


class Turn(Protocol):
    """A request that is complete and waits for its turn, or has it.

    Attributes:
        close: whether the connection closes after the answer.
        lines: complete header lines that its answer has besides those that every answer has.
        old: whether the client speaks HTTP/1.0.
        size: bytes that it holds.
    """

    close: bool
    lines: bytes
    old: bool

    @property
    def size(self) -> int: ...  # noqa: D102

    def start(self) -> None:
        """Begin to answer; nothing of the connection is answered between this and `finished`."""

    def cancel(self) -> None:
        """Stop, because the client is gone."""

    def resume(self) -> None:
        """Go on writing, after the client has taken what there was."""


class Immediate:
    """An answer that the gateway gives by itself, at once."""

    __slots__ = ("_connection", "_request_id", "close", "lines", "old")

    def __init__(self, connection: Answerer, *, request_id: str, close: bool, lines: bytes = b"", old: bool = False) -> None:
        self._connection = connection
        self._request_id = request_id
        self.close = close
        self.lines = lines
        self.old = old

    @property
    def size(self) -> int:
        """Nothing that counts."""
        return 0

    def start(self) -> None:
        """Answer."""
        self._connection.write(self._answer(self._connection.last_lines(self)))
        self._connection.finished(self)

    def _answer(self, line: bytes) -> bytes:
        raise NotImplementedError

    def cancel(self) -> None:
        """Have nothing to stop."""

    def resume(self) -> None:
        """Have nothing left to write."""


class Refusal(Immediate):
    """An error that the gateway itself answers with."""

    __slots__ = ("_bodiless", "_error", "_more")

    def __init__(
        self,
        connection: Answerer,
        error: MotetError,
        *,
        request_id: str,
        close: bool,
        lines: bytes = b"",
        old: bool = False,
        bodiless: bool = False,
        more: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(connection, request_id=request_id, close=close, lines=lines, old=old)
        self._error = error
        self._bodiless = bodiless
        self._more = more or {}

    def _answer(self, line: bytes) -> bytes:
        return answers.error_of(self._error, self._request_id, line, more=self._more, bodiless=self._bodiless)


class Allowed(Immediate):
    """The answer to OPTIONS: which methods there are, and to a browser's preflight what a page may send."""

    __slots__ = ("_methods",)

    def __init__(self, connection: Answerer, methods: str, *, request_id: str, close: bool, lines: bytes, old: bool) -> None:
        super().__init__(connection, request_id=request_id, close=close, lines=lines, old=old)
        self._methods = methods

    def _answer(self, line: bytes) -> bytes:
        return answers.head(HTTPStatus.NO_CONTENT, [("allow", self._methods), ("x-request-id", self._request_id)], line)


class HttpExchange(Exchange, kw_only=True):
    """A call of an endpoint over HTTP; it writes what the replica answers to its connection.

    Attributes:
        connection: where the answer goes.
        close: whether the connection closes after it.
        lines: complete header lines that it has besides those that every answer has.
        old: whether the client speaks HTTP/1.0.
        begun: whether a stream has begun.
        head: of a stream, until it is out.
        chunked: whether a stream goes out in chunks.
        media: type of a stream.
        owed: items of it that the client has and the replica hasn't heard of.
    """

    connection: Answerer
    close: bool
    lines: bytes
    old: bool
    begun: bool = False
    head: bytes = b""
    chunked: bool = False
    media: str | None = None
    owed: int = 0

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body.head)

    @property
    def begun_stream(self) -> bool:
        """Whether a part of the answer is out."""
        return self.begun

    def start(self) -> None:
        """Send it to a replica."""
        self.connection.state.router.send(self)

    def cancel(self) -> None:
        """Stop it; the client is gone."""
        self.connection.state.router.cancel(self)

    # -- whole answers ---------------------------------------------------------------------------------------------

    def on_result(self, payload: Payload, content_type: str | None) -> None:
        """Write the answer."""
        connection = self.connection
        body = payload.whole() if payload.buffers else payload.head
        head = answers.success(content_type, len(body), self.request_id, connection.last_lines(self))
        if len(body) <= answers.SMALL:
            connection.write(b"".join((head, body)))
        else:
            connection.write(head)
            connection.write(body)
        connection.finished(self)

    # -- streams ---------------------------------------------------------------------------------------------------

    def on_begin(self, content_type: str | None) -> None:
        """Make the head of a stream: in chunks, or up to the end of the connection for HTTP/1.0. An item or the end comes at once."""
        self.begun = True
        self.media = content_type
        self.chunked = not self.old
        self.close = self.close or self.old
        line = self.connection.last_lines(self)
        framing = b"transfer-encoding: chunked\r\n" + line if self.chunked else line
        self.head = answers.stream_head(content_type, self.request_id, framing)

    def on_item(self, payload: Payload, items: int) -> None:
        """Write what has come, and let the producer go on unless the client is slow."""
        self._piece(payload.whole())
        self.owed += items
        if self.owed >= WINDOW // 2 and self.connection.writable:
            self.resume()

    def resume(self) -> None:
        """Let the producer send as many items as the client has taken."""
        if self.begun and self.owed:
            owed, self.owed = self.owed, 0
            self.connection.state.router.credit(self, owed)

    def on_end(self) -> None:
        """Write the good end."""
        if self.media == EVENTS:
            self._piece(b"event: end\ndata: {}\n\n")
        self._finish_stream()

    def _piece(self, data: bytes | bytearray | memoryview) -> None:
        head, self.head = self.head, b""
        answers.write_piece(self.connection.write, data, head=head, chunked=self.chunked)

    def _finish_stream(self) -> None:
        if end := self.head + (answers.LAST_CHUNK if self.chunked else b""):
            self.connection.write(end)
        self.connection.finished(self)

    # -- errors ----------------------------------------------------------------------------------------------------

    def on_failure(self, failure: Failure) -> None:
        """Write the error: as an answer of its own, or into the stream that has begun."""
        connection = self.connection
        if not self.begun or self.head:
            line, more = connection.last_lines(self), answers.error_headers(failure.headers, self.lines)
            connection.write(answers.error(failure.status, failure.fields, self.request_id, line, more=more, bodiless=False))
            connection.finished(self)
        elif (item := answers.error_item(self.media, failure.fields, self.request_id)) is not None:
            self._piece(item)
            self._finish_stream()
        else:
            connection.cut(reset=not self.chunked)


RESET = struct.pack("ii", 1, 0)  # l_onoff, l_linger: close() sends a reset


def reset_on_close(connection: socket.socket) -> None:
    """Make closing a socket an error for the other side."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
