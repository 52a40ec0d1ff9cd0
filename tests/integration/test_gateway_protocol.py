"""HTTP/1 on the wire: framing, keep-alive, pipelining, malformed requests, limits in time, closing."""

import asyncio
import random
import re

import pytest
from gateway_services import Desk, Held, Streams
from wire_client import get, post, until

from motet.gateway.heads import MAX_HEADS
from motet.gateway.limits import Limits
from motet.gateway.reading import BODY, HEAD

pytestmark = pytest.mark.anyio

ADD = post("/add", {"a": 1})
CHUNKED = b"POST /size HTTP/1.1\r\nHost: test\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
async def served(serve):
    return await serve(Desk.bind())


@pytest.fixture
async def client(served):
    return await served.connect()


async def test_keep_alive(client):
    """One connection serves request after request."""
    for number in range(5):
        answer = await client.ask(post("/add", {"a": number}))
        assert (answer.status, answer.version, answer.json) == (200, "HTTP/1.1", number + 1)
        assert "connection" not in answer.headers


async def test_close_is_obeyed(client):
    """`Connection: close` ends the connection after the answer, and what follows is ignored."""
    answer = await client.ask(post("/add", {"a": 1}, "Connection: close"), ADD)
    assert (answer.json, answer.headers["connection"]) == (2, "close")
    assert await client.end() == b""


async def test_http_1_0(served):
    """HTTP/1.0 closes, unless the client asks for keep-alive and hears that it has it."""
    client = await served.connect()
    answer = await client.ask(post("/add", {"a": 1}, version="1.0"))
    assert (answer.json, answer.headers["connection"]) == (2, "close")
    assert await client.end() == b""
    client = await served.connect()
    for _ in range(2):
        answer = await client.ask(post("/add", {"a": 1}, "Connection: keep-alive", version="1.0"))
        assert (answer.json, answer.headers["connection"]) == (2, "keep-alive")


async def test_requests_in_pieces(client):
    """A request may arrive byte by byte."""
    request = post("/note", {"text": "slow"}, "X-Request-ID: pieces")
    answer = await client.ask(*[request[i : i + 1] for i in range(len(request))])
    assert (answer.status, answer.headers["x-request-id"]) == (200, "pieces")


async def test_pipelined_requests_are_answered_in_order(client):
    """Hundreds of requests in one packet, endpoints and pages and errors mixed, are answered one by one in order."""
    expected = []
    packet = b""
    for number in range(300):
        kind = number % 4
        packet += [post("/add", {"a": number}), get("/healthz"), post("/nope", {"a": 1}), post("/add", {"a": "x"})][kind]
        expected.append([200, 200, 404, 422][kind])
    await client.send(packet)
    for number, status in enumerate(expected):
        answer = await client.answer()
        assert answer.status == status
        if number % 4 == 0:
            assert answer.json == number + 1


async def test_pipelined_requests_run_one_after_the_other(serve, gate):
    """The second of two pipelined requests begins when the first is answered."""
    held, cancelled = gate(), gate()
    client = await (await serve(Held.bind(held, cancelled))).connect()
    await client.send(post("/wait", {"number": 1}) + post("/wait", {"number": 2}) + post("/echo", {"number": 3}))
    await held.until_reached()
    assert held.count() == 1
    held.open()
    assert [(await client.answer()).json for _ in range(3)] == [1, 2, 3]
    assert held.count() == 2


async def test_pipelining_is_bounded(serve, gate):
    """While a request runs, only so many behind it are read; the rest stays with the client."""
    held, cancelled = gate(), gate()
    served = await serve(Held.bind(held, cancelled), limits=Limits(waiting=4))
    client = await served.connect()
    await client.send(post("/wait", {"number": 0}))
    await held.until_reached()
    connection = the_connection(served)
    # As much as fits into the sockets' buffers, and more: the client's own buffer keeps the rest.
    for _ in range(200_000):
        client.writer.write(post("/echo", {"number": 1}, "X-Filler: " + "x" * 1000))
        if client.writer.transport.get_write_buffer_size() > 1_000_000:
            break
    assert client.writer.transport.get_write_buffer_size() > 1_000_000
    await until(lambda: connection._paused)
    assert len(connection._waiting) < 400  # what one read holds
    held.open()
    assert (await client.answer()).json == 0
    assert [(await client.answer()).json for _ in range(1000)] == [1] * 1000


