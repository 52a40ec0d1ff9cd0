"""Reading requests off a connection: httptools parses, this decides what each request is and what is too much."""

from __future__ import annotations

import logging
import math
import random
import re
import time
from typing import Final, Protocol, cast
from urllib.parse import unquote_to_bytes

import httptools

from motet.errors import (
    BodyTooLarge,
    HeadersTooLarge,
    MalformedRequest,
    MethodNotAllowed,
    MotetError,
    RequestTimeout,
    ShuttingDown,
    Unauthorized,
    UnsupportedMediaType,
)
from motet.gateway.auth import OPEN_PATHS
from motet.gateway.bridge import SiteCall
from motet.gateway.exchange import Answerer, HttpExchange, Refusal, Turn
from motet.gateway.heads import END, EndpointHead
from motet.gateway.routes import EndpointRoute
from motet.gateway.state import GatewayState
from motet.runtime.exchange import Format
from motet.runtime.router import IDEMPOTENT_RETRIES
from motet.wire.payload import Payload

log = logging.getLogger("motet.gateway")

_random_bits = random.getrandbits
_SANE_ID = re.compile(rb"[!-~]{1,128}").fullmatch
_VALID_HOST = re.compile(rb"(?:\[[0-9A-Za-z:.]+\]|[0-9A-Za-z._~!$&'()*+;=%-]*)(?::[0-9]*)?").fullmatch  # no comma: it joins two of them
_SANE_TRACE = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}").fullmatch


# What a reader waits for. Plain numbers: looking up members of an enum took a sixth of the time that reading a request takes.
IDLE: Final = 0  # the first byte of a request
HEAD: Final = 1
BODY: Final = 2
DEAF: Final = 3  # nothing: the last request is complete or refused


