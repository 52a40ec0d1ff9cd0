"""WebSockets: messages, handshakes, closing from either side."""

import asyncio
import contextlib

import pytest
import websockets
from web_services import ENDINGS, Sockets
from websockets.exceptions import ConnectionClosed, InvalidStatus

from motet.testing import PATIENCE

pytestmark = pytest.mark.anyio


@pytest.fixture
async def held(serve, gate):
    """The service with gates of the test's own."""
    reached, cancelled = gate("reached"), gate("cancelled")
    return opener(await serve(Sockets.bind(reached, cancelled))), reached, cancelled


@pytest.fixture(scope="module")
async def sockets(serve_shared, shared_gate):
    return opener(await serve_shared(Sockets.bind(shared_gate(), shared_gate())))


def opener(client):
    """Return what opens WebSockets of a served app."""
    base = str(client.base_url).replace("http", "ws", 1).rstrip("/")
    return lambda path, **options: websockets.connect(base + path, open_timeout=PATIENCE, close_timeout=1, proxy=None, **options)


async def test_text(sockets):
    async with sockets("/echo") as socket:
        assert socket.response.headers["x-own"] == "yes"
        for text in ("hello", "", "größer", "x" * 300_000):
            await socket.send(text)
            assert await socket.recv() == text.upper()
        await socket.send(["in ", "pieces"])
        assert await socket.recv() == "IN PIECES"


async def test_bytes(sockets):
    async with sockets("/raw") as socket:
        for data in (b"", b"abc", bytes(range(256)) * 4000):
            await socket.send(data)
            assert await socket.recv() == data[::-1]


async def test_json_arguments_and_subprotocols(sockets):
    async with sockets("/json?start=5", subprotocols=["other", "sums"]) as socket:
        assert socket.subprotocol == "sums"
        await socket.send('{"add": 2}')
        assert await socket.recv() == '{"total":7}'
    async with sockets("/json?start=5") as socket:
        assert socket.subprotocol is None


REFUSED = [("/denied", 403), ("/answered", 402), ("/failed_early", 418), ("/json?start=x", 422), ("/nothing", 404)]


@pytest.mark.parametrize("case", REFUSED)
async def test_refused_handshakes(sockets, case):
    path, status = case
    with pytest.raises(InvalidStatus) as info:
        await sockets(path)
    assert info.value.response.status_code == status


async def test_headers_of_a_refusal(sockets):
    with pytest.raises(InvalidStatus) as info:
        await sockets("/failed_early")
    assert info.value.response.headers["x-own"] == "yes"


async def test_pages_of_other_servers(sockets):
    """A browser lets every page open WebSockets to everywhere, so the gateway looks where the page is from."""
    with pytest.raises(InvalidStatus) as info:
        await sockets("/echo", additional_headers={"origin": "http://evil.example"})
    assert info.value.response.status_code == 403
    async with sockets("/echo") as socket:
        own = f"http://{socket.request.headers['host']}"
    async with sockets("/echo", additional_headers={"origin": own}) as socket:
        await socket.send("a")
        assert await socket.recv() == "A"


@pytest.mark.parametrize("case", ENDINGS)
async def test_endings(sockets, case):
    path, messages, code, reason = case
    async with sockets(path) as socket:
        assert [await socket.recv() for _ in messages] == messages
        with pytest.raises(ConnectionClosed) as info:
            await socket.recv()
    assert (info.value.rcvd.code, info.value.rcvd.reason) == (code, reason)


async def test_a_large_message(sockets):
    async with sockets("/raw") as socket:
        with contextlib.suppress(ConnectionClosed):
            await socket.send(b"x" * (17 << 20))
        with pytest.raises(ConnectionClosed) as info:
            await socket.recv()
    assert info.value.rcvd.code == 1009


async def test_text_that_is_none(sockets):
    async with sockets("/echo") as socket:
        socket.protocol.send_text(b"\xff\xfe")
        for data in socket.protocol.data_to_send():
            socket.transport.write(data)
        with pytest.raises(ConnectionClosed) as info:
            await socket.recv()
    assert info.value.rcvd.code == 1007


async def test_a_ping(sockets):
    async with sockets("/echo") as socket:
        await asyncio.wait_for(await socket.ping(), PATIENCE)


@pytest.mark.parametrize("path", ["/waiting", "/endless"])
@pytest.mark.parametrize("leave", ["close", "vanish"])
async def test_a_client_that_leaves(held, path, leave):
    """An endpoint hears that its client has gone, whatever it does: it reads it, fails to write, or is cancelled."""
    sockets, _, cancelled = held
    socket = await sockets(path)
    if leave == "vanish":
        socket.transport.abort()
    else:
        closing = asyncio.create_task(socket.close())
        await cancelled.until_reached()
        await closing
    await cancelled.until_reached()
    await socket.wait_closed()


async def test_a_slow_endpoint(held):
    """A client can't send more than fits on the way while nobody reads, and loses nothing."""
    sockets, reached, _ = held
    async with sockets("/swallow", write_limit=1024) as socket:
        sent = 0

        async def send():
            nonlocal sent
            for _ in range(400):
                await socket.send(b"x" * 100_000)
                sent += 100_000
            await socket.send(b"end")

        sending = asyncio.create_task(send())
        async with sockets("/echo") as other:
            await other.send("a")
            assert await other.recv() == "A"
        assert sent < 40_000_000
        reached.open()
        assert await socket.recv() == str(40_000_003)
        await sending


async def test_a_slow_client(held):
    """An endpoint can't send more than fits on the way while its client doesn't read."""
    sockets, _, cancelled = held
    async with sockets("/endless", max_queue=1) as socket:
        for _ in range(300):
            assert len(await socket.recv()) == 60_000
    await cancelled.until_reached()


async def test_tasks_that_read_together(sockets):
    """Each gets a message."""
    async with sockets("/read_together") as socket, asyncio.timeout(PATIENCE):
        await socket.send("a")
        await socket.send("b")
        assert await socket.recv() == "a b"


async def test_tasks_that_send_together(sockets):
    """Several tasks may send over one WebSocket; each goes on when its client has read enough."""
    async with sockets("/together", max_queue=1) as socket, asyncio.timeout(PATIENCE):
        for _ in range(200):
            assert len(await socket.recv()) == 60_000