async def test_same_answers_however_it_is_cut(served):
    """Where packets begin and end makes no difference."""
    stream = (
        post("/add", {"a": 1}, "X-Request-ID: 1")
        + CHUNKED.replace(b"Host", b"X-Request-ID: 2\r\nHost")
        + b"3\r\nabc\r\n5;x=y\r\ndefgh\r\n0\r\nTrailer: x\r\n\r\n"
        + get("/add", "X-Request-ID: 3")
        + post("/nope", {"a": 1}, "X-Request-ID: 4")
        + get("/docs", "X-Request-ID: 5", method="HEAD")
        + post("/size", b"12", "X-Request-ID: 6", content_type="application/octet-stream")
        + b"\r\n"
        + post("/add", {"a": "x"}, "X-Request-ID: 7", "Connection: close")
    )

    async def answers(pieces):
        client = await served.connect()
        await client.send(*pieces)
        return await client.end()

    whole = await answers([stream])
    assert whole.count(b"x-request-id: ") == 7
    generator = random.Random(7)
    for _ in range(40):
        cuts = sorted(generator.sample(range(1, len(stream)), generator.randint(1, 30)))
        assert await answers([stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]) == whole


async def test_the_same_heads_again_and_again(served):
    """A head that came before means the same as the first time, wherever packets begin and end, and whatever comes between."""
    rounds = b"".join(
        post("/add", {"a": 1})
        + post("/add", {"a": number})
        + post("/size", b"\r\n\r\n", content_type="application/octet-stream")
        + get("/add")
        + CHUNKED
        + b"3\r\nabc\r\n0\r\n\r\n"
        + post("/note", {"text": "POST /add HTTP/1.1\r\n\r\n"}, "X-Request-ID: mine")
        + b"\r\n\r\n"
        + post("/nope", {"a": 1})
        for number in range(6)
    )
    stream = rounds + post("/add", {"a": 9}, "Connection: close") + ADD

    async def answers(pieces):
        client = await served.connect()
        await client.send(*pieces)
        text = await client.end()
        assert text.count(b"x-request-id: mine\r\n") == 6
        return re.sub(rb"(x-request-id: |request_id\":\")[0-9a-f]{16}", b"", text)

    served.publish()  # forgets all heads
    whole = await answers([stream])
    assert whole.count(b"HTTP/1.1 ") == 6 * 7 + 1
    generator = random.Random(11)
    for _ in range(60):
        cuts = sorted(generator.sample(range(1, len(stream)), generator.randint(1, 60)))
        assert await answers([stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]) == whole
    assert await answers([stream[i : i + 1] for i in range(len(stream))]) == whole


async def test_heads_are_forgotten_with_their_routes(served):
    """What a head meant under other routes counts for nothing."""
    client = await served.connect()
    for _ in range(3):
        assert (await client.ask(ADD)).status == 200
    served.gateway.set_apps([])
    assert (await client.ask(ADD)).status == 404
    served.publish()
    assert (await client.ask(ADD)).status == 200


async def test_too_many_heads(served):
    """Clients with ever new headers are served, and don't fill the memory."""
    client = await served.connect()
    for number in range(2 * MAX_HEADS + 10):
        assert (await client.ask(post("/add", {"a": 1}, f"X-New: {number}"))).status == 200
    assert len(served.gateway._state.heads._heads) <= MAX_HEADS


async def test_a_known_head_without_its_body(served):
    """The limits in time hold for a body whose head is known; it is refused once, and nothing is read behind it."""
    client = await served.connect()
    for _ in range(2):
        assert (await client.ask(ADD)).status == 200
    await client.send(get("/add", "X-Request-ID: before", method="HEAD"))
    assert (await client.answer(bodiless=True)).status == 405
    await client.send(ADD[:-2])
    await until(lambda: the_connection(served)._reader.phase == BODY)
    served.gateway.sweep(11)
    answer = await client.answer()
    assert (answer.status, answer.error["type"]) == (408, "RequestTimeout")
    assert answer.headers["x-request-id"] != "before"
    await client.send(ADD[-2:] + ADD)
    assert await client.end() == b""


