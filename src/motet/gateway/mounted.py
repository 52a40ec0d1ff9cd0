"""The gateway inside another web server: an ASGI request is given to an ordinary connection as the bytes that it would have been.

So whatever the gateway does with requests it does here, too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Protocol
from urllib.parse import quote

import httptools

from motet.gateway import answers
from motet.gateway.entry import joined

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HIGH = 1 << 18  # bytes of an answer that may wait for the server around
DROPPED = frozenset({b"connection", b"expect", b"keep-alive", b"transfer-encoding", b"upgrade"})  # of the connection outside


class Served(Protocol):
    """A connection of the gateway, from its transport's side."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""

    def data_received(self, data: bytes) -> None:
        """Take bytes."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end."""

    def pause_writing(self) -> None:
        """Stop for a while."""

    def resume_writing(self) -> None:
        """Go on."""


class Splice(asyncio.Transport):
    """A transport that turns the bytes of an answer into the messages of an ASGI app."""

    def __init__(self, scope: Mapping[str, Any], prefix: str) -> None:
        super().__init__(
            {
                "peername": tuple(scope["client"]) if scope.get("client") else None,
                "sockname": tuple(scope["server"]) if scope.get("server") else None,
                "scheme": scope.get("scheme", "http"),
                "prefix": prefix,
            }
        )
        self._bodiless = scope["method"] == "HEAD"
        self._parser = httptools.HttpResponseParser(self)
        self._messages: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._waiting = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._closing = False
        self._protocol: Served | None = None
        self.complete = False
        self.reads = asyncio.Event()
        self.reads.set()

    def join(self, protocol: Served) -> None:
        """Begin; what the protocol writes becomes messages."""
        self._protocol = protocol
        protocol.connection_made(self)

    async def next(self) -> Message | None:
        """Return the next message, or None if the answer has been cut off."""
        while not self._messages:
            if self._closing:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        message = self._messages.popleft()
        before, self._waiting = self._waiting, self._waiting - len(message.get("body", b""))
        if before >= HIGH > self._waiting and self._protocol is not None:
            self._protocol.resume_writing()
        return message

    def _put(self, message: Message) -> None:
        self._messages.append(message)
        before, self._waiting = self._waiting, self._waiting + len(message.get("body", b""))
        self._arrived.set()
        if before < HIGH <= self._waiting and self._protocol is not None:
            self._protocol.pause_writing()

    # -- what the parser calls -------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header of the answer."""
        if name.lower() not in DROPPED:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Begin the answer."""
        self._put({"type": "http.response.start", "status": self._parser.get_status_code(), "headers": self._headers})
        if self._bodiless:
            self._end()

    def on_body(self, body: bytes) -> None:
        """Take a piece."""
        if not self.complete:
            self._put({"type": "http.response.body", "body": body, "more_body": True})

    def on_message_complete(self) -> None:
        """End the answer."""
        self._end()

    def _end(self) -> None:
        if not self.complete:
            self.complete = True
            self._put({"type": "http.response.body", "body": b"", "more_body": False})

    # -- the transport ---------------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes of the answer."""
        if not self._closing and not self.complete:
            self._parser.feed_data(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Take bytes of the answer."""
        for data in list_of_data:
            self.write(data)

    def write_eof(self) -> None:
        """Take the end of the answer."""

    def get_write_buffer_size(self) -> int:
        """Return what waits for the server around."""
        return self._waiting

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self._closing

    def close(self) -> None:
        """End; an answer that isn't complete is cut off."""
        self._closing = True
        self._arrived.set()
        self.reads.set()

    def abort(self) -> None:
        """End at once."""
        self.close()

    def pause_reading(self) -> None:
        """Take no more of the body for a while."""
        self.reads.clear()

    def resume_reading(self) -> None:
        """Go on with the body."""
        self.reads.set()


async def serve_request(connection: Served, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    """Answer an ASGI request as the gateway does."""
    prefix = scope.get("root_path", "")
    splice = Splice(scope, prefix)
    splice.join(connection)
    reading = asyncio.create_task(_follow(connection, splice, scope, receive, prefix))
    try:
        while (message := await splice.next()) is not None:
            await send(message)
            if not message.get("more_body", True):
                break
        else:
            raise ConnectionResetError("the answer was cut off")
    finally:
        reading.cancel()
        splice.close()
        connection.connection_lost(None)


async def _follow(connection: Served, splice: Splice, scope: Mapping[str, Any], receive: Receive, prefix: str) -> None:
    """Read the request, and cut its answer off if the client goes before it is complete, or nothing more can be read."""
    try:
        await _feed(connection, splice, scope, receive, prefix)
    finally:
        if not splice.complete:
            connection.connection_lost(None)
            splice.close()


async def _feed(connection: Served, splice: Splice, scope: Mapping[str, Any], receive: Receive, prefix: str) -> None:
    """Write the request as bytes, as its pieces come, until the client goes."""
    message = await receive()
    headers = joined_headers(scope["headers"])
    left, framing = _framing(headers, message)
    given = [(name, value) for name, value in scope["headers"] if name.lower() not in DROPPED and name.lower() != b"content-length"]
    given += framing
    if b"host" not in headers:
        given.append((b"host", b"localhost"))
    path = quote(relative_path(scope, prefix), safe="/:@!$&'()*+,;=~-._").encode()
    target = path + (b"?" + scope["query_string"] if scope.get("query_string") else b"")
    lines = [b"%b %b HTTP/1.1" % (scope["method"].encode(), target), *[b"%b: %b" % header for header in given]]
    connection.data_received(b"\r\n".join([*lines, b"", b""]))
    ended = False
    while message["type"] == "http.request":
        body = b"" if ended else message.get("body", b"")[:left]
        if left is not None:
            left -= len(body)
        if body:
            connection.data_received(body if left is not None else b"%x\r\n%b\r\n" % (len(body), body))
        if not ended and not message.get("more_body", False):
            ended = True
            if left is None:
                connection.data_received(answers.LAST_CHUNK)
            elif left:
                return
        await splice.reads.wait()
        message = await receive()


def _framing(headers: Mapping[bytes, bytes], first: Message) -> tuple[int | None, list[tuple[bytes, bytes]]]:
    """Return the bytes of a body, if they are known, and the header that says where it ends.

    The server around has taken the body apart, and applications around may have changed it: what is wrong here would be read
    as another request.
    """
    declared = headers.get(b"content-length", b"")
    if not first.get("more_body", False):
        size = len(first.get("body", b""))
        return size, [(b"content-length", b"%d" % size)] if size or declared else []
    if declared.isdigit() and b"transfer-encoding" not in headers:
        return int(declared), [(b"content-length", declared)]
    return None, [(b"transfer-encoding", b"chunked")]


def relative_path(scope: Mapping[str, Any], prefix: str) -> str:
    """Return the path below the one that the app is mounted at."""
    path: str = scope["path"]
    return (path.removeprefix(prefix) if path.startswith(prefix + "/") or path == prefix else path) or "/"


def joined_headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers by name; those of one name are joined, as HTTP allows."""
    headers: dict[bytes, bytes] = {}
    for given, value in pairs:
        name = given.lower()
        headers[name] = value if name not in headers else joined(name, headers[name], value)
    return headers
