"""Streams over HTTP: media types, endings good and bad, slow readers, clients that leave, and the end of the gateway."""

import asyncio
import json

import pytest
from gateway_services import Held, Streams
from wire_client import get, post, until

from motet.gateway.limits import Limits

pytestmark = pytest.mark.anyio

EVENTS, LINES, TEXT, BYTES = "text/event-stream", "application/x-ndjson", "text/plain; charset=utf-8", "application/octet-stream"


@pytest.fixture
async def served(serve, gate):
    return await serve(Streams.bind(gate()))


@pytest.fixture
async def client(served):
    return await served.connect()


@pytest.fixture
async def held(serve, gate):
    """A service that waits for the test, its gates, and the gateway before it."""
    reached, cancelled = gate("reached"), gate("cancelled")
    served = await serve(Held.bind(reached, cancelled))
    return served, reached, cancelled


MEDIA = [
    ("/count", {"to": 2}, None, EVENTS, b"data: 0\n\ndata: 1\n\nevent: end\ndata: {}\n\n"),
    ("/count", {"to": 2}, EVENTS, EVENTS, b"data: 0\n\ndata: 1\n\nevent: end\ndata: {}\n\n"),
    ("/count", {"to": 2}, LINES, LINES, b"0\n1\n"),
    ("/count", {"to": 0}, EVENTS, EVENTS, b"event: end\ndata: {}\n\n"),
    ("/count", {"to": 0}, LINES, LINES, b""),
    ("/notes", {"to": 1}, EVENTS, EVENTS, b'data: {"text":"line\\nbreak","page":0}\n\nevent: end\ndata: {}\n\n'),
    ("/words", {"words": ["a", "", "b c"]}, LINES, LINES, b'"a"\n""\n"b c"\n'),
    ("/words", {"words": ["a", "", "b c"]}, "text/plain", TEXT, b"ab c"),
    ("/parts", {"sizes": [1, 0, 2]}, None, BYTES, b"xxx"),
    ("/parts", {"sizes": [100_000] * 20}, BYTES, BYTES, b"x" * 2_000_000),
]


@pytest.mark.parametrize("case", MEDIA)
async def test_media_types(client, case):
    """A stream comes as the client accepts it, in chunks, and the connection goes on."""
    path, body, accept, media, expected = case
    answer = await client.ask(post(path, body, *([f"Accept: {accept}"] if accept else [])))
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, media, expected)
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.complete
    assert (await client.ask(get("/healthz"))).status == 200


async def test_items_that_are_ready_come_together(client):
    """The first item comes by itself, those that are ready with it in few chunks, in order, and all of them before an error."""
    await client.send(post("/notes", {"to": 300}, f"Accept: {LINES}"))
    assert (await client.head())[0] == 200
    chunks = []
    while chunk := await client.chunk():
        chunks.append(chunk)
    assert chunks[0].count(b"\n") == 1
    assert len(chunks) < 300 / 8
    assert [json.loads(line)["page"] for line in b"".join(chunks).splitlines()] == list(range(300))
    answer = await client.ask(post("/broken", {"after": 100}, f"Accept: {LINES}"))
    *items, error = map(json.loads, answer.body.splitlines())
    assert items == list(range(100))
    assert error["error"]["message"] == "out of paper"


@pytest.mark.parametrize("case", MEDIA)
async def test_http_1_0_streams_to_the_end_of_the_connection(client, case):
    """A client of HTTP/1.0 gets no chunks."""
    path, body, accept, media, expected = case
    answer = await client.ask(post(path, body, "Connection: keep-alive", *([f"Accept: {accept}"] if accept else []), version="1.0"))
    assert "transfer-encoding" not in answer.headers
    assert (answer.headers["content-type"], answer.headers["connection"], answer.body) == (media, "close", expected)


async def test_items_arrive_as_they_are_made(held):
    """An item isn't kept until the next."""
    served, reached, _ = held
    client = await served.connect()
    await client.send(post("/lines", {"number": 7}, f"Accept: {LINES}"))
    assert (await client.head())[0] == 200
    assert await client.chunk() == b"7\n"
    await reached.until_reached()
    reached.open()
    assert await client.chunk() == b"8\n"
    assert await client.chunk() == b""


async def test_failure_before_the_first_item_is_an_error(client):
    """A stream that fails at once has a status like any answer."""
    answer = await client.ask(post("/broken", {"after": 0}))
    assert (answer.status, answer.error["type"], answer.error["message"]) == (500, "ValueError", "out of paper")
    assert (await client.ask(post("/count", {"to": "x"}))).status == 422


async def test_failure_in_the_middle_is_said(client):
    """Events and lines say it in words, and end well as far as HTTP goes."""
    answer = await client.ask(post("/broken", {"after": 1}, "X-Request-ID: r1"))
    error = b'{"error":{"type":"ValueError","message":"out of paper","request_id":"r1"}}'
    assert answer.complete
    assert answer.body == b"data: 0\n\nevent: error\ndata: " + error + b"\n\n"
    answer = await client.ask(post("/broken", {"after": 1}, "X-Request-ID: r1", f"Accept: {LINES}"))
    assert answer.complete
    assert answer.body == b"0\n" + error + b"\n"


async def test_failure_of_plain_text_cuts_the_connection(served):
    """Text and bytes have no words for it: the body is never complete."""
    client = await served.connect()
    answer = await client.ask(post("/broken_words", {"after": 2}, "Accept: text/plain"))
    assert (answer.status, answer.body, answer.complete) == (200, b"word word ", False)
    old = await served.connect()
    with pytest.raises(ConnectionResetError):
        await old.ask(post("/broken_words", {"after": 2}, "Accept: text/plain", version="1.0"))