class Taker(Answerer, Protocol):
    """The connection, as its reader sees it."""

    def arrived(self, turn: Turn) -> None:
        """Serve a request when its turn has come."""

    def invite(self) -> bool:
        """Ask for a body with `100 Continue` if nothing else has to be answered before; returns whether it did."""
        ...

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
        "_known",
        "_moved",
        "_old",
        "_parser",
        "_pending",
        "_progress",
        "_refusal",
        "_route",
        "_size",
        "_state",
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
        self._known: tuple[EndpointHead, int] | None = None  # of a request that the parser doesn't see
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
        if self.phase == IDLE or self._known is not None:
            data = self._take_known(data)
            if not data:
                self._pending = 0
                return
        self._progress = False
        self._parse(data)
        # The parser keeps unfinished names, values and trailers to itself. What one read leaves there is bounded by its size.
        if self._progress:
            self._pending = 0
        elif self.phase != DEAF:
            self._pending += len(data)
            if self._pending > self._state.limits.headers:
                self.refuse(self._headers_too_large())

    def _take_known(self, data: bytes) -> bytes:
        """Hand over requests whose heads are known, as far as they have come; returns what is left for the parser.

        The parser is between two requests all the while.
        """
        connection, find = self._connection, self._state.heads.find
        start, size = 0, len(data)
        if self._known is not None:
            start = self._take_body(self._known, data)
        while start < size and self.phase == IDLE:
            end = data.find(END, start) + len(END)
            if end < len(END):
                break
            head = data[start:end]
            if (known := find(head)) is None:
                self._learn(head)
                start = end
                break
            meaning, length = known
            stop = end + length
            if stop > size:
                self._begin_body(known, data[end:])
                return b""
            self.fresh = False
            connection.arrived(self._turn(meaning, data[end:stop]))
            start = stop
        return data[start:]

    def _begin_body(self, known: tuple[EndpointHead, int], data: bytes) -> None:
        """Note that the body of a request with a known head is on its way."""
        self.on_message_begin()
        self.phase = BODY
        self._moved = self._state.now
        self._known = known
        self._body = bytearray(data)

    def _take_body(self, known: tuple[EndpointHead, int], data: bytes) -> int:
        """Add to the body of a request with a known head; returns how many of the bytes belong to it."""
        if self.phase == DEAF:
            return len(data)
        meaning, length = known
        body = cast("bytearray", self._body)
        missing = length - len(body)
        body += data if len(data) <= missing else data[:missing]
        self._moved = self._state.now
        if len(body) == length:
            self.phase = IDLE
            self._known = None
            self._connection.arrived(self._turn(meaning, body))
        return min(missing, len(data))

    def _learn(self, head: bytes) -> None:
        """Parse a whole head by itself; keep what it means if nothing but its body has to follow."""
        self._parse(head)
        if self.phase == BODY and not self._body and self._route is not None and self._refusal is None:
            self._state.heads.add(head, self._meaning(self._route), self._headers)

    def _parse(self, data: bytes) -> None:
        while self.phase != DEAF:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade() + data[upgrade.args[0] :]
                continue
            except httptools.HttpParserCallbackError:
                log.exception("a request broke the gateway")
                self._connection.abort()
            except httptools.HttpParserError as error:
                self.refuse(MalformedRequest(f"this is no HTTP/1 request: {error}", where="HTTP"))
            break

    def refuse(self, error: MotetError) -> None:
        """Answer with an error once its turn has come, and read nothing any more."""
        if self.phase != DEAF:
            self.phase = DEAF
            self._connection.arrived(self._refused(error, close=True))

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
        self._refusal: Refusal | None = None
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
        headers[name] = value if name not in headers else headers[name] + b", " + value

    def on_headers_complete(self) -> None:
        """Decide what the request is, before any of its body is taken."""
        if self.phase == DEAF or self._parser.should_upgrade():
            return
        self.phase = BODY
        self.since = self._moved = self._state.now
        self._progress = True
        parser, headers = self._parser, self._headers
        keep = parser.should_keep_alive()
        if not keep or b"connection" in headers:
            self._old = parser.get_http_version() != "1.1"
            self._close = not keep
        self._route = self._state.routes.get(self._url)
        if (error := self._framing_fault(headers)) is not None:
            self.refuse(error)
            return
        if self._route is None:
            self._route = self._state.routes.get(path_of(self._url))
        if (error := self._fault(parser.get_method(), headers)) is not None:
            more = (
                {"allow": "POST"}
                if type(error) is MethodNotAllowed
                else {"www-authenticate": "Bearer"}
                if type(error) is Unauthorized
                else {}
            )
            self._refusal = self._refused(error, close=self._close, more=more)
        if b"expect" in headers and not self._old and headers[b"expect"].lower() == b"100-continue":
            if self._refusal is not None:  # whether the client sends the body now is up to it, so this is the last request
                self._refusal.close = True
                self.phase = DEAF
                self._connection.arrived(self._refusal)
            else:
                self.uninvited = not self._connection.invite()

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self.phase == DEAF:
            return
        self._progress = True
        self.uninvited = False
        self._moved = self._state.now
        if self._refusal is not None:
            self._size += len(data)
            if self._size > self._state.limits.body:  # so much isn't read only to be dropped
                self.refuse(self._body_too_large(f"more than {self._state.limits.body} bytes"))
            return
        if not self._body:
            self._body = data
        else:
            if type(self._body) is bytes:
                self._body = bytearray(self._body)
            self._body += data
        if len(self._body) > self._state.limits.body:
            self._body = b""
            self.refuse(self._body_too_large(f"more than {self._state.limits.body} bytes"))

    def on_message_complete(self) -> None:
        """Hand the request over."""
        if self.phase != BODY:
            return
        self.phase = DEAF if self._close else IDLE
        turn: Turn
        if self._refusal is not None:
            turn = self._refusal
        elif self._route is None:
            turn = self._site_call()
        else:
            turn = self._turn(self._meaning(self._route), self._body)
        self._connection.arrived(turn)

    # -- what a request is -----------------------------------------------------------------------------------------

    def _meaning(self, route: EndpointRoute) -> EndpointHead:
        headers = self._headers
        content_type = headers.get(b"content-type")
        accept = headers.get(b"accept")
        trace = headers.get(b"traceparent")
        return EndpointHead(
            route=route,
            content_type=None if content_type is None else content_type.decode("latin-1"),
            accept=None if accept is None else accept.decode("latin-1"),
            trace=trace.decode() if trace is not None and _SANE_TRACE(trace) else None,
            request_id=self._given_id(),
            close=self._close,
            old=self._old,
        )

    def _turn(self, head: EndpointHead, body: bytes | bytearray) -> Turn:
        route = head.route
        if self._state.draining:
            return self._refused(ShuttingDown("the server is stopping", where=route.path), close=True)
        return HttpExchange(
            target=route.target,
            endpoint=route.endpoint,
            body=Payload(body),
            format=Format.HTTP,
            deadline=math.inf if route.timeout is None else time.monotonic() + route.timeout,
            request_id=head.request_id or _new_id(),
            trace=head.trace,
            idempotent=route.idempotent,
            retries=IDEMPOTENT_RETRIES,
            content_type=head.content_type,
            accept=head.accept,
            connection=self._connection,
            close=head.close,
            old=head.old,
        )

    def _site_call(self) -> SiteCall:
        return SiteCall(
            self._connection,
            method=self._parser.get_method().decode(),
            path=path_of(self._url),
            query=self._url.partition(b"#")[0].partition(b"?")[2],
            headers=self._headers,
            body=bytes(self._body),
            request_id=self._request_id(),
            close=self._close,
            old=self._old,
        )

    def _given_id(self) -> str | None:
        given = self._headers.get(b"x-request-id")
        return given.decode() if given is not None and _SANE_ID(given) else None

    def _request_id(self) -> str:
        return self._given_id() or _new_id()

    def _refused(self, error: MotetError, *, close: bool, more: dict[str, str] | None = None) -> Refusal:
        bodiless = self.phase != HEAD and self._url != b"" and self._parser.get_method() == b"HEAD"
        return Refusal(self._connection, error, request_id=self._request_id(), close=close, old=self._old, bodiless=bodiless, more=more)

    def _framing_fault(self, headers: dict[bytes, bytes]) -> MotetError | None:
        """Return why it isn't known where the body ends, or why it won't be read; the connection can't go on after that."""
        limits = self._state.limits
        if self._size > limits.headers or self._fields > limits.fields:
            return self._headers_too_large()
        if (length := headers.get(b"content-length")) is not None and int(length) > limits.body:
            return self._body_too_large(f"{int(length)} bytes")
        if (coding := headers.get(b"transfer-encoding")) is not None and (self._old or coding.lower() != b"chunked"):
            return MalformedRequest("the body comes in a transfer coding that can't be read", found=_shown(coding), instead="chunked")
        return self._head_fault(headers)

    def _head_fault(self, headers: dict[bytes, bytes]) -> MalformedRequest | None:
        """Return what is wrong with the version, the host or the URL."""
        if self._old and (version := self._parser.get_http_version()) != "1.0":
            return MalformedRequest("this version of HTTP isn't spoken", found=version, instead="HTTP/1.1")
        host = headers.get(b"host", b"" if self._old else b"none ")  # one with a space is wrong
        if not _VALID_HOST(host):
            return MalformedRequest("a request has exactly one Host header, a name or address", found=_shown(host))
        if self._route is None and b"#" in self._url:
            return MalformedRequest("the URL of a request has no fragment", found=_shown(self._url))
        return None

    def _fault(self, method: bytes, headers: dict[bytes, bytes]) -> MotetError | None:
        """Return why the request is refused; its body is read and dropped, and the connection goes on."""
        keys = self._state.keys
        if keys and not keys.admit(headers) and path_of(self._url) not in OPEN_PATHS:
            return Unauthorized("the API key is missing or wrong", instead="the header `Authorization: Bearer KEY` or `X-API-Key: KEY`")
        if self._route is None:
            return None
        if method != b"POST":
            where = f"{method.decode()} {self._route.path}"
            return MethodNotAllowed("endpoints are called with POST", where=where, instead=f"POST {self._route.path}")
        if (coding := headers.get(b"content-encoding")) is not None and coding.lower() != b"identity":
            return UnsupportedMediaType(
                "encoded bodies can't be read",
                where=f"POST {self._route.path}",
                found=f"content-encoding: {_shown(coding)}",
                instead="the plain body",
            )
        return None

    def _headers_too_large(self) -> HeadersTooLarge:
        limits = self._state.limits
        return HeadersTooLarge(
            "the headers are too large", where="HTTP", instead=f"{limits.headers} bytes in {limits.fields} fields at most"
        )

    def _body_too_large(self, found: str) -> BodyTooLarge:
        return BodyTooLarge("the body is too large", where="HTTP", found=found, instead=f"{self._state.limits.body} bytes at most")

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


def _new_id() -> str:
    return _random_bits(64).to_bytes(8, "big").hex()  # a name, no secret


def path_of(url: bytes) -> bytes:
    """Return the path of a URL as it came, percent-encoding undone; a proxy's absolute form counts as its path."""
    if not url.startswith(b"/") and b"://" in url:
        url = b"/" + url.partition(b"://")[2].partition(b"/")[2]
    return unquote_to_bytes(url.partition(b"#")[0].partition(b"?")[0])


def _shown(value: bytes) -> str:
    return value[:100].decode("latin-1")