# -- what is odd -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [10, 40, -1])
async def test_clients_that_leave_in_the_middle(served, cut):
    """Half a request and then nothing breaks nothing."""
    client = await served.connect()
    await client.send(ADD[:cut])
    client.reset()
    other = await served.connect()
    assert (await other.ask(ADD)).json == 2


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "TRACE", "PATCH"])
async def test_wrong_methods_keep_the_connection(client, method):
    """405, without a body for HEAD, and the next request is understood."""
    await client.send(get("/add", method=method) + ADD)
    answer = await client.answer(bodiless=method == "HEAD")
    assert (answer.status, answer.headers["allow"]) == (405, "POST, OPTIONS")
    assert (await client.answer()).json == 2


async def test_refused_requests_lose_their_body(client):
    """The body of a request that is refused isn't taken for the next request."""
    await client.send(post("/nope", ADD) + post("/add", ADD, content_type="text/plain") + b"PUT" + post("/add", ADD)[4:] + ADD)
    assert [(await client.answer()).status for _ in range(4)] == [404, 415, 405, 200]


async def test_other_protocols_are_ignored(client):
    """A request that offers another protocol is served as it is, its body too, and so are those behind it."""
    offer = post("/add", {"a": 5}, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    await client.send(offer + offer, ADD)
    assert [(await client.answer()).json for _ in range(3)] == [6, 6, 2]
    answer = await client.ask(b"CONNECT test:80 HTTP/1.1\r\nHost: test\r\n\r\nxx")
    assert (answer.status, answer.headers["connection"]) == (405, "close")
    assert await client.end() == b""


async def test_absolute_urls(client):
    """A proxy's way to write a URL leads to the same endpoint."""
    assert (await client.ask(post("http://test/add?x", {"a": 1}))).json == 2
    assert (await client.ask(post("/%61dd", {"a": 1}))).json == 2


async def test_answers_cannot_be_split(client):
    """Nothing that a client sends ends a header of its answer."""
    answer = await client.ask(post("/nope%0d%0aX-Evil:%201", {"a": 1}, "X-Request-ID: a%0d%0aX-Evil:1"))
    assert answer.status == 404
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize(("status", "expected"), [(400, 400), (599, 599), (200, 500), (99999, 500)])
async def test_error_statuses_of_endpoints_are_errors(client, status, expected):
    """An endpoint can't answer an error with 200 or with what is no status; one without a name works."""
    answer = await client.ask(post("/fail", {"status": status, "message": "line\r\nbreak"}))
    assert (answer.status, answer.error["message"]) == (expected, "line\r\nbreak")


# -- 100-continue ------------------------------------------------------------------------------------------------------


async def test_continue(client):
    """A client that asks first is told to go on, and then served."""
    request = post("/add", {"a": 1}, "Expect: 100-continue")
    head, body = request.split(b"\r\n\r\n")
    await client.send(head + b"\r\n\r\n")
    assert await client.head() == (100, "HTTP/1.1", {})
    assert (await client.ask(body)).json == 2


async def test_continue_waits_for_its_turn(serve, gate):
    """While a request before it runs, nothing is said."""
    held, cancelled = gate(), gate()
    client = await (await serve(Held.bind(held, cancelled))).connect()
    head, body = post("/echo", {"number": 2}, "Expect: 100-continue").split(b"\r\n\r\n")
    await client.send(post("/wait", {"number": 1}) + head + b"\r\n\r\n")
    await held.until_reached()
    held.open()
    assert (await client.answer()).json == 1
    assert await client.head() == (100, "HTTP/1.1", {})
    assert (await client.ask(body)).json == 2


@pytest.mark.parametrize(("path", "length", "status"), [("/add", 5, 415), ("/size", 1 << 40, 413)])
async def test_no_continue_for_what_is_refused(client, path, length, status):
    """A client that asks first hears the error before it sends the body."""
    lines = [f"POST {path} HTTP/1.1", "Host: test", f"Content-Length: {length}", "Content-Encoding: br", "Expect: 100-continue", "", ""]
    answer = await client.ask("\r\n".join(lines).encode())
    assert (answer.status, answer.headers["connection"]) == (status, "close")
    assert await client.end() == b""


# -- sizes -------------------------------------------------------------------------------------------------------------

LARGE_HEADS = {
    "one long value": [b"POST /add HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"],
    "a value without end": [b"POST /add HTTP/1.1\r\nHost: a\r\nX: ", *[b"x" * 10_000] * 60],
    "a name without end": [b"POST /add HTTP/1.1\r\nHost: a\r\n", *[b"x" * 10_000] * 60],
    "a path without end": [b"POST /", *[b"x" * 10_000] * 60],
    "many fields": [b"POST /add HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X%d: 1\r\n" % i for i in range(101)) + b"\r\n"],
    "fields without end": [b"POST /add HTTP/1.1\r\nHost: a\r\n", *[b"X: 1234567890\r\n" * 700] * 60],
    "trailers without end": [CHUNKED + b"1\r\na\r\n0\r\nX: ", *[b"x" * 10_000] * 60],
    "chunk extension without end": [CHUNKED + b"1;x=", *[b"x" * 10_000] * 60],
}