async def test_slow_reader_slows_the_producer(serve, gate):
    """Items aren't made far ahead of a client that doesn't read, and go on when it does."""
    produced = gate()
    served = await serve(Streams.bind(produced))
    client = await served.connect()
    client.writer.transport.pause_reading()
    await client.send(post("/endless", {"size": 200_000}))
    # The sockets' buffers take what they take; then the credit runs out.
    (connection,) = served.gateway._state.connections
    await until(lambda: not connection.writable and not the_request(served).credit > 0)
    made = produced.count()
    served.gateway.sweep()
    assert (await (await served.connect()).ask(get("/healthz"))).status == 200
    assert produced.count() == made
    client.writer.transport.resume_reading()
    await client.head()
    assert {len(await client.chunk()) for _ in range(made + 200)} == {200_000}
    assert produced.count() >= made + 200


def the_request(served):
    (request,) = served.engine._replicas["Streams"]._requests
    return request


async def test_client_that_leaves_cancels_its_request(held):
    """The running endpoint is cancelled, and what is queued behind it never begins."""
    served, reached, cancelled = held
    client = await served.connect()
    await client.send(post("/wait", {"number": 1}) + post("/wait", {"number": 2}))
    await reached.until_reached()
    client.reset()
    await cancelled.until_reached()
    await until(lambda: served.engine._replicas["Held"].busy == 0)
    assert reached.count() == 1


async def test_client_that_leaves_cancels_its_stream(held):
    """A stream that nobody reads ends."""
    served, reached, cancelled = held
    client = await served.connect()
    await client.send(post("/lines", {"number": 1}))
    await reached.until_reached()
    client.reset()
    await cancelled.until_reached()
    await until(lambda: served.engine._replicas["Held"].busy == 0)


async def test_client_that_leaves_while_nobody_reads_it(serve, gate):
    """A client whose pipeline is full is noticed when it leaves with a reset."""
    reached, cancelled = gate(), gate()
    served = await serve(Held.bind(reached, cancelled), limits=Limits(waiting=2))
    client = await served.connect()
    await client.send(post("/wait", {"number": 1}) * 4)
    await reached.until_reached()
    client.reset()
    reached.open()
    await until(lambda: served.gateway.connections == 0)
    assert served.engine._replicas["Held"].busy == 0


# -- the end -----------------------------------------------------------------------------------------------------------


async def test_drain_finishes_what_runs(held):
    """Requests and streams get their answers, idle connections close, and who comes now hears that the server stops."""
    served, reached, _ = held
    waiting, streaming, idle = [await served.connect() for _ in range(3)]
    await waiting.send(post("/wait", {"number": 1}))
    await streaming.send(post("/lines", {"number": 2}, f"Accept: {LINES}"))
    await reached.until_reached(2)
    await idle.ask(post("/echo", {"number": 3}))
    draining = asyncio.create_task(served.gateway.drain(30))
    assert await idle.end() == b""
    for _ in range(2):
        late = await served.connect()
        answer = await late.ask(post("/echo", {"number": 4}))
        assert (answer.status, answer.error["type"], answer.headers["connection"]) == (503, "ShuttingDown", "close")
        assert await late.end() == b""
    assert not draining.done()
    reached.open()
    answer = await waiting.answer()
    assert (answer.json, answer.headers["connection"]) == (1, "close")
    assert (await streaming.answer()).body == b"2\n3\n"
    for client in (waiting, streaming):
        assert await client.end() == b""
        client.reset()
    assert await draining is True
    late = await served.connect()
    assert (await late.ask(post("/echo", {"number": 4}))).status == 503
    await served.gateway.close()
    assert await late.end() == b""
    with pytest.raises(ConnectionRefusedError):
        await served.connect()


async def test_drain_refuses_what_comes(held):
    """A request that was on its way gets 503; readiness is gone, and probes are answered."""
    served, reached, _ = held
    late, probe, waiting = [await served.connect() for _ in range(3)]
    await waiting.send(post("/wait", {"number": 1}))
    await reached.until_reached()
    await late.send(post("/echo", {"number": 1})[:30])
    await probe.send(get("/readyz")[:10])
    await until(lambda: sum(connection._reader.phase for connection in served.gateway._state.connections) == 2)
    draining = asyncio.create_task(served.gateway.drain(30))
    await until(lambda: served.gateway._state.draining)
    answer = await late.ask(post("/echo", {"number": 1})[30:])
    assert (answer.status, answer.headers["retry-after"], answer.headers["connection"]) == (503, "1", "close")
    assert answer.error["type"] == "ShuttingDown"
    answer = await probe.ask(get("/readyz")[10:])
    assert (answer.status, answer.json["missing"]) == (503, {"gateway": "it is stopping"})
    reached.open()
    assert (await waiting.answer()).json == 1
    for client in (late, probe, waiting):
        client.reset()
    assert await draining is True


async def test_drain_cuts_what_takes_too_long(held):
    """After the drain time what still runs is cancelled."""
    served, reached, cancelled = held
    client = await served.connect()
    await client.send(post("/wait", {"number": 1}))
    await reached.until_reached()
    assert await served.gateway.drain(0) is False
    await cancelled.until_reached()
    assert await client.end() == b""
    assert served.gateway.connections == 0
