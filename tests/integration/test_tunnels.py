"""What goes through tunnels when processes die, clients are odd, keys are asked for, and servers stop."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import httpx
import pytest
import websockets
from fastapi import FastAPI
from starlette.responses import StreamingResponse
from websockets.exceptions import ConnectionClosed, InvalidStatus
from wire_client import get, until

import motet
from motet.gateway.limits import Limits
from motet.testing import PATIENCE, Gate

pytestmark = pytest.mark.anyio
WINDOW = 4 << 20  # bytes; more than all windows and socket buffers on the way


class Hall(motet.Service):
    """Talks as long as its clients like."""

    def __init__(self, reached: Gate) -> None:
        self.reached = reached

    @motet.endpoint
    async def talk(self, socket: motet.WebSocket) -> None:
        await socket.accept()
        self.reached.reached()
        async for text in socket.iter_text():
            await socket.send_text(text)

    @motet.endpoint
    async def refuse(self, socket: motet.WebSocket) -> None:
        await socket.send_denial_response(motet.Response(b"x" * 200_000, status_code=402))

    @motet.endpoint
    async def size(self, request: motet.Request) -> int:
        total = 0
        async for piece in request.stream():
            if total == 0:
                self.reached.reached()
            total += len(piece)
        return total

    @motet.endpoint(idempotent=True)
    async def late(self, request: motet.Request) -> int:
        self.reached.reached()
        await self.reached.wait()
        return len(await request.body())

    @motet.endpoint(methods=("GET",))
    async def stream(self, size: int) -> StreamingResponse:
        async def body():
            for _ in range(size):
                yield b"x" * 1_000_000

        return StreamingResponse(body())

    @motet.endpoint(methods=("GET",), idempotent=True)
    async def drip(self) -> StreamingResponse:
        async def body():
            yield b"first"
            self.reached.reached()
            await self.reached.wait()
            yield b"last"

        return StreamingResponse(body())

    @motet.endpoint(methods=("GET",))
    async def headers(self) -> motet.Response:
        odd = {
            "Connection": "X-Secret, keep-alive",
            "x-secret": "1",
            "transfer-encoding ": "chunked",
            "set-cookie\r": "a=b",
            "x-own": "yes",
        }
        return motet.Response(b"hello", headers=odd)


@pytest.fixture
async def local(gate):
    """The service in a process of its own, its URL, and a gate that it says it has reached."""
    reached = gate("reached")
    async with motet.run(Hall.bind(reached), port=0):
        status = next(server for server in await motet.status() if server.engine == "local")
        yield status, reached


def replica_pid(status):
    return status.apps[0].nodes[0].replicas[0].pid


def sockets_of(url):
    return url.replace("http", "ws", 1)


async def test_a_replica_that_dies_ends_its_websockets(local):
    status, reached = local
    async with websockets.connect(sockets_of(status.url) + "/talk", proxy=None) as socket:
        await reached.until_reached()
        os.kill(replica_pid(status), signal.SIGKILL)
        with pytest.raises(ConnectionClosed) as info:
            await socket.recv()
    assert info.value.rcvd.code == 1011
    assert "ReplicaDied" in info.value.rcvd.reason


async def test_a_replica_that_dies_in_an_upload(local):
    """The client hears of it while it sends."""
    status, reached = local
    killed = asyncio.Event()

    async def pieces():
        yield b"x" * 1_000_000
        await killed.wait()
        yield b"x" * 1_000_000

    async with httpx.AsyncClient(base_url=status.url, timeout=PATIENCE, trust_env=False) as client:
        call = asyncio.create_task(client.post("/size", content=pieces()))
        await reached.until_reached()
        os.kill(replica_pid(status), signal.SIGKILL)
        killed.set()
        answer = await call
        assert (answer.status_code, answer.json()["error"]["type"]) == (502, "ReplicaDied")
        assert (await client.post("/size", content=b"xyz")).json() == 3  # a new one


async def test_a_request_that_nobody_has_read_is_repeated(local):
    """What a replica hasn't taken of a body is kept, and goes to the next one if the first dies."""
    status, reached = local
    async with httpx.AsyncClient(base_url=status.url, timeout=PATIENCE, trust_env=False) as client:
        call = asyncio.create_task(client.post("/late", content=b"x" * 100_000))
        await reached.until_reached()
        os.kill(replica_pid(status), signal.SIGKILL)
        await reached.until_reached(2)
        reached.open()
        assert (await call).json() == 100_000