@pytest.mark.parametrize("pieces", LARGE_HEADS.values(), ids=LARGE_HEADS)
async def test_large_heads(client, pieces):
    """Heads over the limits are refused, also those that never end; the client sees the answer although it still sends."""
    sending = asyncio.create_task(client.send(*pieces))
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"], answer.error["type"]) == (431, "close", "HeadersTooLarge")
    assert await client.end() == b""
    await sending


async def test_long_pipelines_are_no_large_heads(client):
    """What counts is one request's head, not what came in one packet."""
    request = post("/add", {"a": 1}, "X-Filler: " + "x" * 900)
    count = 150
    sending = asyncio.create_task(client.send(request * count))
    assert [(await client.answer()).json for _ in range(count)] == [2] * count
    await sending


async def test_large_body_is_refused_before_it_is_read(client):
    """Content-Length is enough, and a client that sends anyway sees the answer."""
    sending = asyncio.create_task(
        client.send(b"POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n", *[b"x" * 100_000] * 100)
    )
    answer = await client.answer()
    assert (answer.status, answer.error["found"]) == (413, "100000000 bytes")
    assert await client.end() == b""
    await sending


# -- times -------------------------------------------------------------------------------------------------------------

TIMES = Limits(header_time=10, body_time=60, body_idle=20, keep_alive=75, write_stall=60)


def the_connection(served):
    (connection,) = served.gateway._state.connections
    return connection


async def reading(served, phase):
    """Wait until the gateway has read so much of a request."""
    await until(lambda: the_connection(served)._reader.phase == phase)


async def test_silent_connection(serve):
    """A connection that never says anything is closed after the time for headers."""
    served = await serve(Desk.bind(), limits=TIMES)
    client = await served.connect()
    await until(lambda: served.gateway.connections == 1)
    served.gateway.sweep(10)
    assert served.gateway.connections == 1
    served.gateway.sweep(1)
    assert await client.end() == b""


async def test_idle_connection(serve):
    """A connection that was used stays for the keep-alive time."""
    served = await serve(Desk.bind(), limits=TIMES)
    client = await served.connect()
    await client.ask(ADD)
    served.gateway.sweep(70)
    assert (await client.ask(ADD)).json == 2
    served.gateway.sweep(70)
    assert (await client.ask(ADD)).json == 2
    served.gateway.sweep(76)
    assert await client.end() == b""


@pytest.mark.parametrize("used", [False, True])
async def test_slow_head(serve, used):
    """Headers that dribble get 408, however busy they look."""
    served = await serve(Desk.bind(), limits=TIMES)
    client = await served.connect()
    if used:
        await client.ask(ADD)
    await client.send(b"POST /add HTTP/1.1\r\n")
    await reading(served, HEAD)
    served.gateway.sweep(6)
    await client.send(b"X: y\r\nZ: ")
    await until(lambda: b"x" in the_connection(served)._reader._headers)
    served.gateway.sweep(6)
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"], answer.error["type"]) == (408, "close", "RequestTimeout")
    assert await client.end() == b""


async def test_stopped_body(serve):
    """A body that stops gets 408."""
    served = await serve(Desk.bind(), limits=TIMES)
    client = await served.connect()
    await client.send(ADD[:-2])
    await reading(served, BODY)
    served.gateway.sweep(20)
    assert served.gateway.connections == 1
    served.gateway.sweep(1)
    assert (await client.answer()).status == 408
    assert await client.end() == b""


async def test_dribbling_body(serve):
    """A body that goes on and on gets 408 after its time."""
    served = await serve(Desk.bind(), limits=TIMES)
    client = await served.connect()
    await client.send(post("/size", b"x" * 1000)[:-899])
    await reading(served, BODY)
    reader = the_connection(served)._reader
    for size in range(102, 106):
        await client.send(b"x")
        await until(lambda size=size: len(reader._body) == size)
        served.gateway.sweep(15)
    assert served.gateway.connections == 1
    served.gateway.sweep(1)
    assert (await client.answer()).status == 408


