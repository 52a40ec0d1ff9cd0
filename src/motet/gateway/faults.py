"""Why a request is refused before its body is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from motet.errors import (
    BodyTooLarge,
    ExpectationFailed,
    HeadersTooLarge,
    HTTPError,
    MalformedRequest,
    MethodNotAllowed,
    MotetError,
    ShuttingDown,
    Unauthorized,
    UnsupportedMediaType,
)
from motet.gateway.auth import OPEN_PATHS
from motet.gateway.coding import READABLE
from motet.gateway.limits import Limits
from motet.gateway.routes import EndpointRoute
from motet.gateway.state import GatewayState

_VALID_HOST = re.compile(rb"(?:\[[0-9A-Za-z:.]+\]|[0-9A-Za-z._~!$&'()*+;=%-]*)(?::[0-9]*)?").fullmatch  # no comma: it joins two of them
_CODINGS = frozenset({b"identity", *READABLE})


def framing_fault(limits: Limits, headers: Mapping[bytes, bytes], *, size: int, fields: int, version: str) -> MotetError | None:
    """Return why it isn't known where the body ends, or why it won't be read; the connection can't go on after that.

    Args:
        limits: what a client may take.
        headers: names in lower case.
        size: bytes of the request line and the headers.
        fields: number of header fields.
        version: of HTTP.
    """
    if size > limits.headers or fields > limits.fields:
        return headers_too_large(limits)
    if (length := headers.get(b"content-length")) is not None and int(length) > limits.body:
        return body_too_large(limits, f"{int(length)} bytes")
    old = version != "1.1"
    if (coding := headers.get(b"transfer-encoding")) is not None and (old or coding.lower() != b"chunked"):
        return MalformedRequest("the body comes in a transfer coding that can't be read", found=_shown(coding), instead="chunked")
    if old and version != "1.0":
        return MalformedRequest("this version of HTTP isn't spoken", found=version, instead="HTTP/1.1")
    host = headers.get(b"host", b"" if old else b"none ")  # one with a space is wrong
    if not _VALID_HOST(host):
        return MalformedRequest("a request has exactly one Host header, a name or address", found=_shown(host))
    return None


def url_fault(url: bytes) -> MotetError | None:
    """Return what is wrong with a URL that is no endpoint's as it stands; the connection can't go on after that."""
    return MalformedRequest("the URL of a request has no fragment", found=_shown(url)) if b"#" in url else None


def refusal(
    state: GatewayState, route: EndpointRoute | None, path: bytes, method: bytes, headers: Mapping[bytes, bytes], *, old: bool
) -> MotetError | None:
    """Return why a request is refused; its body is read and dropped, and the connection goes on."""
    if not old and (expected := headers.get(b"expect")) is not None and expected.lower() != b"100-continue":
        return ExpectationFailed("nothing like this can be expected", found=f"expect: {_shown(expected)}", instead="expect: 100-continue")
    if state.keys and not state.keys.admit(headers) and path not in OPEN_PATHS:
        return Unauthorized("the API key is missing or wrong", instead="the header `Authorization: Bearer KEY` or `X-API-Key: KEY`")
    fault = None if route is None or route.surface == "ingress" else _endpoint_fault(route, method, headers)
    return stopping(route) if fault is None and route is not None and state.draining else fault


def _endpoint_fault(route: EndpointRoute, method: bytes, headers: Mapping[bytes, bytes]) -> MotetError | None:
    """Return why a request isn't one that an endpoint takes."""
    where = f"{method.decode()} {route.path}"
    if method != b"POST" or not route.whole:
        if route.surface == "websocket" and method == b"GET":
            return HTTPError(426, "this path speaks WebSocket only", where=where, instead="a WebSocket client: `Upgrade: websocket`")
        if method.decode() not in allowed_methods(route).split(", "):
            return MethodNotAllowed("the endpoint isn't called with this method", where=where, instead=f"{route.methods[0]} {route.path}")
    if not route.whole and b"content-encoding" in headers and headers[b"content-encoding"].lower() != b"identity":
        return UnsupportedMediaType("the endpoint reads plain bodies only", where=where, instead="the plain body")
    if (coding := headers.get(b"content-encoding")) is not None and coding.lower() not in _CODINGS:
        return UnsupportedMediaType(
            "the body's coding can't be read",
            where=f"POST {route.path}",
            found=f"content-encoding: {_shown(coding)}",
            accept_encoding="gzip",
            instead="gzip, or the plain body",
        )
    return None


def allowed_methods(route: EndpointRoute) -> str:
    """Return the methods that an endpoint answers to, as the header `Allow` has them."""
    return ", ".join([*route.methods, *(["HEAD"] if "GET" in route.methods and route.surface == "http" else []), "OPTIONS"])


def stopping(route: EndpointRoute) -> ShuttingDown:
    """Return what is said of an endpoint while the server stops."""
    return ShuttingDown("the server is stopping", where=route.path)


def headers_too_large(limits: Limits) -> HeadersTooLarge:
    """Return what is said of too many headers."""
    return HeadersTooLarge("the headers are too large", where="HTTP", instead=f"{limits.headers} bytes in {limits.fields} fields at most")


def body_too_large(limits: Limits, found: str) -> BodyTooLarge:
    """Return what is said of a body beyond the limit."""
    return BodyTooLarge("the body is too large", where="HTTP", found=found, instead=f"{limits.body} bytes at most")


def path_of(url: bytes) -> bytes:
    """Return the path of a URL as it came, percent-encoding undone; a proxy's absolute form counts as its path."""
    if not url.startswith(b"/") and b"://" in url:
        url = b"/" + url.partition(b"://")[2].partition(b"/")[2]
    return unquote_to_bytes(url.partition(b"#")[0].partition(b"?")[0])


def _shown(value: bytes) -> str:
    return value[:100].decode("latin-1")
