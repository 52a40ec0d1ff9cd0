"""WebSockets: the handshake, frames, pings and closing with the client; the messages go to a replica and come from it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import ProtocolError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from motet.errors import DeadlineExceeded, HTTPError, MalformedRequest, MotetError, ShuttingDown, Unauthorized, http_status, public_fields
from motet.gateway import answers
from motet.gateway.limits import Stall
from motet.gateway.routes import EndpointRoute
from motet.gateway.state import GatewayState
from motet.gateway.tunnel import TwoWayExchange, closing
from motet.runtime.inbox import TUNNEL_WINDOW
from motet.wire.failure import Failure
from motet.wire.payload import Payload
from motet.wire.tunnel import (
    FAILED,
    GOING_AWAY,
    INVALID_TEXT,
    LOST,
    NORMAL,
    SWITCHING,
    MessageKind,
    TunnelStart,
    binary_message,
    close_message,
    decode_start,
    read_close,
    short_reason,
    text_message,
)

log = logging.getLogger("motet.websocket")
log.setLevel(logging.WARNING)  # the library tells of every connection

EARLY = 65536  # bytes that a client may send before it is accepted
PONGS = 65536  # bytes of answers to pings that may wait for a client that takes nothing
NEEDED = ("upgrade", "connection", "sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol")


def handshake_fault(state: GatewayState, route: EndpointRoute, headers: Mapping[bytes, bytes]) -> MotetError | None:
    """Return why a handshake can't be accepted, whatever the endpoint says."""
    if state.keys and not state.keys.admit(headers):
        return Unauthorized("the API key is missing or wrong", instead="the header `Authorization: Bearer KEY` or `X-API-Key: KEY`")
    if state.draining:
        return ShuttingDown("the server is stopping", where=route.path)
    if not own_page(headers) and not state.cors.admits(headers):
        found = f"origin: {headers[b'origin'][:200].decode('latin-1')}"
        return HTTPError(403, "pages of this origin may not open a WebSocket here", found=found, instead="--cors with the origin")
    response = ServerProtocol(logger=log).accept(_request(headers))
    if response.status_code == SWITCHING:
        return None
    said = bytes(response.body or b"").decode(errors="replace").strip()
    return MalformedRequest("this is no handshake of a WebSocket", where=route.path, found=said)


