"""ASGI apps in front of services: FastAPI with handles in it."""

import asyncio

import httpx
import pytest
import websockets
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from web_services import Doubler, Front

import motet

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def front(serve_shared, shared_gate):
    return await serve_shared(Front.bind(Doubler.bind(shared_gate()), shared_gate(), shared_gate()))


async def test_routes(front):
    assert (await front.get("/doubled/21")).json() == 42
    assert (await front.get("/in_thread/4")).json() == 8
    assert (await front.get("/doubled/x")).status_code == 422
    assert (await front.get("/stream")).text == "0 2 4 "
    answer = await front.get("/nothing")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
    assert (await front.post("/doubled/1")).status_code == 405


async def test_the_route_and_the_lifespan(front):
    """The app knows under which path it is, and its lifespan's state."""
    answer = (await front.get("/")).json()
    route = front.base_url.path.rstrip("/")
    assert answer == {"root": route, "url": str(front.base_url).rstrip("/") + "/doubled/1", "state": 42}
    assert (await front.get(str(front.base_url).rstrip("/"))).status_code in (200, 307)


async def test_other_methods_and_uploads(front):
    assert (await front.patch("/file", files={"file": ("a", b"x" * 3_000_000)})).json() == {"name": "a", "size": 3_000_000}
    assert (await front.options("/file")).status_code == 405


async def test_endpoints_beside_it(front):
    assert (await front.post("/own", json={"number": 3})).json() == -3
    assert (await front.get("/own")).status_code == 405


async def test_errors(front):
    assert (await front.get("/fails")).status_code == 500
    assert (await front.get("/doubled/2")).json() == 4


async def test_a_websocket(front):
    url = str(front.base_url).replace("http", "ws", 1).rstrip("/")
    async with websockets.connect(url + "/talk", proxy=None) as socket:
        await socket.send("4")
        assert await socket.recv() == "8"


async def test_a_stream_that_breaks(serve, gate):
    """An app's streams are its own: no event is added that its clients don't know of."""
    front = await serve(Front.bind(Doubler.bind(gate()), gate(), gate()))
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await front.get("/events")


async def test_a_client_that_leaves(serve, gate):
    """What a route has called is cancelled with it."""
    slow = gate("slow")
    front = await serve(Front.bind(Doubler.bind(slow), gate(), gate()))
    call = asyncio.create_task(front.get("/slow"))
    await slow.until_reached()
    call.cancel()
    await slow.until_reached(2)


async def test_the_lifespan(running, gate):
    started, stopped = gate("started"), gate("stopped")
    async with running(Front.bind(Doubler.bind(gate()), started, stopped)) as front:
        await started.until_reached()
        assert await front.own(1) == -1
        with pytest.raises(motet.UsageError, match="needs an HTTP request"):
            front.app()
    await stopped.until_reached()


class Clash(motet.Service):
    @motet.endpoint
    async def same(self) -> int:
        return 1

    @motet.ingress
    def app(self) -> FastAPI:
        app = FastAPI()
        app.add_route("/same", lambda request: PlainTextResponse("no"))
        return app


class Failing(motet.Service):
    @motet.ingress
    def app(self) -> FastAPI:
        async def lifespan(app):
            raise ValueError("no model")
            yield

        return FastAPI(lifespan=lifespan)


@pytest.mark.filterwarnings("ignore:.*lifespan.*:DeprecationWarning")
async def test_apps_that_cannot_start(running):
    with pytest.raises(motet.StartError, match="a route that an endpoint has too"):
        await running(Clash.bind())
    with pytest.raises(motet.StartError, match="startup failed"):
        await running(Failing.bind())
