"""Graphs inside somebody's own web application."""

import asyncio
import contextlib
import json
import socket

import httpx
import pytest
import uvicorn
import websockets
from fastapi import FastAPI
from web_services import ENDINGS, Doubler, Front, Sockets, Web

import motet
from motet.testing import PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning:websockets.*")]


@contextlib.asynccontextmanager
async def hosted(app):
    """Run an ASGI app in uvicorn and give a client."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="websockets-sansio"))
        serving = asyncio.create_task(server._serve([listening]))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False) as client:
            yield client
        server.should_exit = True
        await serving


@pytest.fixture
def mounted(engine):
    """Mount an app at /models of another, which has a route of its own."""

    @contextlib.asynccontextmanager
    async def mount(app):
        models = motet.asgi(app, engine=engine)
        main = FastAPI(lifespan=models.lifespan)

        @main.get("/own")
        async def own() -> str:
            return "mine"

        main.mount("/models", models)
        async with hosted(main) as client:
            yield client

    return mount


async def test_endpoints(mounted, gate, tmp_path):
    async with mounted(Web.bind(gate(), gate(), str(tmp_path))) as client:
        assert (await client.get("/own")).json() == "mine"
        assert (await client.get("/models/search?words=a&words=b")).json() == ["a", "b"]
        assert (await client.post("/models/register", json={"name": "Ada", "age": 36})).json() == "Ada is 36"
        wrong = await client.post("/models/register", json={"name": "Ada"})
        assert (wrong.status_code, wrong.json()["error"]["type"]) == (422, "InvalidInput")
        assert (await client.get("/models/nothing")).status_code == 404
        assert (await client.put("/models/register")).status_code == 405
        assert "/search" in (await client.get("/models/openapi.json")).json()["paths"]
        assert (await client.get("/models/docs")).status_code == 200
        seen = (await client.get("/models/seen?q=1", headers={"x-own": "a", "cookie": "a=b"})).json()
        assert (seen["path"], seen["query"], seen["cookies"]) == ("/models/seen", {"q": "1"}, {"a": "b"})
        head = await client.head("/models/file")
        assert (head.status_code, head.headers["content-length"], head.content) == (200, "10000", b"")


async def test_bodies_and_streams(mounted, gate, tmp_path):
    reached, cancelled = gate("reached"), gate("cancelled")
    async with mounted(Web.bind(reached, cancelled, str(tmp_path))) as client:

        async def pieces():
            for _ in range(100):
                yield b"x" * 100_000

        assert (await client.post("/models/size", content=pieces())).json() == 10_000_000
        assert (await client.post("/models/size", content=b"x" * 3_000_000)).json() == 3_000_000
        assert len((await client.get("/models/large?size=20000000")).content) == 20_000_000
        assert (await client.get("/models/counted?to=2")).text.endswith("event: end\ndata: {}\n\n")
        files = {"files": ("a", b"a")}
        answer = await client.post("/models/upload", files=files, data={"title": "t", "tags": ["1"]})
        assert answer.json()["files"] == [["a", 1]]
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/models/broken")
        async with client.stream("GET", "/models/pieces") as answer:
            assert await anext(answer.aiter_bytes()) == b"first "
        await cancelled.until_reached()


async def test_websockets(mounted, gate):
    reached, cancelled = gate("reached"), gate("cancelled")
    async with mounted(Sockets.bind(reached, cancelled)) as client:
        base = str(client.base_url).replace("http", "ws", 1).rstrip("/") + "/models"
        async with websockets.connect(base + "/echo", proxy=None) as talk:
            await talk.send("hello")
            assert await talk.recv() == "HELLO"
        async with websockets.connect(base + "/json?start=1", subprotocols=["sums"], proxy=None) as talk:
            assert talk.subprotocol == "sums"
        for path, messages, code, reason in ENDINGS:
            async with websockets.connect(base + path, proxy=None) as talk:
                assert [await talk.recv() for _ in messages] == messages
                with pytest.raises(websockets.ConnectionClosed) as info:
                    await talk.recv()
                assert (info.value.rcvd.code, info.value.rcvd.reason) == (code, reason)
        for path, status in (("/answered", 402), ("/failed_early", 418), ("/nothing", 404)):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(base + path, proxy=None)
            assert refused.value.response.status_code == status
            assert (path == "/failed_early") == ("x-own" in refused.value.response.headers)
        talk = await websockets.connect(base + "/waiting", proxy=None)
        await reached.until_reached()
        talk.transport.abort()
        await cancelled.until_reached()


async def test_refusals_where_the_server_around_knows_one_only(engine, gate):
    """A server without the extension for answers is told to close; a status without a name is none the worse."""
    models = motet.asgi(Sockets.bind(gate(), gate()), engine=engine)
    received = [{"type": "websocket.connect"}]
    sent = []

    async def receive():
        return received.pop() if received else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    async with models.lifespan(), asyncio.timeout(PATIENCE):
        await models({"type": "websocket", "path": "/answered_oddly", "headers": []}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]


async def test_long_messages_of_websockets(mounted, gate):
    """Credit counts bytes: letters with more than one, and refusals, get all of theirs."""
    async with mounted(Sockets.bind(gate(), gate())) as client:
        base = str(client.base_url).replace("http", "ws", 1).rstrip("/") + "/models"
        async with websockets.connect(base + "/echo", proxy=None) as talk:
            for _ in range(6):
                await talk.send("é" * 100_000)
                assert await talk.recv() == "É" * 100_000
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(base + "/refused_at_length", proxy=None)
        assert len(refused.value.response.body) == 1_000_000


async def test_context_of_websockets(mounted, gate):
    async with mounted(Sockets.bind(gate(), gate())) as client:
        base = str(client.base_url).replace("http", "ws", 1).rstrip("/") + "/models"
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        headers = [("traceparent", trace), ("x-request-id", "mine"), ("cookie", "a=b"), ("cookie", "c=d")]
        async with websockets.connect(base + "/traced", proxy=None, additional_headers=headers) as talk:
            found = json.loads(await talk.recv())
        assert (found["id"], found["cookies"]) == ("mine", {"a": "b", "c": "d"})
        assert found["trace"].startswith("00-0af7651916cd43dd8448eb211c80319c-")


FRAMINGS = {
    "in pieces": ([(b"content-length", b"8")], 2),
    "shorter than it says": ([(b"content-length", b"100")], 1),
    "of two lengths": ([(b"content-length", b"8"), (b"transfer-encoding", b"chunked")], 2),
}


@pytest.mark.parametrize("case", FRAMINGS)
async def test_bodies_that_are_not_as_long_as_their_headers_say(engine, gate, case):
    """An application around may have changed a body; what is beyond its length is no request of its own."""
    headers, pieces = FRAMINGS[case]
    reached = gate("reached")
    body = b'{"a": 1}' + b"POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}"
    messages = [body] if pieces == 1 else [body[:4], body[4:]]
    models = motet.asgi(Doubler.bind(reached), engine=engine)

    async def ask(path, headers, *pieces, sent):
        received = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        received[-1]["more_body"] = False

        async def receive():
            return received.pop(0) if received else await asyncio.Event().wait()

        await models({"type": "http", "method": "POST", "path": path, "headers": headers}, receive, sent)

    async def sent(message):
        """Take the answer after another request, which a hidden one would come before."""
        if message["type"] == "http.response.start":
            await ask("/double", [(b"content-type", b"application/json")], b'{"number": 1}', sent=later)
            statuses.append(message["status"])

    async def later(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    statuses = []
    async with models.lifespan(), asyncio.timeout(PATIENCE):
        await ask("/nothing", headers, *messages, sent=sent)
    assert statuses == [200, 404]
    assert reached.count() == 0


async def test_a_request_that_breaks(engine, gate):
    """What goes wrong around it ends a request."""
    models = motet.asgi(Doubler.bind(gate()), engine=engine)

    async def receive():
        if received:
            return received.pop()
        raise OSError("lost")

    async def send(message):
        sent.append(message)

    received, sent = [{"type": "http.request", "body": b"{", "more_body": True}], []
    async with models.lifespan():
        with pytest.raises(ConnectionResetError):
            await models({"type": "http", "method": "POST", "path": "/double", "headers": []}, receive, send)
    assert sent == []


async def test_an_ingress(mounted, gate):
    async with mounted(Front.bind(Doubler.bind(gate()), gate(), gate())) as client:
        assert (await client.get("/models/doubled/4")).json() == 8
        root = (await client.get("/models/")).json()
        assert (root["root"], root["url"]) == ("/models", str(client.base_url).rstrip("/") + "/models/doubled/1")


async def test_without_an_application_around_it(engine, gate):
    """Alone in a server it starts and stops with the server."""
    started, stopped = gate("started"), gate("stopped")
    async with hosted(motet.asgi(Front.bind(Doubler.bind(gate()), started, stopped), engine=engine)) as client:
        await started.until_reached()
        assert (await client.post("/own", json={"number": 1})).json() == -1
    await stopped.until_reached()


async def test_without_a_lifespan(engine, gate):
    """An application that doesn't pass its lifespan on has the graph started by the first request."""
    models = motet.asgi(Front.bind(Doubler.bind(gate()), gate(), gate()), engine=engine)
    main = FastAPI()
    main.mount("/models", models)
    async with hosted(main) as client:
        assert (await client.post("/models/own", json={"number": 1})).json() == -1
        await models.stop()
