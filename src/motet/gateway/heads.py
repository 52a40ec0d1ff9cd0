"""Heads of requests that need no second look: clients that keep a connection send the same bytes again and again.

What a head means depends on nothing but its bytes, the routes and how the gateway is set. So one that the parser has taken, and that was
found to ask for an endpoint, is kept with what it said, and the parser sees the next one of the same bytes no more.
"""

from __future__ import annotations

import msgspec

from motet.gateway.routes import EndpointRoute

MAX_HEADS = 1024
MAX_HEAD = 2048  # bytes of a head that is kept
END = b"\r\n\r\n"
_OWN = frozenset({b"x-request-id", b"traceparent", b"expect", b"transfer-encoding"})  # of this one request, or of its framing


class EndpointHead(msgspec.Struct, frozen=True, kw_only=True):
    """What the head of a request for an endpoint says.

    Attributes:
        route: to the endpoint.
        content_type: of the body.
        accept: what the client takes.
        inflates: whether the body is compressed.
        deflates: whether the answer may be.
        trace: context of a distributed trace.
        request_id: what the client calls the request.
        close: whether the connection closes after the answer.
        lines: complete header lines that the answer has besides those that every answer has.
        old: whether the client speaks HTTP/1.0.
    """

    route: EndpointRoute
    content_type: str | None
    accept: str | None
    inflates: bool
    deflates: bool
    trace: str | None
    request_id: str | None
    close: bool
    lines: bytes
    old: bool


class KnownHeads:
    """Heads by their bytes, each with the length of the body behind it; all are forgotten when there are too many."""

    def __init__(self) -> None:
        self._heads: dict[bytes, tuple[EndpointHead, int]] = {}
        self.find = self._heads.get

    def add(self, head: bytes, meaning: EndpointHead, headers: dict[bytes, bytes]) -> None:
        """Keep a head behind which a body is still to come, unless it may mean something else the next time."""
        if meaning.close or meaning.old or len(head) > MAX_HEAD or not _OWN.isdisjoint(headers):
            return
        if len(self._heads) >= MAX_HEADS:
            self._heads.clear()
        self._heads[head] = meaning, int(headers[b"content-length"])

    def clear(self) -> None:
        """Forget all."""
        self._heads.clear()