async def test_an_answer_that_has_begun_is_not_repeated(local):
    """It is cut, though the endpoint is idempotent: another replica would begin it once more, in its middle."""
    status, reached = local
    async with (
        httpx.AsyncClient(base_url=status.url, timeout=PATIENCE, trust_env=False) as client,
        client.stream("GET", "/drip") as answer,
    ):
        pieces = answer.aiter_bytes()
        assert await anext(pieces) == b"first"
        os.kill(replica_pid(status), signal.SIGKILL)
        reached.open()
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(pieces)


async def test_an_upload_is_in_nobodys_memory(local):
    """Neither gateway nor replica grows by what it passes on."""
    status, _ = local
    pids = [replica_pid(status), *status.gateways]

    def peak():
        return sum(int(line.split()[1]) for p in pids for line in Path(f"/proc/{p}/status").read_text().splitlines() if "VmHWM" in line)

    async with httpx.AsyncClient(base_url=status.url, timeout=PATIENCE, trust_env=False) as client:

        async def pieces():
            for _ in range(60):
                yield b"x" * 1_000_000

        assert (await client.post("/size", content=b"x" * 1_000_000)).json() == 1_000_000
        before = peak()
        assert (await client.post("/size", content=pieces())).json() == 60_000_000
        async with client.stream("GET", "/stream?size=60") as answer:
            assert sum([len(piece) async for piece in answer.aiter_bytes()]) == 60_000_000
        assert (peak() - before) << 10 < 3 * WINDOW


async def test_a_replica_that_stops_ends_its_websockets(gate):
    """Reloading or deleting an app tells clients to come again."""
    reached = gate("reached")
    running = motet.run(Hall.bind(reached), port=0, name="hall")
    other = motet.run(Hall.bind(gate()).options(name="other"), port=0, name="other")
    async with other:
        await running
        url = next(server.url for server in await motet.status() if server.engine == "local")
        async with websockets.connect(sockets_of(url) + "/hall/talk", proxy=None) as socket:
            await reached.until_reached()
            deleting = motet.delete("hall")
            with pytest.raises(ConnectionClosed) as info:
                await socket.recv()
            await deleting
    assert info.value.rcvd.code == 1012


async def test_a_gateway_that_stops_ends_its_websockets(serve, gate):
    reached = gate("reached")
    served = await serve(Hall.bind(reached))
    async with websockets.connect(sockets_of(served.url) + "/talk", proxy=None) as socket:
        await reached.until_reached()
        draining = asyncio.create_task(served.gateway.drain(PATIENCE))
        with pytest.raises(ConnectionClosed) as info:
            await socket.recv()
        assert await draining
    assert info.value.rcvd.code == 1001


async def test_keys(serve, gate):
    """A handshake without the key is refused before the endpoint hears of it."""
    served = await serve(Hall.bind(gate()), api_keys=["secret"])
    url = sockets_of(served.url) + "/talk"
    with pytest.raises(InvalidStatus) as info:
        await websockets.connect(url, proxy=None)
    assert info.value.response.status_code == 401
    assert info.value.response.headers["www-authenticate"] == "Bearer"
    async with websockets.connect(url, proxy=None, additional_headers={"authorization": "Bearer secret"}) as socket:
        await socket.send("in")
        assert await socket.recv() == "in"
    client = await served.http()
    assert (await client.post("/size", content=b"x")).status_code == 401
    assert (await client.post("/size", content=b"x", headers={"x-api-key": "secret"})).json() == 1


