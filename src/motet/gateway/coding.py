"""Compressed bodies, in and out. Threads do it: a large body takes longer than other connections should wait."""

from __future__ import annotations

import asyncio
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from motet.errors import BodyTooLarge, MalformedRequest, MotetError
from motet.gateway.exchange import HttpExchange
from motet.media import EVENTS, media_type
from motet.wire.failure import record
from motet.wire.payload import Buffer, Payload

GZIP: Final = b"gzip"
READABLE = frozenset({GZIP, b"x-gzip"})
WORTH = 1024  # bytes from which compressing pays
LEVEL = 5
_GZIP_FORMAT = 31  # zlib's name for it
_COMPRESSIBLE = frozenset(
    {"application/json", "application/x-ndjson", "application/msgpack", "application/x-npy", "application/javascript"}
)

threads: Final = ThreadPoolExecutor(2, thread_name_prefix="motet-gzip")  # starts no thread before it is used


def compressible(content_type: str | None) -> bool:
    """Whether compressing makes content of a type smaller, as far as its name tells."""
    media = media_type(content_type or "")[0]
    return (media.startswith("text/") and media != EVENTS) or media in _COMPRESSIBLE or media.endswith("+json")


def compress(body: Buffer) -> bytes:
    """Return a body in gzip."""
    return zlib.compress(body, LEVEL, wbits=_GZIP_FORMAT)


def decompress(body: Buffer, limit: int) -> bytes:
    """Return what a gzip body contains, if that isn't more than allowed; nothing beyond the limit is ever made.

    Raises:
        BodyTooLarge: it is more than `limit` bytes.
        MalformedRequest: it is no gzip, ends too early, or goes on behind its end.
    """
    reader = zlib.decompressobj(wbits=_GZIP_FORMAT)
    try:
        whole = reader.decompress(body, limit + 1)
    except zlib.error as error:
        raise MalformedRequest("the body is no gzip", where="content-encoding", found=str(error)) from None
    if len(whole) > limit:
        found = f"more than {limit} bytes from {len(body)}"
        raise BodyTooLarge("the body is too large", where="content-encoding: gzip", found=found, instead=f"{limit} bytes at most")
    if not reader.eof or reader.unused_data:
        found = "it goes on behind its end" if reader.eof else "it ends too early"
        raise MalformedRequest("the body is no gzip", where="content-encoding", found=found)
    return whole


class CodedExchange(HttpExchange, kw_only=True):
    """A call of an endpoint whose body may be compressed, or its answer.

    Attributes:
        inflates: whether its body is compressed.
        deflates: whether its answer may be.
        working: what a thread does for it.
    """

    inflates: bool = False
    deflates: bool = False
    working: asyncio.Future[bytes] | None = None

    def start(self) -> None:
        """Send it to a replica, once the body is plain."""
        if not self.inflates:
            super().start()
            return
        state = self.connection.state
        self.working = state.loop.run_in_executor(threads, decompress, self.body.head, state.limits.body)
        self.working.add_done_callback(self._inflated)

    def _inflated(self, working: asyncio.Future[bytes]) -> None:
        self.working = None
        if working.cancelled():
            return
        if (error := working.exception()) is None:
            self.body = Payload(working.result())
            super().start()
        else:
            problem = error if isinstance(error, MotetError) else MotetError("the gateway couldn't read the compressed body")
            self.on_failure(record(problem, endpoint=self.name, replica=""))

    def cancel(self) -> None:
        """Stop it; the client is gone."""
        if self.working is not None:
            self.working.cancel()
        else:
            super().cancel()

    def on_result(self, payload: Payload, content_type: str | None) -> None:
        """Write the answer, compressed if that pays."""
        if not self.deflates or payload.size < WORTH or not compressible(content_type):
            super().on_result(payload, content_type)
            return
        body = payload.whole()
        self.working = self.connection.state.loop.run_in_executor(threads, compress, body)
        self.working.add_done_callback(lambda working: self._deflated(working, content_type))

    def _deflated(self, working: asyncio.Future[bytes], content_type: str | None) -> None:
        self.working = None
        if working.cancelled():
            return
        self.lines += b"content-encoding: gzip\r\n"
        super().on_result(Payload(working.result()), content_type)
