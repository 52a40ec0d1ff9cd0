"""What becomes of a request whose head was read: a call of an endpoint, a page of the site, or an answer that needs no body."""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from motet.errors import HTTPError, MethodNotAllowed, MotetError, Unauthorized
from motet.gateway.bridge import SiteCall
from motet.gateway.coding import READABLE, CodedExchange
from motet.gateway.entry import RequestHead
from motet.gateway.exchange import Allowed, Answerer, HttpExchange, Refusal, Turn
from motet.gateway.faults import allowed_methods, path_of, stopping
from motet.gateway.heads import EndpointHead
from motet.gateway.routes import EndpointRoute
from motet.gateway.state import GatewayState
from motet.media import accepts_coding
from motet.runtime.exchange import HTTP
from motet.runtime.router import IDEMPOTENT_RETRIES
from motet.trace import received
from motet.wire.payload import Payload

SITE_METHODS: Final = "GET, HEAD, OPTIONS"
SERVER_METHODS: Final = "GET, HEAD, POST, OPTIONS"
UPGRADE: Final = {"upgrade": "websocket"}
CHALLENGE: Final = {"www-authenticate": "Bearer"}

_random_bits = random.getrandbits
_SANE_ID = re.compile(rb"[!-~]{1,128}").fullmatch


def given_id(headers: Mapping[bytes, bytes]) -> str | None:
    """Return what the client calls a request, if that can stand in a log."""
    given = headers.get(b"x-request-id")
    return given.decode() if given is not None and _SANE_ID(given) else None


def new_id() -> str:
    """Return a new request id."""
    return _random_bits(64).to_bytes(8, "big").hex()  # a name, no secret


def context_of(state: GatewayState, headers: Mapping[bytes, bytes]) -> tuple[bytes, str | None]:
    """Return the further header lines of the answer to a request, and its trace."""
    lines, trace = state.vary, None
    if (parent := headers.get(b"traceparent")) is not None:
        more = headers.get(b"tracestate")
        trace = received(parent.decode("latin-1"), None if more is None else more.decode("latin-1"))
        if trace is not None:
            lines += b"traceparent: %b\r\n" % trace.partition(" ")[0].encode()
    return lines + state.cors.lines(headers), trace


def endpoint_head(state: GatewayState, route: EndpointRoute, read: RequestHead) -> EndpointHead:
    """Return what the head of a request for an endpoint says."""
    headers = read.headers
    content_type = headers.get(b"content-type")
    accept = headers.get(b"accept")
    coding = headers.get(b"content-encoding")
    accepted = headers.get(b"accept-encoding") if state.gzip else None
    return EndpointHead(
        route=route,
        content_type=None if content_type is None else content_type.decode("latin-1"),
        accept=None if accept is None else accept.decode("latin-1"),
        inflates=coding is not None and coding.lower() in READABLE,
        deflates=accepted is not None and accepts_coding(accepted.decode("latin-1"), "gzip"),
        trace=read.trace,
        request_id=given_id(headers),
        close=read.close,
        lines=read.lines,
        old=read.old,
    )


def endpoint_turn(state: GatewayState, connection: Answerer, head: EndpointHead, body: bytes | bytearray) -> Turn:
    """Return the call of an endpoint, or its refusal while the server stops."""
    route = head.route
    if state.draining:
        request_id = head.request_id or new_id()
        return Refusal(connection, stopping(route), request_id=request_id, close=True, lines=head.lines, old=head.old)
    exchange = (CodedExchange if head.inflates or head.deflates else HttpExchange)(
        target=route.target,
        endpoint=route.endpoint,
        body=Payload(body),
        format=HTTP,
        deadline=math.inf if route.timeout is None else time.monotonic() + route.timeout,
        request_id=head.request_id or new_id(),
        trace=head.trace,
        idempotent=route.idempotent,
        retries=IDEMPOTENT_RETRIES,
        content_type=head.content_type,
        accept=head.accept,
        connection=connection,
        close=head.close,
        lines=head.lines,
        old=head.old,
    )
    if isinstance(exchange, CodedExchange):
        exchange.inflates, exchange.deflates = head.inflates, head.deflates
    return exchange


def site_call(connection: Answerer, read: RequestHead, body: bytes) -> SiteCall:
    """Return a request for one of the server's own pages."""
    return SiteCall(
        connection,
        method=read.method.decode(),
        path=path_of(read.url),
        query=read.url.partition(b"#")[0].partition(b"?")[2],
        headers=read.headers,
        body=body,
        request_id=read.request_id,
        close=read.close,
        lines=read.lines,
        old=read.old,
    )


def options_answer(
    state: GatewayState, connection: Answerer, route: EndpointRoute | None, read: RequestHead, *, preflight: bool
) -> Allowed:
    """Return the answer to OPTIONS for a route, for the site, or for the server as a whole."""
    methods = allowed_methods(route) if route is not None else SERVER_METHODS if read.url == b"*" else SITE_METHODS
    lines = read.lines + state.cors.preflight(read.headers, methods.encode()) if preflight else read.lines
    return Allowed(connection, methods, request_id=read.request_id, close=read.close, lines=lines, old=read.old)


def headers_of(error: MotetError, route: EndpointRoute | None) -> Mapping[str, str] | None:
    """Return the headers that belong to a refusal."""
    if type(error) is MethodNotAllowed and route is not None:
        return {"allow": allowed_methods(route)}
    if isinstance(error, HTTPError) and error.status == HTTPStatus.UPGRADE_REQUIRED:
        return UPGRADE
    return CHALLENGE if type(error) is Unauthorized else None
