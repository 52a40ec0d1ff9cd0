"""A client of HTTP streams that does nothing but read: it costs less than what it measures."""

from __future__ import annotations

import asyncio
import socket
import time

END = b"0\r\n\r\n"


def read(port: int, path: str, items: int, accept: str = "*/*", last: bytes = b"%d") -> float:
    """Return how many items a client gets in a second.

    Args:
        port: of the server on this machine.
        path: of an endpoint that takes `{"items": N}` and streams the numbers up to it.
        items: that it is asked for.
        accept: the form of the stream.
        last: how the last item looks, with `%d` in the place of the number.

    Raises:
        RuntimeError: the answer isn't that stream.
    """
    body = b'{"items": %d}' % items
    head = f"POST {path} HTTP/1.1\r\nhost: bench\r\naccept: {accept}\r\ncontent-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        begun = time.perf_counter()
        connection.sendall(head.encode() + b"content-length: %d\r\n\r\n%b" % (len(body), body))
        pieces: list[bytes] = []
        tail = b""
        while not tail.endswith(b"\r\n" + END):
            pieces.append(connection.recv(65536))
            if not pieces[-1]:
                break
            tail = (tail + pieces[-1])[-len(END) - 2 :]
        took = time.perf_counter() - begun
    answer = b"".join(pieces)
    if not tail.endswith(END) or last % (items - 1) not in answer[-200:]:
        raise RuntimeError(answer[:300].decode(errors="replace"), answer[-300:].decode(errors="replace"))
    return items / took


class Client:
    """A connection that stays open, and measures when the body of an answer begins."""

    def __init__(self, port: int) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port))

    def ask(self, path: str, body: bytes, accept: str, end: bytes) -> float:
        """Return the seconds from a request to the first byte of its answer's body, and read the rest up to `end`.

        Raises:
            RuntimeError: the connection ended before.
        """
        head = f"POST {path} HTTP/1.1\r\nhost: bench\r\naccept: {accept}\r\ncontent-type: application/json\r\n".encode()
        begun = time.perf_counter()
        self._connection.sendall(head + b"content-length: %d\r\n\r\n%b" % (len(body), body))
        got, took = b"", 0.0
        while not got.endswith(end):
            piece = self._connection.recv(65536)
            if not piece:
                raise RuntimeError(got.decode(errors="replace"))
            got += piece
            if not took and got.partition(b"\r\n\r\n")[2]:
                took = time.perf_counter() - begun
        return took

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


class Lines(asyncio.Protocol):
    """Reads a stream of numbers, one a line, and remembers how late each came after the time that it says."""

    def __init__(self, request: bytes) -> None:
        self.request, self.late, self.rest = request, list[float](), b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Take lines; the others are lengths of chunks and headers."""
        now = time.monotonic()
        *lines, self.rest = (self.rest + data).split(b"\n")
        self.late += [now - float(line) for line in lines if b"." in line and not line.endswith(b"\r")]
        if self.rest == b"" and lines[-2:] == [b"0\r", b"\r"]:
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail if that comes too early."""
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError(f"ended after {len(self.late)} lines: {self.rest[-200:]!r}"))


async def lateness(port: int, path: str, body: bytes, streams: int) -> list[float]:
    """Read many streams at once whose items are the times, as `time.monotonic` says, when they were due; returns delays in s."""
    head = f"POST {path} HTTP/1.1\r\nhost: bench\r\naccept: application/x-ndjson\r\ncontent-type: application/json\r\n".encode()
    request = head + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    loop = asyncio.get_running_loop()
    found = [await loop.create_connection(lambda: Lines(request), "127.0.0.1", port) for _ in range(streams)]
    await asyncio.gather(*(lines.done for _, lines in found))
    for transport, _ in found:
        transport.close()
    return [late for _, lines in found for late in lines.late]
