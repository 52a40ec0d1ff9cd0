"""Requests for everything but endpoints, run through an ASGI app: one task each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, MutableMapping
from typing import Any

from motet.errors import MotetError
from motet.gateway import answers
from motet.gateway.coding import WORTH, compress, compressible, threads
from motet.gateway.exchange import Answerer
from motet.media import accepts_coding

log = logging.getLogger("motet.gateway")


class SiteCall:
    """One request for the site."""

    __slots__ = (
        "_begun",
        "_bodiless",
        "_chunked",
        "_connection",
        "_done",
        "_given",
        "_gone",
        "_resumed",
        "_start",
        "_task",
        "body",
        "close",
        "headers",
        "lines",
        "method",
        "old",
        "path",
        "query",
        "request_id",
    )

    def __init__(
        self,
        connection: Answerer,
        *,
        method: str,
        path: bytes,
        query: bytes,
        headers: Mapping[bytes, bytes],
        body: bytes,
        request_id: str,
        close: bool,
        lines: bytes,
        old: bool,
    ) -> None:
        self._connection = connection
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.request_id = request_id
        self.close = close
        self.lines = lines
        self.old = old
        self._start: MutableMapping[str, Any] | None = None
        self._begun = False
        self._done = False
        self._chunked = False
        self._bodiless = method == "HEAD"
        self._given = False
        self._gone = asyncio.Event()
        self._resumed = asyncio.Event()
        self._resumed.set()

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body)

    def start(self) -> None:
        """Run the app."""
        self._task = self._connection.state.loop.create_task(self._run())

    def cancel(self) -> None:
        """Stop the app; the client is gone."""
        self._gone.set()
        self._task.cancel()

    def resume(self) -> None:
        """Let the app write again."""
        self._resumed.set()

    async def _run(self) -> None:
        state = self._connection.state
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.0" if self.old else "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path.decode(errors="replace"),
            "raw_path": self.path,
            "query_string": self.query,
            "root_path": "",
            "headers": list(self.headers.items()),
            "client": None,
            "server": None,
            "state": {"request_id": self.request_id},
        }
        try:
            await state.site(scope, self._receive, self._send)
        except Exception:
            log.exception("%s %s failed", self.method, scope["path"])
        self._fail()  # unless the answer is complete

    def _fail(self) -> None:
        if self._done:
            return
        self._done = True
        if self._begun:
            self._connection.cut(reset=not self._chunked)
            return
        error = MotetError("the gateway failed at this", where=self.method)
        line = self._connection.last_lines(self)
        self._connection.write(answers.error_of(error, self.request_id, line, more={}, bodiless=self._bodiless))
        self._connection.finished(self)

    async def _receive(self) -> MutableMapping[str, Any]:
        if not self._given:
            self._given = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        """Take a message of the app; the head waits for the first piece of the body, which may tell its length."""
        connection = self._connection
        if message["type"] == "http.response.start":
            self._start = message
            return
        if message["type"] != "http.response.body" or self._done:
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._compresses and not self._begun and not more and len(body) >= WORTH:
            body = await self._compressed(body)
        pieces: list[bytes] = []
        if not self._begun:
            self._begun = True
            pieces.append(self._head(None if more else len(body)))
        if body and not self._bodiless:
            pieces += [b"%x\r\n" % len(body), body, b"\r\n"] if self._chunked else [body]
        if not more and self._chunked and not self._bodiless:
            pieces.append(answers.LAST_CHUNK)
        connection.write(b"".join(pieces))
        if not more:
            self._done = True
            connection.finished(self)
        elif not connection.writable:
            self._resumed.clear()
            await self._resumed.wait()

    @property
    def _compresses(self) -> bool:
        state, accept = self._connection.state, self.headers.get(b"accept-encoding")
        return state.gzip and not self._bodiless and accept is not None and accepts_coding(accept.decode("latin-1"), "gzip")

    async def _compressed(self, body: bytes) -> bytes:
        """Return the body in gzip, and say so in the head, if it is of a type that gets smaller."""
        assert self._start is not None  # an ASGI app sends its start first
        headers: list[tuple[bytes, bytes]] = list(self._start.get("headers", ()))
        if not compressible(dict(headers).get(b"content-type", b"").decode("latin-1")):
            return body
        body = await self._connection.state.loop.run_in_executor(threads, compress, body)
        kept = [(name, value) for name, value in headers if name != b"content-length"]
        self._start["headers"] = [*kept, (b"content-encoding", b"gzip")]
        return body

    def _head(self, length: int | None) -> bytes:
        assert self._start is not None  # an ASGI app sends its start first
        given = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in self._start.get("headers", ())]
        if self._start["status"] not in answers.BODILESS and all(name != "content-length" for name, _ in given):
            if length is not None:
                given.append(("content-length", str(length)))
            elif self.old:
                self.close = True
            else:
                self._chunked = True
                given.append(("transfer-encoding", "chunked"))
        given.append(("x-request-id", self.request_id))
        return answers.head(self._start["status"], given, self._connection.last_lines(self))
