"""How a request enters a tunnel: its head, for the replica, and what is decided about it before."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, Literal

from motet.gateway.faults import path_of
from motet.gateway.routes import EndpointRoute
from motet.runtime.exchange import Format
from motet.runtime.router import IDEMPOTENT_RETRIES
from motet.wire.payload import Payload
from motet.wire.tunnel import TunnelHead, encode_tunnel

Address = tuple[str, int | None] | None


def tunnelled(
    route: EndpointRoute,
    kind: Literal["http", "websocket"],
    *,
    method: str,
    url: bytes,
    headers: Mapping[bytes, bytes],
    old: bool,
    client: Address,
    server: Address,
    scheme: str,
    prefix: str,
    request_id: str,
    trace: str | None,
) -> dict[str, Any]:
    """Return what an exchange is made from whose body is a tunnel's head.

    Args:
        route: to the endpoint or app.
        kind: of the connection.
        method: of HTTP.
        url: as the client wrote it.
        headers: names in lower case.
        old: whether the client speaks HTTP/1.0.
        client: its address.
        server: the address of this end.
        scheme: `http` or `https`.
        prefix: path at which the gateway is mounted in another application.
        request_id: of the request.
        trace: context of a distributed trace.
    """
    target = url.partition(b"#")[0]
    offered = headers.get(b"sec-websocket-protocol", b"").decode("latin-1") if kind == "websocket" else ""
    head = TunnelHead(
        kind=kind,
        method=method,
        raw_path=prefix.encode() + target.partition(b"?")[0],
        path=prefix + path_of(url).decode(errors="replace"),
        query=target.partition(b"?")[2],
        root=prefix + (route.path.rstrip("/") if route.surface == "ingress" else ""),
        headers=tuple(headers.items()),
        version="1.0" if old else "1.1",
        scheme=scheme,
        client=client,
        server=server,
        subprotocols=tuple(name.strip() for name in offered.split(",") if name.strip()),
    )
    return {
        "target": route.target,
        "endpoint": route.endpoint,
        "body": Payload(encode_tunnel(head)),
        "format": Format.TUNNEL,
        "deadline": math.inf if route.timeout is None else time.monotonic() + route.timeout,
        "request_id": request_id,
        "trace": trace,
        "idempotent": route.idempotent,
        "retries": IDEMPOTENT_RETRIES,
    }
