"""WebSockets inside another web server, which has made messages of their frames already: they go to a replica and come from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from motet.errors import NotFound, http_status, public_fields
from motet.gateway import answers
from motet.gateway.entry import Address, Origin, RequestHead, tunnelled
from motet.gateway.mounted import Message, Receive, Send, joined_headers, relative_path
from motet.gateway.state import GatewayState
from motet.gateway.tunnel import TwoWayExchange, closing
from motet.gateway.turns import context_of, given_id
from motet.runtime.inbox import TUNNEL_WINDOW
from motet.wire.failure import Failure
from motet.wire.payload import Payload
from motet.wire.tunnel import (
    LOST,
    POLICY,
    SWITCHING,
    MessageKind,
    Pairs,
    binary_message,
    close_message,
    decode_start,
    read_close,
    text_message,
)

END: Message = {"type": "end"}


class MessageExchange(TwoWayExchange, kw_only=True):
    """The way of a WebSocket, whose frames another server handles, to its replica.

    Attributes:
        messages: for that server, each with the bytes that it took of the window.
        reads: whether more of the client's messages may be sent.
        denied: whether the client is answered instead of accepted.
    """

    messages: asyncio.Queue[tuple[Message, int]]
    reads: asyncio.Event
    denied: bool = False

    def choke(self, *, choked: bool) -> None:
        """Stop reading from the client, or go on."""
        if choked:
            self.reads.clear()
        else:
            self.reads.set()

    def on_item(self, payload: Payload, items: int) -> None:  # noqa: ARG002  # each is one
        """Take the start of the answer, then messages."""
        piece = bytes(payload.head)
        size = len(piece)

        def put(message: Message) -> None:
            self.messages.put_nowait((message, size))

        if not self.begun:
            self.begun = True
            start = decode_start(piece)
            self.denied = start.status != SWITCHING
            if self.denied:
                put(_denial(start.status, start.headers))
            else:
                put({"type": "websocket.accept", "subprotocol": start.subprotocol, "headers": list(start.headers)})
        elif self.denied:
            put({"type": "websocket.http.response.body", "body": piece, "more_body": True})
        elif piece[0] == MessageKind.TEXT:
            put({"type": "websocket.send", "text": piece[1:].decode()})
        elif piece[0] == MessageKind.BINARY:
            put({"type": "websocket.send", "bytes": piece[1:]})
        else:
            code, reason = read_close(piece[1:])
            put({"type": "websocket.close", "code": code, "reason": reason})

    def on_end(self) -> None:
        """Note the end."""
        self.done = True
        if self.denied:
            self.messages.put_nowait(({"type": "websocket.http.response.body", "body": b"", "more_body": False}, 0))
        self.messages.put_nowait((END, 0))

    def on_failure(self, failure: Failure) -> None:
        """Close with an error."""
        self.done = True
        if self.denied:
            pass  # the answer is cut off: the server around sees that it isn't whole
        elif self.begun:
            code, reason = closing(failure)
            self.messages.put_nowait(({"type": "websocket.close", "code": code, "reason": reason}, 0))
        else:
            _put_error(self.messages, failure.status, failure.fields, self.request_id, answers.error_headers(failure.headers))
        self.messages.put_nowait((END, 0))


def _denial(status: int, headers: Pairs) -> Message:
    return {"type": "websocket.http.response.start", "status": status, "headers": list(headers)}


def _put_error(
    messages: asyncio.Queue[tuple[Message, int]], status: int, fields: Mapping[str, Any], request_id: str, more: Mapping[str, str]
) -> None:
    headers = {"content-type": "application/json", **more}
    messages.put_nowait((_denial(status, tuple((name.encode(), answers.header_value(value)) for name, value in headers.items())), 0))
    body = answers.error_json(fields, request_id)
    messages.put_nowait(({"type": "websocket.http.response.body", "body": body, "more_body": False}, 0))


async def serve_socket(state: GatewayState, scope: Mapping[str, Any], receive: Receive, send: Send, request_id: str) -> None:
    """Run a WebSocket of another server through a replica."""
    prefix = scope.get("root_path", "")
    path = relative_path(scope, prefix).encode()
    messages: asyncio.Queue[tuple[Message, int]] = asyncio.Queue()
    headers = joined_headers(scope["headers"])
    request_id = given_id(headers) or request_id
    route = state.routes.get(path) or state.mounts.find(path)
    await receive()  # that there is a client
    if route is None or route.surface not in ("websocket", "ingress"):
        error = NotFound("there is no WebSocket at this path", found=path.decode(errors="replace"))
        _put_error(messages, http_status(error), public_fields(error), request_id, {})
        messages.put_nowait((END, 0))
        await _give(messages, scope, send, lambda _: None)
        return
    if offered := scope.get("subprotocols"):
        headers[b"sec-websocket-protocol"] = ", ".join(offered).encode()
    _, trace = context_of(state, headers)
    query = scope.get("query_string", b"")
    read = RequestHead(b"GET", quote(path).encode() + (b"?" + query if query else b""), headers, request_id, trace)
    scheme = "https" if scope.get("scheme") == "wss" else "http"
    origin = Origin(_address(scope.get("client")), _address(scope.get("server")), scheme, prefix)
    exchange = MessageExchange(
        **tunnelled(route, "websocket", read, origin),
        messages=messages,
        reads=asyncio.Event(),
    )
    exchange.reads.set()
    state.router.send(exchange)
    reading = asyncio.create_task(_listen(exchange, receive))

    def sent(size: int) -> None:
        if not exchange.done:
            state.router.credit(exchange, size)

    try:
        await _give(messages, scope, send, sent)
    finally:
        reading.cancel()
        if not exchange.done:
            exchange.push(close_message(LOST))
            exchange.push_end()


def _address(found: Any) -> Address:
    return (str(found[0]), found[1]) if found else None


async def _give(messages: asyncio.Queue[tuple[Message, int]], scope: Mapping[str, Any], send: Send, sent: Callable[[int], None]) -> None:
    """Send what the endpoint sends, and give credit for it, until it ends."""
    can_deny = "websocket.http.response" in (scope.get("extensions") or {})
    owed = 0
    while True:
        message, size = await messages.get()
        if message is END:
            return
        if message["type"].startswith("websocket.http.response") and not can_deny:
            if message["type"].endswith("start"):
                await send({"type": "websocket.close", "code": POLICY, "reason": answers.phrase(message["status"])})
        else:
            await send(message)
        owed += size
        if owed >= TUNNEL_WINDOW // 2:
            sent(owed)
            owed = 0


async def _listen(exchange: MessageExchange, receive: Receive) -> None:
    """Pass on what the client sends."""
    while True:
        await exchange.reads.wait()
        message = await receive()
        if message["type"] == "websocket.disconnect":
            exchange.push(close_message(message.get("code") or LOST, message.get("reason") or ""))
            exchange.push_end()
            return
        text = message.get("text")
        exchange.push(text_message(text.encode()) if text is not None else binary_message(message.get("bytes") or b""))