def own_page(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the client is no page of another server.

    A browser asks nobody before a page opens a WebSocket, as it would before a request to another server.
    """
    origin = headers.get(b"origin")
    try:
        return origin is None or urlsplit(origin.lower()).netloc == headers.get(b"host", b"").lower()
    except ValueError:  # it is no origin at all
        return False


def _request(headers: Mapping[bytes, bytes]) -> Request:
    found = Headers()
    for name in NEEDED:
        if (value := headers.get(name.encode())) is not None:
            found[name] = value.decode("latin-1")
    return Request("/", found)


class SocketConnection(asyncio.Protocol):
    """One client with a WebSocket; it takes the place of the connection that read the handshake.

    Args:
        state: of the gateway.
        transport: of the client.
        headers: of the handshake.
        exchange: the way to the replica.
    """

    def __init__(self, state: GatewayState, transport: asyncio.Transport, headers: Mapping[bytes, bytes], exchange: SocketExchange) -> None:
        self._state = state
        self._transport = transport
        self._headers = headers
        self._exchange = exchange
        self._frames: ServerProtocol | None = None  # once it is accepted
        self._denied: Callable[[bytes], object] | None = None  # writes the answer instead of accepting
        self._early = b""
        self._parts = bytearray()  # no list: a message may have any number of frames with nothing in them
        self._text = False
        self._gone = False
        self._writable = True
        self._owed = 0
        self._since = self._heard = state.now
        self._pinged = False
        self._closing_since: float | None = None
        self._choked = False
        self._pongs = 0
        self._stall = Stall(state.now)

    def begin(self, rest: bytes) -> None:
        """Ask the replica, and take what came behind the handshake."""
        self._state.connections.add(self)
        exchange = self._exchange
        exchange.connection = self
        self._state.router.send(exchange)
        if rest:
            self.data_received(rest)

    # -- the client ------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take frames."""
        self._heard = self._state.now
        self._pinged = False
        frames = self._frames
        if frames is None:
            self._early += data
            if len(self._early) > EARLY:
                self.abort()
            return
        frames.receive_data(data)
        for frame in frames.events_received():
            if isinstance(frame, Frame) and frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._message(frame)
        answered = self._flush()
        self._pongs = 0 if self._writable else self._pongs + answered
        if self._pongs > PONGS:
            self.abort()
        if frames.state is not State.OPEN:
            sent, received = frames.close_sent, frames.close_rcvd
            close = received or sent
            self._leave(int(close.code) if close is not None else LOST, close.reason if close is not None else "")

    def _message(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CONT:
            self._text = frame.opcode is Opcode.TEXT
        self._parts += frame.data
        if not frame.fin:
            return
        data = bytes(self._parts)
        self._parts.clear()
        if not self._text:
            self._exchange.push(binary_message(data))
            return
        try:
            data.decode()
        except UnicodeDecodeError as error:
            if self._frames is not None and self._frames.state is State.OPEN:
                self._frames.fail(INVALID_TEXT, short_reason(str(error)))
        else:
            self._exchange.push(text_message(data))

    def _flush(self) -> int:
        """Write what the frames need to have written, and return how much; nothing in it means that no more follows."""
        size = 0
        if self._frames is None:
            return size
        for data in self._frames.data_to_send():
            if self._transport.is_closing():
                return size
            if data:
                size += len(data)
                self._transport.write(data)
            else:
                self._transport.close()
        if self._frames.close_expected() and self._closing_since is None:
            self._closing_since = self._state.now
            self._transport.resume_reading()  # for the client's close
        return size

    def _leave(self, code: int, reason: str = "") -> None:
        """Tell the replica, once, that the client has gone."""
        if self._gone:
            return
        self._gone = True
        exchange = self._exchange
        if self._frames is None:
            exchange.done = True
            self._state.router.cancel(exchange)
        else:
            exchange.push(close_message(code, reason))
            exchange.push_end()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Tell the replica."""
        self._state.connections.discard(self)
        self._state.awaited.discard(self)
        if not self._state.awaited:
            self._state.idle.set()
        self._leave(LOST)

    def eof_received(self) -> None:
        """Take the end of what the client sends for its leaving."""

    def pause_writing(self) -> None:
        """Note that the client is slower than the endpoint."""
        self._writable = False

    def resume_writing(self) -> None:
        """Let the endpoint go on."""
        self._writable = True
        self._give_credit()

    def choke(self, *, choked: bool) -> None:
        """Stop reading from the client, or go on."""
        if choked == self._choked or self._transport.is_closing():
            return
        self._choked = choked
        if not choked:
            self._heard = self._state.now
            self._transport.resume_reading()
        elif self._closing_since is None:
            self._transport.pause_reading()

    # -- the replica -----------------------------------------------------------------------------------------------

    def started(self, start: TunnelStart) -> None:
        """Accept, or deny as the endpoint wants."""
        if self._transport.is_closing():
            return
        if start.status != SWITCHING:
            headers, _, _ = answers.answer_headers(start.headers)
            self._transport.write(answers.head(start.status, [*headers, ("x-request-id", self._exchange.request_id)], answers.CLOSE))
            self._denied = self._transport.write
            return
        handshake = ServerProtocol(select_subprotocol=lambda _protocol, _offered: cast("Any", start.subprotocol), logger=log)
        response = handshake.accept(_request(self._headers))
        headers = [(name.lower(), value) for name, value in response.headers.raw_items()]
        headers += answers.answer_headers(pair for pair in start.headers if not pair[0].startswith(b"sec-websocket-"))[0]
        self._transport.write(answers.head(response.status_code, [*headers, ("x-request-id", self._exchange.request_id)], b""))
        self._frames = ServerProtocol(state=State.OPEN, max_size=self._state.limits.message, logger=log)
        if self._state.draining:
            self.drain()
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    def sent(self, piece: bytes | bytearray | memoryview) -> None:
        """Send a message of the endpoint, or a piece of its refusal."""
        self._owed += len(piece)
        if self._transport.is_closing():
            return
        if self._denied is not None:
            self._denied(bytes(piece))
        elif self._frames is not None and self._frames.state is State.OPEN:
            content = bytes(piece[1:])
            if piece[0] == MessageKind.TEXT:
                self._frames.send_text(content)
            elif piece[0] == MessageKind.BINARY:
                self._frames.send_binary(content)
            else:
                self._close(*read_close(content))
            self._flush()
        if self._owed >= TUNNEL_WINDOW // 2 and self._writable:
            self._give_credit()

    def _give_credit(self) -> None:
        if self._owed and not self._exchange.done:
            owed, self._owed = self._owed, 0
            self._state.router.credit(self._exchange, owed)

    def _close(self, code: int, reason: str = "") -> None:
        if self._frames is None or self._frames.state is not State.OPEN:
            return
        try:
            self._frames.send_close(code, reason)
        except ProtocolError:
            log.warning("%s closed with %d, which is no code that may be sent", self._exchange.name, code)
            self._frames.send_close(FAILED, reason)
        self._flush()

    def ended(self) -> None:
        """Close: the endpoint has ended."""
        if self._frames is None:
            self._transport.close()
        else:
            self._close(NORMAL)

    def failed(self, failure: Failure) -> None:
        """Answer the handshake with an error, or close with one."""
        if self._transport.is_closing():
            return
        if self._denied is not None:
            self._transport.close()
        elif self._frames is None:
            self._refuse(failure.status, failure.fields, failure.headers)
        else:
            self._close(*closing(failure))

    def _refuse(self, status: int, fields: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        self._gone = True
        more = answers.error_headers(headers)
        self._transport.write(answers.error(status, fields, self._exchange.request_id, answers.CLOSE, more=more, bodiless=False))
        self._transport.close()

    # -- the gateway -----------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Close, since the server stops."""
        if self._frames is not None:
            self._close(GOING_AWAY, "the server is stopping")
            self._leave(GOING_AWAY)

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def sweep(self) -> None:
        """Enforce the limits in time, and ping."""
        now, limits = self._state.now, self._state.limits
        buffered = self._transport.get_write_buffer_size()
        if self._stall.seconds(buffered, now) > limits.write_stall:
            self.abort()
        elif self._closing_since is not None:
            self._closing_since = now if buffered else self._closing_since  # the last of it isn't taken yet
            if now - self._closing_since > limits.linger:
                self.abort()
        elif self._transport.is_closing():
            pass  # it does as soon as the client has taken the rest
        elif self._frames is None:
            if now - self._since > limits.handshake and self._denied is None and not self._gone:
                self._give_up()
        elif self._choked:
            self._heard = now  # it isn't listened to
        elif now - self._heard > limits.ping + limits.pong:
            self._frames.fail(FAILED, "no answer to a ping")
            self._flush()
            self.abort()
        elif now - self._heard > limits.ping and not self._pinged:
            self._pinged = True
            self._frames.send_ping(b"")
            self._flush()

    def _give_up(self) -> None:
        """Wait for the endpoint's acceptance no longer."""
        self._state.router.cancel(self._exchange)
        self._exchange.done = True
        error = DeadlineExceeded("the endpoint didn't accept the WebSocket in time", where=self._exchange.name)
        self._refuse(http_status(error), public_fields(error), {})


class SocketExchange(TwoWayExchange, kw_only=True):
    """The way of a WebSocket to its replica.

    Attributes:
        connection: of the client.
    """

    connection: SocketConnection | None = None

    def choke(self, *, choked: bool) -> None:
        """Stop reading from the client, or go on."""
        if self.connection is not None:
            self.connection.choke(choked=choked)

    def on_item(self, payload: Payload, items: int) -> None:  # noqa: ARG002  # each is one
        """Take the start of the answer, then messages."""
        if self.connection is None:
            return
        if self.begun:
            self.connection.sent(payload.head)
        else:
            self.begun = True
            self.connection.started(decode_start(payload.head))

    def on_end(self) -> None:
        """Close: the endpoint has ended."""
        self.done = True
        if self.connection is not None:
            self.connection.ended()

    def on_failure(self, failure: Failure) -> None:
        """Close with an error."""
        self.done = True
        if self.connection is not None:
            self.connection.failed(failure)
