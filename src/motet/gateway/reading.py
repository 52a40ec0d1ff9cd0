"""Reading requests off a connection: httptools parses, this decides what each request is and what is too much."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

import httptools

from motet.errors import (
    MalformedRequest,
    MethodNotAllowed,
    MotetError,
    RequestTimeout,
)
from motet.gateway.cors import is_preflight
from motet.gateway.entry import Origin, RequestHead, joined, new_tunnel, socket_route, tunnelled
from motet.gateway.exchange import Immediate, Refusal, Turn
from motet.gateway.faults import body_too_large, framing_fault, headers_too_large, path_of, refusal, url_fault
from motet.gateway.routes import EndpointRoute
from motet.gateway.state import GatewayState
from motet.gateway.tunnel import TunnelConnection, TunnelExchange
from motet.gateway.turns import context_of, endpoint_head, endpoint_turn, given_id, headers_of, new_id, options_answer, site_call

if TYPE_CHECKING:
    from motet.gateway.sockets import SocketExchange

log = logging.getLogger("motet.gateway")

# What a reader waits for. Plain numbers: looking up members of an enum took a sixth of the time that reading a request takes.
IDLE: Final = 0  # the first byte of a request
HEAD: Final = 1
BODY: Final = 2
DEAF: Final = 3  # nothing: the last request is complete or refused


class Taker(TunnelConnection, Protocol):
    """The connection, as its reader sees it."""

    def arrived(self, turn: Turn) -> None:
        """Serve a request when its turn has come."""

    def invite(self) -> bool:
        """Ask for a body with `100 Continue` if nothing else has to be answered before; returns whether it did."""
        ...

    def origin(self) -> Origin:
        """Return where the requests come from."""
        ...

    def become_socket(self, exchange: SocketExchange, headers: dict[bytes, bytes], rest: bytes) -> bool:
        """Go on as a WebSocket, unless requests wait for their answers; returns whether it did."""
        ...

    def leave(self) -> None:
        """Close behind the last answer."""

    def abort(self) -> None:
        """Close at once."""


class RequestReader:
    """Reads the requests of one connection and hands them over, each as a `Turn`.

    Attributes:
        phase: what it waits for: IDLE, HEAD, BODY or DEAF.
        since: when that began, by the clock of the sweeps.
        fresh: whether no request has begun yet.
        uninvited: whether a client waits for `100 Continue`.
    """

    __slots__ = (
        "_body",
        "_close",
        "_connection",
        "_fields",
        "_headers",
        "_lines",
        "_moved",
        "_old",
        "_parser",
        "_pending",
        "_progress",
        "_ready",
        "_route",
        "_size",
        "_state",
        "_trace",
        "_url",
        "fresh",
        "phase",
        "since",
        "uninvited",
    )

    _body: bytes | bytearray

    def __init__(self, state: GatewayState, connection: Taker) -> None:
        self._state = state
        self._connection = connection
        self._parser = httptools.HttpRequestParser(self)
        self._pending = 0
        self._progress = False
        self.phase: int = IDLE
        self.since = state.now
        self.fresh = True
        self.uninvited = False
        self.on_message_begin()
        self.phase = IDLE
        self.fresh = True

    def feed(self, data: bytes) -> None:
        """Take bytes of the client; complete requests are handed over from within."""
        self._progress = False
        self._parse(data)
        # The parser keeps unfinished names, values and trailers to itself. What one read leaves there is bounded by its size.
        if self._progress:
            self._pending = 0
        elif self.phase != DEAF:
            self._pending += len(data)
            if self._pending > self._state.limits.headers:
                self.refuse(headers_too_large(self._state.limits))

    def _parse(self, data: bytes) -> None:
        while self.phase != DEAF:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                rest = data[upgrade.args[0] :]
                if self._opens_socket(rest):
                    break
                data = self._without_upgrade() + rest
                continue
            except httptools.HttpParserCallbackError:
                log.exception("a request broke the gateway")
                self._connection.abort()
            except httptools.HttpParserError as error:
                self.refuse(MalformedRequest(f"this is no HTTP/1 request: {error}", where="HTTP"))
            break

    def refuse(self, error: MotetError) -> None:
        """Answer with an error once its turn has come, and read nothing any more."""
        if self.phase == DEAF:
            return
        tunnel = self._ready if self.phase == BODY and type(self._ready) is TunnelExchange else None
        self.phase = DEAF
        if tunnel is None:
            self._connection.arrived(self._refused(error, close=True))
        elif tunnel.done:  # it is answered, so there is no place for an error
            self._connection.leave()
        else:
            tunnel.break_off(error)

    def overdue(self) -> RequestTimeout | None:
        """Return what the client is late with."""
        now, limits = self._state.now, self._state.limits
        if self.phase == HEAD and now - self.since > limits.header_time:
            return RequestTimeout("the headers didn't arrive in time", where="HTTP", found=f"over {limits.header_time:g} s")
        if self.phase == BODY and now - self.since > limits.body_time:
            return RequestTimeout("the body didn't arrive in time", where="HTTP", found=f"over {limits.body_time:g} s")
        if self.phase == BODY and now - self._moved > limits.body_idle:
            return RequestTimeout("the body stopped arriving", where="HTTP", found=f"nothing for over {limits.body_idle:g} s")
        return None

    def restart_clock(self) -> None:
        """Count the times of the phase from now: the gateway itself stopped reading for a while."""
        self.since = self._moved = self._state.now

    # -- what the parser calls -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Note the first byte of a request."""
        if self.phase == DEAF:
            return
        self.phase = HEAD
        self.since = self._state.now
        self.fresh = False
        self._progress = True
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._size = 0
        self._fields = 0
        self._body = b""
        self._route: EndpointRoute | None = None
        self._ready: Immediate | TunnelExchange | None = None  # what is served without the whole body
        self._lines = b""
        self._trace: str | None = None
        self._old = False
        self._close = False

    def on_url(self, url: bytes) -> None:
        """Take a piece of the URL."""
        self._url += url
        self._size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field; fields of one name are joined, as HTTP allows. Trailers are ignored."""
        if self.phase != HEAD:
            return
        self._size += len(name) + len(value)
        self._fields += 1
        name = name.lower()
        value = value.rstrip(b" \t")  # the parser leaves there what is no part of it
        headers = self._headers
        headers[name] = value if name not in headers else joined(name, headers[name], value)

    def on_headers_complete(self) -> None:
        """Decide what the request is, before any of its body is taken."""
        if self.phase == DEAF or self._parser.should_upgrade():
            return
        self.phase = BODY
        self.since = self._moved = self._state.now
        self._progress = True
        parser, headers = self._parser, self._headers
        keep = parser.should_keep_alive()
        version = "1.1"
        if not keep or b"connection" in headers:
            version = parser.get_http_version()
            self._old = version != "1.1"
            self._close = not keep
        self._route = self._state.routes.get(self._url)
        if not self._state.plain or b"traceparent" in headers:
            self._lines, self._trace = context_of(self._state, headers)
        fault = framing_fault(self._state.limits, headers, size=self._size, fields=self._fields, version=version)
        if (error := fault if fault is not None or self._route is not None else url_fault(self._url)) is not None:
            self.refuse(error)
            return
        if self._route is None:
            path = path_of(self._url)
            self._route = self._state.routes.get(path) or self._state.mounts.find(path)
        self._ready = self._early_answer(parser.get_method(), headers)
        if self._ready is None and self._route is not None and not self._route.whole:
            self._begin_tunnel(self._route, expects=b"expect" in headers and not self._old)
        elif b"expect" in headers and not self._old:
            if self._ready is not None:  # whether the client sends the body now is up to it, so this is the last request
                self._ready.close = True
                self.phase = DEAF
                self._connection.arrived(self._ready)
            else:
                self.uninvited = not self._connection.invite()

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self.phase == DEAF:
            return
        self._progress = True
        self.uninvited = False
        self._moved = self._state.now
        if (ready := self._ready) is not None:
            self._size += len(data)
            if self._size > self._state.limits.body:  # so much isn't read only to be dropped
                self.refuse(body_too_large(self._state.limits, f"more than {self._state.limits.body} bytes"))
            elif type(ready) is TunnelExchange:
                ready.push(data)
            return
        if not self._body:
            self._body = data
        else:
            if type(self._body) is bytes:
                self._body = bytearray(self._body)
            self._body += data
        if len(self._body) > self._state.limits.body:
            self._body = b""
            self.refuse(body_too_large(self._state.limits, f"more than {self._state.limits.body} bytes"))

    def on_message_complete(self) -> None:
        """Hand the request over."""
        if self.phase != BODY:
            return
        self.phase = DEAF if self._close else IDLE
        turn: Turn
        if type(self._ready) is TunnelExchange:
            self.since = self._state.now
            self._ready.push_end()
            return
        if self._ready is not None:
            turn = self._ready
        elif self._route is None:
            turn = site_call(self._connection, self._head(), bytes(self._body))
        else:
            turn = endpoint_turn(self._state, self._connection, endpoint_head(self._state, self._route, self._head()), self._body)
        self._connection.arrived(turn)

    # -- what a request is -----------------------------------------------------------------------------------------

    def _begin_tunnel(self, route: EndpointRoute, *, expects: bool) -> None:
        """Give a request its turn before its body is there."""
        self._size = 0  # of the body, from here on
        self._ready = exchange = new_tunnel(route, self._head(), self._connection, self._connection.origin(), expects=expects)
        self._connection.arrived(exchange)

    def _head(self) -> RequestHead:
        method, request_id = self._parser.get_method(), self._request_id()
        return RequestHead(method, self._url, self._headers, request_id, self._trace, self._close, self._lines, self._old)

    def _early_answer(self, method: bytes, headers: dict[bytes, bytes]) -> Immediate | None:
        """Return the answer to a request that doesn't depend on its body, which is read and dropped; None if there is no such answer."""
        state, route = self._state, self._route
        if method == b"OPTIONS" and state.cors and is_preflight(headers):  # it can't have a key
            return options_answer(state, self._connection, route, self._head(), preflight=True)
        path = self._url if route is not None else path_of(self._url)
        if (error := refusal(state, route, path, method, headers, old=self._old)) is not None:
            return self._refused(error, close=self._close)
        if method == b"OPTIONS" and (self._url == b"*" if route is None else route.surface != "ingress"):
            return options_answer(state, self._connection, route, self._head(), preflight=False)
        return None

    def _request_id(self) -> str:
        return given_id(self._headers) or new_id()

    def _refused(self, error: MotetError, *, close: bool) -> Refusal:
        bodiless = self.phase != HEAD and self._url != b"" and self._parser.get_method() == b"HEAD"
        request_id, more = self._request_id(), headers_of(error, self._route)
        return Refusal(
            self._connection, error, request_id=request_id, close=close, lines=self._lines, old=self._old, bodiless=bodiless, more=more
        )

    def _opens_socket(self, rest: bytes) -> bool:
        """Hand the connection over if the head that was just read is the handshake of a WebSocket; returns whether it was one.

        Such a head for a path without WebSockets is answered as if it asked for no other protocol.
        """
        headers, state = self._headers, self._state
        route = socket_route(state, self._parser.get_method(), self._url, headers)
        version = self._parser.get_http_version()
        if route is None or version == "1.0":  # which knows no other protocols
            return False
        from motet.gateway.sockets import SocketExchange, handshake_fault  # noqa: PLC0415  # where there are WebSockets

        self._route = route
        self._lines, self._trace = context_of(self._state, headers)
        fault = framing_fault(state.limits, headers, size=self._size, fields=self._fields, version=version)
        if (error := fault or url_fault(self._url) or handshake_fault(state, route, headers)) is not None:
            self.refuse(error)
            return True
        self.phase = DEAF
        exchange = SocketExchange(**tunnelled(route, "websocket", self._head(), self._connection.origin()))
        if not self._connection.become_socket(exchange, headers, rest):
            self.phase = HEAD
            self.refuse(MalformedRequest("a WebSocket can't begin behind a request that isn't answered yet", where=route.path))
        return True

    def _without_upgrade(self) -> bytes:
        """Return the head that was just read as if it asked for no other protocol, which a server may ignore, for a new parser.

        The parser takes everything behind such a head for the other protocol, also the body of the request.
        """
        if (method := self._parser.get_method()) == b"CONNECT":
            self.refuse(MethodNotAllowed("this is no proxy", where="CONNECT"))
            return b""
        version = self._parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (method, self._url, version)]
        lines += [b"%b: %b" % field for field in self._headers.items() if field[0] not in (b"upgrade", b"http2-settings")]
        self._parser = httptools.HttpRequestParser(self)
        return b"\r\n".join([*lines, b"", b""])