async def test_a_client_that_answers_no_ping(serve, gate):
    served = await serve(Hall.bind(gate()))
    client = await served.connect()
    lines = ["GET /talk HTTP/1.1", "Host: a", "Upgrade: websocket", "Connection: Upgrade"]
    await client.send("\r\n".join([*lines, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13", "", ""]).encode())
    assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    served.gateway.sweep(21)
    assert await client.reader.readexactly(2) == b"\x89\x00"
    served.gateway.sweep(41)
    assert (await client.reader.read()).startswith(b"\x88")  # a close, and the end


HANDSHAKE = (
    b"GET /talk HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
)


async def test_a_message_right_behind_the_handshake(serve, gate):
    served = await serve(Hall.bind(gate()))
    client = await served.connect()
    await client.send(HANDSHAKE + b"\r\n\x81\x82\0\0\0\0hi")
    assert (await client.head())[0] == 101
    async with asyncio.timeout(PATIENCE):
        assert await client.reader.readexactly(4) == b"\x81\x02hi"


@pytest.mark.parametrize("origin", [b"http://[", b"http://\xff", b"null", b"//"])
async def test_origins_that_are_none(serve, gate, origin):
    served = await serve(Hall.bind(gate()))
    client = await served.connect()
    await client.send(HANDSHAKE + b"Origin: " + origin + b"\r\n\r\n")
    assert (await client.answer()).status == 403


async def test_a_client_that_pings_and_takes_nothing(serve, gate):
    """Answers to its pings don't pile up."""
    served = await serve(Hall.bind(gate()))
    client = await served.connect()
    await client.send(HANDSHAKE + b"\r\n")
    assert (await client.head())[0] == 101
    client.writer.transport.pause_reading()
    client.writer.write((b"\x89\xfd\0\0\0\0" + b"x" * 125) * (6 * WINDOW // 125))
    await until(lambda: not served.gateway.connections)


@pytest.mark.parametrize("takes", [True, False])
async def test_a_refusal_that_is_taken_slowly(serve, gate, takes):
    """An answer instead of a WebSocket has the time that any other has: as long as the client takes of it."""
    served = await serve(Hall.bind(gate()))
    client = await served.connect()
    await until(lambda: served.gateway.connections)
    (connection,) = served.gateway._state.connections
    transport = connection._transport
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    client.writer.transport.pause_reading()
    await client.send(HANDSHAKE.replace(b"/talk", b"/refuse") + b"\r\n")
    await until(transport.is_closing)
    assert transport.get_write_buffer_size() > 0
    served.gateway.sweep(50)
    if takes:
        client.writer.transport.resume_reading()
        assert len((await client.answer()).body) == 200_000
    else:
        served.gateway.sweep(50)
    await until(lambda: not served.gateway.connections)


async def test_a_message_of_many_empty_frames(serve, gate):
    served = await serve(Hall.bind(gate()))
    client = await served.connect()
    await client.send(HANDSHAKE + b"\r\n\x01\x81\0\0\0\0h")
    assert (await client.head())[0] == 101
    await client.send(b"\x00\x80\0\0\0\0" * 1000, b"\x80\x81\0\0\0\0i")
    async with asyncio.timeout(PATIENCE):
        assert await client.reader.readexactly(4) == b"\x81\x02hi"


async def test_headers_of_the_connection(serve, gate):
    """What is about one connection isn't the endpoint's to set, and nothing becomes such a header on its way."""
    served = await serve(Hall.bind(gate()))
    client = await served.connect()
    await client.send(b"GET /headers HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = await client.answer()
    assert (answer.status, answer.body, answer.headers["x-own"]) == (200, b"hello", "yes")
    assert not {"connection", "x-secret", "transfer-encoding", "set-cookie"} & answer.headers.keys()


async def test_endpoints_that_speak_websocket_only(serve, gate):
    served = await serve(Hall.bind(gate()))
    client = await served.connect()
    answer = await client.ask(get("/talk"))
    assert (answer.status, answer.headers["upgrade"]) == (426, "websocket")
    broken = get("/talk", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 12")
    answer = await client.ask(broken)
    assert (answer.status, answer.headers["connection"]) == (400, "close")


CUT = [
    (b"POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 200\r\n\r\nxx", b"", 413),
    (b"POST /late HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxx\r\n", b"zz\r\n", 400),
    (b"POST /late HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxx\r\n", b"ff\r\n" + b"x" * 255, 413),
]


@pytest.mark.parametrize("case", CUT)
async def test_bodies_that_go_wrong(serve, gate, case):
    """A fault in the middle of a body is answered though the endpoint runs already, and ends it."""
    first, second, status = case
    reached = gate("reached")
    served = await serve(Hall.bind(reached), limits=Limits(body=100))
    client = await served.connect()
    await client.send(first)
    if second:
        await reached.until_reached()
        await client.send(second)
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (status, "close")
    await until(lambda: all(replica.busy == 0 for replica in served.engine._replicas.values()))


async def test_a_body_that_stops(serve, gate):
    reached = gate("reached")
    served = await serve(Hall.bind(reached))
    client = await served.connect()
    await client.send(b"POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nxx")
    await reached.until_reached()
    served.gateway.sweep(11)
    assert (await client.answer()).status == 408


async def test_expectations(serve, gate):
    """The client is asked for its body when the request has its turn."""
    served = await serve(Hall.bind(gate()))
    client = await served.connect()
    await client.send(b"POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(b"abc")
    assert (await client.answer()).body == b"3"


async def test_pipelined_requests(serve, gate):
    served = await serve(Hall.bind(gate()))
    client = await served.connect()
    await client.send(b"".join(b"POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (n, b"x" * n) for n in range(20)))
    assert [(await client.answer()).body for _ in range(20)] == [b"%d" % n for n in range(20)]


async def test_an_old_client(serve, gate):
    served = await serve(Hall.bind(gate()))
    client = await served.connect()
    await client.send(b"GET /stream?size=1 HTTP/1.0\r\n\r\n")
    answer = await client.answer()
    assert (answer.status, len(answer.body)) == (200, 1_000_000)
    assert "transfer-encoding" not in answer.headers


async def test_pages_of_allowed_origins(serve, gate):
    served = await serve(Hall.bind(gate()), cors=["https://app.example"])
    url = sockets_of(served.url) + "/talk"
    async with websockets.connect(url, proxy=None, origin="https://app.example"):
        pass
    with pytest.raises(InvalidStatus):
        await websockets.connect(url, proxy=None, origin="https://other.example")


class Front(motet.Service):
    """A web application that wants paths of the server, and an endpoint that looks who asks."""

    @motet.endpoint(methods=("GET",))
    async def who(self, request: motet.Request) -> str:
        current = motet.current_request()
        return current.request_id if current is not None else "nobody"

    @motet.ingress
    def app(self) -> FastAPI:
        return FastAPI()


async def test_paths_of_the_server_stay_its_own(serve):
    """An application at the route `/` has all paths but those; below another route it has those, too."""
    served = await serve(Front.bind())
    client = await served.http()
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert "/who" in (await client.get("/openapi.json")).json()["paths"]
    assert (await client.get("/v1/nothing")).json()["error"]["type"] == "NotFound"
    assert (await client.get("/nothing")).json() == {"detail": "Not Found"}
    await served.deploy(Front.bind(), name="other", route="/other")
    assert (await client.get("/other/openapi.json")).json()["info"]["title"] == "FastAPI"
    assert (await client.get("/others")).json() == {"detail": "Not Found"}
    assert (await client.get("/who", headers={"x-request-id": "mine"})).json() == "mine"


async def test_connecting(serve, gate):
    """`motet.connect` has no requests of its own to give, and says so."""
    served = await serve(Hall.bind(gate()))
    async with motet.connect(served.url, Hall) as hall:
        for name in ("talk", "size", "stream"):
            with pytest.raises(motet.UsageError, match=f"Hall.{name} can't be called through motet.connect"):
                getattr(hall, name)()
