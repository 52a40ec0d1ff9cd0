"""How a request enters a tunnel: its head, for the replica, and where it came from."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from motet.gateway.faults import path_of
from motet.gateway.routes import EndpointRoute
from motet.gateway.state import GatewayState
from motet.gateway.tunnel import TunnelConnection, TunnelExchange
from motet.runtime.exchange import Format
from motet.runtime.router import IDEMPOTENT_RETRIES
from motet.wire.payload import Payload
from motet.wire.tunnel import TunnelHead, encode_tunnel

Address = tuple[str, int | None] | None


class Origin(NamedTuple):
    """Where the requests of a connection come from.

    Attributes:
        client: its address.
        server: the address of this end.
        scheme: `http` or `https`.
        prefix: path at which the gateway is mounted in another application.
    """

    client: Address
    server: Address
    scheme: str = "http"
    prefix: str = ""


class RequestHead(NamedTuple):
    """The head of a request, as it was read.

    Attributes:
        method: of HTTP.
        url: as the client wrote it.
        headers: names in lower case.
        request_id: of the request.
        trace: context of a distributed trace.
        close: whether the connection closes after the answer.
        lines: complete header lines that the answer has besides those that every answer has.
        old: whether the client speaks HTTP/1.0.
    """

    method: bytes
    url: bytes
    headers: Mapping[bytes, bytes]
    request_id: str
    trace: str | None
    close: bool = False
    lines: bytes = b""
    old: bool = False


def joined(name: bytes, before: bytes, value: bytes) -> bytes:
    """Return the value of a header that is there once more, as HTTP joins them; the name is in lower case."""
    return before + (b"; " if name == b"cookie" else b", ") + value


def tunnelled(route: EndpointRoute, kind: Literal["http", "websocket"], read: RequestHead, origin: Origin) -> dict[str, Any]:
    """Return what an exchange is made from whose body is a tunnel's head."""
    target = read.url.partition(b"#")[0]
    offered = read.headers.get(b"sec-websocket-protocol", b"").decode("latin-1") if kind == "websocket" else ""
    prefix = origin.prefix
    head = TunnelHead(
        kind=kind,
        method=read.method.decode(),
        raw_path=prefix.encode() + target.partition(b"?")[0],
        path=prefix + path_of(read.url).decode(errors="replace"),
        query=target.partition(b"?")[2],
        root=prefix + (route.path.rstrip("/") if route.surface == "ingress" else ""),
        headers=tuple(read.headers.items()),
        version="1.0" if read.old else "1.1",
        scheme=origin.scheme,
        client=origin.client,
        server=origin.server,
        subprotocols=tuple(name.strip() for name in offered.split(",") if name.strip()),
    )
    return {
        "target": route.target,
        "endpoint": route.endpoint,
        "body": Payload(encode_tunnel(head)),
        "format": Format.TUNNEL,
        "deadline": math.inf if route.timeout is None else time.monotonic() + route.timeout,
        "request_id": read.request_id,
        "trace": read.trace,
        "idempotent": route.idempotent,
        "retries": IDEMPOTENT_RETRIES,
    }


def new_tunnel(route: EndpointRoute, read: RequestHead, connection: TunnelConnection, origin: Origin, *, expects: bool) -> TunnelExchange:
    """Return a request whose body will follow; `expects` says whether its client waits for `100 Continue`."""
    return TunnelExchange(
        **tunnelled(route, "http", read, origin),
        connection=connection,
        close=read.close,
        lines=read.lines,
        old=read.old,
        bodiless=read.method == b"HEAD",
        expects=expects,
        tells=route.surface == "http",
    )


def socket_route(state: GatewayState, method: bytes, url: bytes, headers: Mapping[bytes, bytes]) -> EndpointRoute | None:
    """Return where the handshake of a WebSocket leads, or None if this isn't one, or not for a path with WebSockets."""
    bodied = b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
    if method != b"GET" or bodied or headers.get(b"upgrade", b"").lower() != b"websocket":
        return None
    path = path_of(url)
    route = state.routes.get(path) or state.mounts.find(path)
    return route if route is not None and route.surface in ("websocket", "ingress") else None
