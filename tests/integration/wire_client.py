"""A client that writes raw bytes and takes answers apart as they are on the wire."""

import asyncio
import json
from dataclasses import dataclass

from motet.testing import PATIENCE


async def until(condition):
    """Let the loop run until something that is under way has happened."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # most of what tests wait for has no event
            await asyncio.sleep(0)


@dataclass
class Answer:
    """One HTTP answer as it was on the wire."""

    status: int
    version: str
    headers: dict[str, str]
    body: bytes
    complete: bool  # whether the body ended as its framing says

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]


@dataclass
class Client:
    """One connection, on which a test writes what it likes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *pieces):
        """Write pieces, each in a packet of its own as far as that can be had."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def head(self):
        """Read up to the end of a head; returns status, version and headers."""
        async with asyncio.timeout(PATIENCE):
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = text[:-4].split("\r\n")
        version, status, _ = first.split(" ", 2)
        headers = [line.split(": ", 1) for line in lines]
        assert len({name for name, _ in headers}) == len(headers), f"a header is there twice: {text}"
        return int(status), version, dict(headers)

    async def answer(self, *, bodiless=False):
        """Read one answer, framed as its head says."""
        status, version, headers = await self.head()
        body, complete = b"", True
        async with asyncio.timeout(PATIENCE):
            if bodiless or status == 204:
                pass
            elif "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            elif headers.get("transfer-encoding") == "chunked":
                try:
                    while chunk := await self.chunk():
                        body += chunk
                except asyncio.IncompleteReadError:
                    complete = False
            else:
                assert headers["connection"] == "close"
                body = await self.reader.read()
        return Answer(status, version, headers, body, complete)

    async def chunk(self):
        """Read one chunk of a chunked body; the last is empty."""
        async with asyncio.timeout(PATIENCE):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            data = await self.reader.readexactly(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    async def end(self):
        """Read until the server closes; returns what it still sent."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def ask(self, *pieces):
        """Send one request and read its answer."""
        await self.send(*pieces)
        return await self.answer()

    def reset(self):
        """Leave without a word."""
        self.writer.transport.abort()


def post(path, body=b"", *headers, content_type="application/json", version="1.1"):
    """Return the bytes of a POST."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/{version}", "Host: test", f"Content-Length: {len(body)}", f"Content-Type: {content_type}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def get(path, *headers, method="GET"):
    """Return the bytes of a request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: test", *headers, "", ""]).encode("latin-1")
