"""The replica's end of a tunnel, as an ASGI server: scope, `receive` and `send` of one request or WebSocket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

import msgspec

from motet.errors import MotetError
from motet.runtime.exchange import Request
from motet.wire.payload import Payload
from motet.wire.tunnel import (
    LOST,
    NORMAL,
    RESTARTS,
    SWITCHING,
    MessageKind,
    Pairs,
    TunnelStart,
    binary_message,
    close_message,
    decode_head,
    encode_tunnel,
    read_close,
    text_message,
)

log = logging.getLogger("motet.replica")

PIECE = 65536  # bytes of a body that are sent at once
GRACE = 1.0  # s that the reader of a WebSocket has to end after its client has gone, before it is cancelled
DENIED = 403

Message = MutableMapping[str, Any]


class Tunnel:
    """One request as an ASGI server has it.

    Attributes:
        scope: of the connection, for an ASGI app.
        begun: whether a part of the answer is out.
        complete: whether the answer is.
        left: whether the client of a WebSocket has gone.
    """

    def __init__(self, request: Request, state: Mapping[str, Any] | None = None) -> None:
        assert request.inbox is not None  # requests of a tunnel have one
        self._request = request
        self._inbox = request.inbox
        self._loop = asyncio.get_running_loop()
        self._granted = asyncio.Event()  # several tasks may wait for credit
        request.on_credit = self._granted.set
        self._start: TunnelStart | None = None
        self.begun = False
        self.complete = False
        self.left = False
        self._code = LOST
        self._watch: asyncio.TimerHandle | None = None
        head = decode_head(request.body.head)
        self.scope: dict[str, Any] = {
            "type": head.kind,
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": head.version,
            "scheme": head.scheme,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "root_path": head.root,
            "headers": list(head.headers),
            "client": head.client,
            "server": head.server,
            "state": dict(state) if state is not None else {},
            "extensions": {},
        }
        if head.kind == "http":
            self.scope["method"] = head.method
            self._told_end = False
            self.receive, self.send = self._receive_body, self._send_body
        else:
            self.scope["scheme"] = "wss" if head.scheme == "https" else "ws"
            self.scope["subprotocols"] = list(head.subprotocols)
            self.scope["extensions"]["websocket.http.response"] = {}
            self._connected = False
            self._inbox.on_end = self._client_left
            self.receive, self.send = self._receive_message, self._send_message
            if self._inbox.ended:
                self._client_left()

    # -- requests --------------------------------------------------------------------------------------------------

    async def _receive_body(self) -> Message:
        if not self._told_end:
            piece = await self._inbox.get()
            self._told_end = self._inbox.last
            return {"type": "http.request", "body": piece or b"", "more_body": not self._told_end}
        if not self.complete:
            # Whoever waits for this is cancelled when the client goes.
            await self._loop.create_future()
        return {"type": "http.disconnect"}

    async def _send_body(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if self._start is not None:
                raise MotetError("an answer was started twice", where=self._request.endpoint)
            self._start = TunnelStart(int(message["status"]), _pairs(message.get("headers", ())))
            return
        if message["type"] != "http.response.body" or self.complete:
            return
        if self._start is None:
            raise MotetError("a body was sent before its status", where=self._request.endpoint)
        await self._pieces(message)

    async def _pieces(self, message: Message) -> None:
        """Send a piece of an answer's body; one that is small and whole leaves with its head, in one frame."""
        assert self._start is not None  # both callers have seen it
        body = memoryview(message.get("body", b""))
        whole = not message.get("more_body", False) and len(body) <= PIECE
        if not self.begun:
            self.begun = True
            if whole and self.scope["type"] == "http":
                self._answer(msgspec.structs.replace(self._start, body=bytes(body)))
                return
            self._reply_start(self._start)
        for start in range(0, len(body), PIECE):
            await self._item(body[start : start + PIECE])
        if not message.get("more_body", False):
            self._end()

    # -- WebSockets ------------------------------------------------------------------------------------------------

    async def _receive_message(self) -> Message:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        piece = None if self.left and self._code == RESTARTS else await self._inbox.get()
        if piece is None:
            self.left = True
            return {"type": "websocket.disconnect", "code": self._code, "reason": ""}
        content = piece[1:]
        if piece[0] == MessageKind.TEXT:
            return {"type": "websocket.receive", "text": content.decode()}
        if piece[0] == MessageKind.BINARY:
            return {"type": "websocket.receive", "bytes": content}
        self.left = True
        self._code, reason = read_close(content)
        return {"type": "websocket.disconnect", "code": self._code, "reason": reason}

    async def _send_message(self, message: Message) -> None:
        kind = message["type"]
        if self.complete or (self.left and kind != "websocket.close"):
            raise OSError("the client has gone")  # what ASGI apps expect; Starlette makes a WebSocketDisconnect of it
        if kind == "websocket.accept":
            self.begun = True
            self._reply_start(TunnelStart(SWITCHING, _pairs(message.get("headers") or ()), message.get("subprotocol")))
        elif kind == "websocket.send":
            text = message.get("text")
            await self._item(text_message(text.encode()) if text is not None else binary_message(bytes(message["bytes"])))
        elif kind == "websocket.close":
            self._close(message.get("code", NORMAL), message.get("reason") or "")
        elif kind == "websocket.http.response.start":
            self._start = TunnelStart(int(message["status"]), _pairs(message.get("headers", ())))
        elif kind == "websocket.http.response.body" and self._start is not None:
            await self._pieces(message)

    def _close(self, code: int, reason: str) -> None:
        if self.begun:
            self._request.reply.item(Payload(close_message(code, reason)))
        else:  # instead of accepting
            self.begun = True
            self._reply_start(TunnelStart(DENIED, ((b"content-length", b"0"),)))
        self._end()

    def _client_left(self) -> None:
        """Give the endpoint a moment to end by itself, which it does if it reads or writes."""
        self.left = True
        self._watch = self._loop.call_later(GRACE, self._stop)

    def _stop(self) -> None:
        if self._request.abort is not None:
            self._request.abort()

    def restart(self) -> None:
        """Tell the endpoint of a WebSocket that its replica stops: it reads that the client has gone."""
        if self.scope["type"] == "websocket":
            self._code = RESTARTS
            self._inbox.end()

    # -- the end ---------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """End well what the endpoint didn't end itself, once it has returned.

        Raises:
            MotetError: there is no whole answer.
        """
        if self.complete or self._request.cancelled:
            return
        if self.scope["type"] == "websocket" and self._start is None:
            self._close(self._code if self.left and self._code == RESTARTS else NORMAL, "")
            return
        if self.begun:
            raise MotetError("the endpoint returned before its answer was complete", where=self._request.endpoint)
        raise MotetError("the endpoint returned without an answer", where=self._request.endpoint)

    def close(self) -> None:
        """Stop watching; the endpoint has ended in whatever way."""
        if self._watch is not None:
            self._watch.cancel()
        if self.left and not self.complete:  # cancelled after its grace: nobody is there to be told, and the exchange ends
            if not self.begun:
                self._reply_start(TunnelStart(DENIED, ((b"content-length", b"0"),)))
            else:
                self._request.reply.item(Payload(close_message(self._code if self._code == RESTARTS else NORMAL)))
            self._end()

    def _end(self) -> None:
        self.complete = True
        if not self._request.cancelled:
            self._request.reply.end()

    def _answer(self, whole: TunnelStart) -> None:
        self.complete = True
        if not self._request.cancelled:
            self._request.reply.result(Payload(encode_tunnel(whole)), None)

    def _reply_start(self, start: TunnelStart) -> None:
        if not self._request.cancelled:
            self._request.reply.item(Payload(encode_tunnel(start)))

    async def _item(self, piece: bytes | memoryview) -> None:
        request = self._request
        while request.credit <= 0:
            self._granted.clear()
            await self._granted.wait()
        if request.cancelled:
            raise OSError("the client has gone")
        request.credit -= len(piece)
        request.reply.item(Payload(piece))


def _pairs(headers: Iterable[tuple[bytes, bytes]]) -> Pairs:
    return tuple((bytes(name).lower(), bytes(value)) for name, value in headers)
