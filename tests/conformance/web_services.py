"""Services that see HTTP requests, for the tests of both engines."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, HTTPException, Request, UploadFile, WebSocket
from pydantic import BaseModel, Field
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse

import motet
from motet.testing import Gate


class Tag(BaseModel):
    name: str
    weight: int = 1


class Choice(BaseModel):
    words: list[str]
    tag: Tag | None = None
    top: int = 1


class Doubler(motet.Service):
    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    @motet.endpoint
    async def double(self, number: int) -> int:
        return number * 2

    @motet.endpoint
    async def slow(self) -> int:
        self.gate.reached()
        try:
            await asyncio.Event().wait()
        finally:
            self.gate.reached()
        return 1


class Web(motet.Service):
    """Endpoints with requests, responses and forms."""

    def __init__(self, gate: Gate, cancelled: Gate, folder: str) -> None:
        self.gate = gate
        self.cancelled = cancelled
        self.folder = folder

    @motet.endpoint(methods=("GET", "POST", "PUT"))
    async def seen(self, request: motet.Request) -> dict[str, object]:
        return {
            "method": request.method,
            "path": request.url.path,
            "query": dict(request.query_params),
            "cookies": request.cookies,
            "header": request.headers.get("x-own"),
            "client": request.client.host if request.client else None,
            "body": (await request.body()).decode(),
        }

    @motet.endpoint(methods=("GET",))
    async def answered(self, status: int = 200) -> motet.Response:
        response = PlainTextResponse("as you like", status_code=status, headers={"x-own": "yes"})
        response.set_cookie("first", "1")
        response.set_cookie("second", "2")
        return response

    @motet.endpoint(methods=("GET",))
    async def empty(self, status: int) -> motet.Response:
        return motet.Response(status_code=status, headers={"content-length": "7"})

    @motet.endpoint(methods=("GET",))
    async def either(self, away: bool) -> int | RedirectResponse:
        return RedirectResponse("/elsewhere") if away else 7

    @motet.endpoint(methods=("GET", "DELETE"))
    def search(self, words: list[str], top: Annotated[int, Field(le=5)] = 3) -> list[str]:
        return words[:top]

    @motet.endpoint
    async def beside(self, request: motet.Request, tag: Tag) -> Tag:
        return Tag(name=f"{tag.name} {request.headers['x-own']}", weight=tag.weight)

    @motet.endpoint
    def sync(self, request: motet.Request, number: int) -> int:
        return number + int(request.headers["x-own"])

    @motet.endpoint
    async def upload(self, files: list[motet.UploadFile], title: str, tags: list[int], tag: Tag | None = None) -> dict[str, object]:
        return {"title": title, "tags": tags, "tag": tag, "files": [[f.filename, len(await f.read())] for f in files]}

    @motet.endpoint(form=True)
    async def register(self, name: str, age: int) -> str:
        return f"{name} is {age}"

    @motet.endpoint(methods=("GET", "POST"), form=True)
    async def choose(self, choice: Choice) -> Choice:
        return choice

    @motet.endpoint
    async def picture(self, name: str, picture: motet.UploadFile | None = None) -> str:
        return name if picture is None else f"{name}: {picture.filename}"

    @motet.endpoint
    async def size(self, request: motet.Request) -> int:
        total = 0
        async for piece in request.stream():
            total += len(piece)
        return total

    @motet.endpoint
    async def deaf(self, request: motet.Request) -> int:
        return 5

    @motet.endpoint
    async def later(self, request: motet.Request) -> int:
        await self.gate.wait()
        return len(await request.body())

    @motet.endpoint(methods=("GET",))
    async def pieces(self) -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            try:
                yield b"first "
                await self.gate.wait()
                yield b"second"
            except asyncio.CancelledError:
                self.cancelled.reached()
                raise

        return StreamingResponse(body(), media_type="text/plain")

    @motet.endpoint(methods=("GET",))
    async def broken(self) -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"first "
            raise ValueError("out of paper")

        return StreamingResponse(body(), media_type="text/plain")

    @motet.endpoint(methods=("GET",))
    async def broken_events(self, last: str) -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            yield last
            raise ValueError("out of paper")

        return StreamingResponse(body(), media_type="text/event-stream")

    @motet.endpoint(methods=("GET",))
    async def counted_badly(self) -> AsyncIterator[int]:
        yield 0
        raise ValueError("out of paper")

    @motet.endpoint
    async def called_badly(self) -> AsyncIterator[int]:
        yield 0
        raise ValueError("out of paper")

    @motet.endpoint(methods=("GET",))
    async def large(self, size: int) -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            for _ in range(size // 100_000):
                yield b"x" * 100_000

        return StreamingResponse(body())

    @motet.endpoint(methods=("GET",))
    async def file(self) -> FileResponse:
        path = Path(self.folder) / "picture"
        path.write_bytes(b"0123456789" * 1000)
        return FileResponse(path, media_type="image/x-none")

    @motet.endpoint(methods=("GET",))
    async def counted(self, request: motet.Request, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    @motet.endpoint(methods=("GET",))
    def counted_in_thread(self, to: int) -> Iterator[int]:
        yield from range(to)

    @motet.endpoint(methods=("GET",))
    async def teapot(self, request: motet.Request) -> None:
        raise motet.HTTPError(418, "a teapot")

    @motet.endpoint(methods=("GET",))
    async def starlette_error(self, request: motet.Request) -> None:
        raise HTTPException(409, "taken", headers={"X-Own": "yes\r\nx-two: no", "Content-Length": "3", "x-three\r\n": "no"})

    @motet.endpoint
    async def called_in_vain(self) -> None:
        raise motet.HTTPError(429, "later", headers={"Retry-After": "7"})

    @motet.endpoint(methods=("GET",), timeout=0.05)
    async def late(self, request: motet.Request) -> None:
        await asyncio.Event().wait()

    @motet.endpoint(methods=("GET",))
    async def lying(self) -> motet.Response:
        return motet.Response("more than said", headers={"content-length": "4"})


# How endpoints of Sockets end: the path, what they send before, then code and reason that the client reads.
ENDINGS = [
    ("/closed", [], 4321, "enough"),
    ("/closed_at_length", [], 4321, "ü" * 61),  # 122 of the 123 bytes that a frame has for it
    ("/returned", ["last"], 1000, ""),
    ("/failed", [], 1011, "ValueError: out of paper"),
    ("/stopping", [], 1012, "ShuttingDown: come again"),
]


class Sockets(motet.Service):
    """Endpoints over WebSockets."""

    def __init__(self, reached: Gate, cancelled: Gate) -> None:
        self.reached = reached
        self.cancelled = cancelled

    @motet.endpoint
    async def echo(self, socket: motet.WebSocket) -> None:
        await socket.accept(headers=[(b"x-own", b"yes")])
        async for message in socket.iter_text():
            await socket.send_text(message.upper())

    @motet.endpoint
    async def raw(self, socket: motet.WebSocket) -> None:
        await socket.accept()
        async for message in socket.iter_bytes():
            await socket.send_bytes(message[::-1])

    @motet.endpoint
    async def json(self, socket: motet.WebSocket, start: int) -> None:
        await socket.accept(subprotocol="sums" if "sums" in socket.scope["subprotocols"] else None)
        total = start
        while True:
            total += (await socket.receive_json())["add"]
            await socket.send_json({"total": total})

    @motet.endpoint
    async def denied(self, socket: motet.WebSocket) -> None:
        await socket.close()

    @motet.endpoint
    async def answered(self, socket: motet.WebSocket) -> None:
        await socket.send_denial_response(JSONResponse({"no": "way"}, status_code=402))

    @motet.endpoint
    async def answered_oddly(self, socket: motet.WebSocket) -> None:
        await socket.send_denial_response(JSONResponse({"no": "way"}, status_code=499))

    @motet.endpoint
    async def refused_at_length(self, socket: motet.WebSocket) -> None:
        await socket.send_denial_response(PlainTextResponse("no" * 500_000, status_code=402))

    @motet.endpoint
    async def traced(self, socket: motet.WebSocket) -> None:
        await socket.accept()
        request = motet.current_request()
        assert request is not None
        await socket.send_json({"id": request.request_id, "trace": request.traceparent, "cookies": socket.cookies})

    @motet.endpoint
    async def closed(self, socket: motet.WebSocket) -> None:
        await socket.accept()
        await socket.close(4321, "enough")

    @motet.endpoint
    async def returned(self, socket: motet.WebSocket) -> None:
        await socket.accept()
        await socket.send_text("last")

    @motet.endpoint
    async def failed(self, socket: motet.WebSocket) -> None:
        await socket.accept()
        raise ValueError("out of paper")

    @motet.endpoint
    async def stopping(self, socket: motet.WebSocket) -> None:
        await socket.accept()
        raise motet.ShuttingDown("come again")

    @motet.endpoint
    async def closed_at_length(self, socket: motet.WebSocket) -> None:
        await socket.accept()
        await socket.close(4321, "ü" * 100)

    @motet.endpoint
    async def failed_early(self, socket: motet.WebSocket) -> None:
        raise motet.HTTPError(418, "a teapot", headers={"x-own": "yes"})

    @motet.endpoint
    async def waiting(self, socket: motet.WebSocket) -> None:
        await socket.accept()
        self.reached.reached()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.reached()

    @motet.endpoint
    async def endless(self, socket: motet.WebSocket) -> None:
        await socket.accept()
        try:
            while True:
                await socket.send_bytes(b"x" * 60_000)
        finally:
            self.cancelled.reached()

    @motet.endpoint
    async def together(self, socket: motet.WebSocket) -> None:
        await socket.accept()

        async def send() -> None:
            for _ in range(50):
                await socket.send_bytes(b"x" * 60_000)

        await asyncio.gather(*(send() for _ in range(4)))

    @motet.endpoint
    async def read_together(self, socket: motet.WebSocket) -> None:
        await socket.accept()
        await socket.send_text(" ".join(sorted(await asyncio.gather(socket.receive_text(), socket.receive_text()))))

    @motet.endpoint
    async def swallow(self, socket: motet.WebSocket) -> None:
        await socket.accept()
        await self.reached.wait()
        total = 0
        async for message in socket.iter_bytes():
            total += len(message)
            if message == b"end":
                await socket.send_text(str(total))


class Front(motet.Service):
    """An ordinary web application in front of a service."""

    def __init__(self, doubler: Doubler, started: Gate, stopped: Gate) -> None:
        self.doubler = doubler
        self.started = started
        self.stopped = stopped

    @motet.endpoint
    async def own(self, number: int) -> int:
        return -number

    @motet.ingress
    def app(self) -> FastAPI:
        @contextlib.asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, int]]:
            self.started.reached()
            yield {"answer": 42}
            self.stopped.reached()

        app = FastAPI(lifespan=lifespan, docs_url=None, openapi_url=None, redoc_url=None)

        @app.get("/")
        async def root(request: Request) -> dict[str, object]:
            return {"root": request.scope["root_path"], "url": str(request.url_for("doubled", number=1)), "state": request.state.answer}

        self._add_routes(app)
        self._add_lasting(app)
        return app

    def _add_routes(self, app: FastAPI) -> None:
        @app.get("/doubled/{number}")
        async def doubled(number: int) -> int:
            return await self.doubler.double(number)

        @app.get("/in_thread/{number}")
        def in_thread(number: int) -> int:
            return self.doubler.double(number).result()

        @app.patch("/file")
        async def file(file: UploadFile) -> dict[str, object]:
            return {"name": file.filename, "size": len(await file.read())}

    def _add_lasting(self, app: FastAPI) -> None:
        @app.get("/stream")
        async def stream() -> StreamingResponse:
            async def body() -> AsyncIterator[str]:
                for number in range(3):
                    yield f"{await self.doubler.double(number)} "

            return StreamingResponse(body(), media_type="text/plain")

        @app.get("/events")
        async def events() -> StreamingResponse:
            async def body() -> AsyncIterator[str]:
                yield "data: 0\n\n"
                raise ValueError("out of paper")

            return StreamingResponse(body(), media_type="text/event-stream")

        @app.get("/slow")
        async def slow() -> int:
            return await self.doubler.slow()

        @app.get("/fails")
        async def fails() -> int:
            raise ValueError("out of paper")

        @app.websocket("/talk")
        async def talk(socket: WebSocket) -> None:
            await socket.accept()
            async for text in socket.iter_text():
                await socket.send_text(str(await self.doubler.double(int(text))))