async def test_running_request_has_no_limit_here(serve, gate):
    """A client that waits for its answer isn't idle."""
    held, cancelled = gate(), gate()
    served = await serve(Held.bind(held, cancelled), limits=TIMES)
    client = await served.connect()
    await client.send(post("/wait", {"number": 1}))
    await held.until_reached()
    served.gateway.sweep(1000)
    held.open()
    assert (await client.answer()).json == 1


async def test_client_that_stops_reading(serve, gate):
    """A client that takes nothing of its answer is cut, one that takes a little is not; a stream is cancelled then."""
    produced = gate()
    served = await serve(Streams.bind(produced), limits=TIMES)
    client = await served.connect()
    client.writer.transport.pause_reading()
    await client.send(post("/endless", {"size": 100_000}))
    await until(lambda: not the_connection(served).writable)
    busy = served.engine._replicas["Streams"]
    assert busy.busy == 1
    served.gateway.sweep(50)
    served.gateway.sweep(60)
    assert busy.busy == 1
    served.gateway.sweep(1)
    await until(lambda: not busy.busy)
    assert served.gateway.connections == 0


@pytest.mark.parametrize("headers", [[], ["Connection: close"]])
async def test_client_that_reads_slowly_is_not_cut(served, headers):
    """Taking a part of an answer in time is enough, also of the last."""
    client = await served.connect()
    client.writer.transport.pause_reading()
    await client.send(post("/blob", {"size": 30_000_000}, *headers))
    await until(lambda: not the_connection(served).writable)
    transport = the_connection(served)._transport
    served.gateway.sweep(50)
    left = transport.get_write_buffer_size()
    client.writer.transport.resume_reading()
    await client.reader.readexactly(10_000_000)
    client.writer.transport.pause_reading()
    await until(lambda: transport.get_write_buffer_size() < left)
    served.gateway.sweep(50)
    assert not transport.is_closing()
    served.gateway.sweep(61)
    await until(lambda: served.gateway.connections == 0)


async def test_answers_do_not_pile_up(served):
    """While a client doesn't take an answer, its next request waits."""
    client = await served.connect()
    client.writer.transport.pause_reading()
    await client.send(post("/blob", {"size": 30_000_000}))
    await until(lambda: not the_connection(served).writable)
    await client.send(ADD)
    await until(lambda: len(the_connection(served)._waiting) == 1)
    client.writer.transport.resume_reading()
    assert len((await client.answer()).body) == 30_000_000
    assert (await client.answer()).json == 2


async def test_time_in_which_nobody_reads_does_not_count(serve, gate):
    """A request whose rest waits because the gateway paused has its full time afterwards."""
    held, cancelled = gate(), gate()
    served = await serve(Held.bind(held, cancelled), limits=Limits(waiting=1))
    client = await served.connect()
    request = post("/echo", {"number": 2})
    await client.send(post("/wait", {"number": 1}) + request + request[:-5])
    await held.until_reached()
    await until(lambda: the_connection(served)._paused)
    served.gateway.sweep(1000)
    held.open()
    assert [(await client.answer()).json for _ in range(2)] == [1, 2]
    served.gateway.sweep(5)
    assert (await client.ask(request[-5:])).json == 2


async def test_connections_over_the_limit(serve):
    """One too many gets 503 at once, and room is made when one leaves."""
    served = await serve(Desk.bind(), limits=Limits(connections=2))
    clients = [await served.connect() for _ in range(2)]
    for client in clients:
        await client.ask(ADD)
    third = await served.connect()
    answer = await third.answer()
    assert (answer.status, answer.headers["retry-after"], answer.headers["connection"]) == (503, "1", "close")
    assert await third.end() == b""
    assert (await clients[0].ask(ADD)).json == 2
    clients[0].reset()
    third.reset()
    await until(lambda: served.gateway.connections == 1)
    assert (await (await served.connect()).ask(ADD)).json == 2


async def test_refused_client_that_does_not_leave(serve):
    """A client that was refused and never closes is cut."""
    served = await serve(Desk.bind(), limits=Limits(linger=5))
    client = await served.connect()
    assert (await client.ask(b"FOO / HTTP/1.1\r\n\r\n")).status == 400
    served.gateway.sweep(5)
    assert served.gateway.connections == 1
    served.gateway.sweep(1)
    await until(lambda: served.gateway.connections == 0)
