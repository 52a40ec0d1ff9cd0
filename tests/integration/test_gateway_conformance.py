"""HTTP/1.1 against those who break it: hostile requests, cut anywhere, and mutated ones beside another parser's opinion.

`make fuzz` runs the mutations for longer.
"""

import asyncio
import contextlib
import dataclasses
import os
import random
import re
from dataclasses import dataclass

import h11
import pytest
from gateway_services import Desk
from hostile_requests import CHUNKED, LIMITS, SMALL
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire_client import Answer, Client, get, post

import motet
from motet.gateway.limits import Limits

pytestmark = pytest.mark.anyio

EXAMPLES = int(os.environ.get("MOTET_FUZZ", "150"))
FUZZ = settings(
    max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
async def port(serve):
    return (await serve(Desk.bind(), limits=Limits(body=BODY_LIMIT))).port


@pytest.fixture(scope="module")
def local_port():
    with motet.run(Desk.bind(), port=0):
        (server,) = motet.status().result()
        yield int(server.url.rpartition(":")[2])


def numbered(number):
    """Return a request that is told from all others by its body and its id, which both come back."""
    return post("/echo", b"body of %d" % number, f"X-Request-ID: number-{number}", content_type="application/octet-stream")


def is_answer_to(answer, number):
    return (answer.status, answer.body, answer.headers["x-request-id"]) == (200, b"body of %d" % number, f"number-{number}")


@contextlib.asynccontextmanager
async def connected(port):
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield client
    finally:
        client.reset()


async def serves(port):
    """Whether a new client is served."""
    async with connected(port) as client:
        return is_answer_to(await client.ask(numbered(3)), 3)


@contextlib.asynccontextmanager
async def being_sent(client, data, cuts):
    """Send bytes in pieces while the answers are read."""
    places = sorted({cut for cut in cuts if 0 < cut < len(data)})
    sending = asyncio.create_task(client.send(*(data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True))))
    yield
    await asyncio.wait([sending])  # it fails if the gateway closes


async def survives(case, port, *, cuts=()):
    """Check what becomes of a case between two good requests, sent in one piece or several."""
    async with connected(port) as client, being_sent(client, numbered(1) + case.data + numbered(2), cuts):
        assert is_answer_to(await client.answer(), 1)
        for status in case.statuses:
            answer = await client.answer()
            assert answer.status == status
            assert answer.body != b"smuggled"
        if case.closes:
            assert answer.headers["connection"] == "close"
            assert await client.end() == b""
        else:
            assert is_answer_to(await client.answer(), 2)


@pytest.mark.parametrize("case", [*SMALL.values(), *LIMITS.values()], ids=[*SMALL, *LIMITS])
async def test_hostile_requests(port, case):
    """Each is refused and the connection closed, or the request behind gets exactly its own answer; and the next client is served."""
    await survives(case, port)
    assert await serves(port)


@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
async def test_hostile_requests_byte_by_byte(port, case):
    """The same in packets of one byte."""
    await survives(case, port, cuts=range(10_000))


@FUZZ
@given(case=st.sampled_from(list(SMALL.values())), cuts=st.lists(st.integers(1, 600), max_size=8))
async def test_hostile_requests_in_pieces(port, case, cuts):
    """The same, cut anywhere."""
    await survives(case, port, cuts=cuts)


@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
async def test_hostile_requests_that_are_read_as_they_come(port, case):
    """The same for an endpoint that gets the request before its body is complete: an error in the body ends the connection."""
    await survives(dataclasses.replace(case, data=case.data.replace(b"/echo", b"/read")), port)
    assert await serves(port)


@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
async def test_hostile_requests_that_nobody_reads(port, case):
    """An endpoint that answers without a look at the body, which may come to light as no body later on."""
    data = numbered(1) + case.data.replace(b"/echo", b"/deaf") + numbered(2)
    async with connected(port) as client, being_sent(client, data, range(0, len(data), 7)):
        assert is_answer_to(await client.answer(), 1)
        in_sync = closed = False
        while not (in_sync or closed):
            try:
                answer = await client.answer()
            except asyncio.IncompleteReadError as error:
                closed = error.partial == b""
                assert closed
            else:
                in_sync = is_answer_to(answer, 2)
                assert in_sync or (answer.status in (200, *case.statuses) and answer.body != b"smuggled")
        assert closed or not case.closes
    assert await serves(port)


@pytest.mark.parametrize("path", [b"/echo", b"/read"])
async def test_hostile_requests_to_a_gateway_process(local_port, path):
    """The same where the gateway is a process of its own, in two pieces."""
    generator = random.Random(3)
    for name, case in (SMALL | LIMITS).items():
        try:
            changed = dataclasses.replace(case, data=case.data.replace(b"/echo", path))
            await survives(changed, local_port, cuts=[generator.randrange(1, len(case.data))])
        except AssertionError as error:
            error.add_note(f"case: {name}")
            raise


GOOD = {
    "sized": post("/echo", b"0123456789", "X-Request-ID: sized", content_type="application/octet-stream"),
    "chunked": CHUNKED.replace(b"Host", b"X-Request-ID: chunked\r\nHost") + b"3;a=b\r\nabc\r\n00a\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
    "streamed": CHUNKED.replace(b"/echo", b"/read").replace(b"Host", b"X-Request-ID: streamed\r\nHost")
    + b"3\r\nabc\r\n7\r\n0123456\r\n0\r\n\r\n",
    "ignored": post("/deaf", b"0123456789", "X-Request-ID: ignored"),
    "json": post("/note", {"text": "a"}, "X-Request-ID: json", "Accept: */*"),
    "page": get("/healthz", "X-Request-ID: page"),
    "old": post("/echo", b"old", "X-Request-ID: old", "Connection: keep-alive", content_type="application/octet-stream", version="1.0"),
    "offer": post("/echo", b"offer", "X-Request-ID: offer", "Connection: Upgrade", "Upgrade: h2c", content_type="application/octet-stream"),
    "wrong": post("/nope", b"xx", "X-Request-ID: wrong"),
}


READ = {name: request for name, request in GOOD.items() if name != "ignored"}  # that one may be answered before it ends


@pytest.mark.parametrize("request_", READ.values(), ids=READ)
async def test_truncated_requests(port, request_):
    """A request that ends early, wherever, is not answered as if it were whole."""
    for end in range(1, len(request_)):
        async with connected(port) as client:
            client.writer.write(request_[:end])
            client.writer.write_eof()
            assert (await client.end()).partition(b"\r\n")[0] in (b"", b"HTTP/1.1 400 Bad Request")
    assert await serves(port)


# -- mutations ---------------------------------------------------------------------------------------------------------

TOKENS = [
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b":", b",", b";", b"0", b"1", b"-", b"+", b"x", b"\xff", b"/", b"#", b'"'),
    *(b"0\r\n\r\n", b"\r\n\r\n", b"chunked", b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Transfer-Encoding: identity\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"Host: b\r\n", b"X: y\r\n z\r\n"),
    *(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", b"HEAD", b"HTTP/1.0", b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"http://a"),
]
PLACES = st.integers(0, 2000)
MUTATIONS = st.one_of(
    st.tuples(st.just("insert"), PLACES, st.sampled_from(TOKENS)),
    st.tuples(st.just("replace"), PLACES, st.sampled_from(TOKENS)),
    st.tuples(st.just("byte"), PLACES, st.binary(min_size=1, max_size=1)),
    st.tuples(st.just("delete"), PLACES, st.integers(1, 12)),
    st.tuples(st.just("repeat"), PLACES, st.integers(1, 60)),
)


def mutated(data, mutations):
    for kind, place, what in mutations:
        at = place % (len(data) + 1)
        if kind == "insert":
            data = data[:at] + what + data[at:]
        elif kind in ("replace", "byte"):
            data = data[:at] + what + data[at + len(what) :]
        elif kind == "delete":
            data = data[:at] + data[at + what :]
        else:
            data = data[:at] + data[at : at + what] * 2 + data[at + what :]
    return data


BODY_LIMIT = 4096
END = bytes(2 * BODY_LIMIT)  # completes whatever body a request claims to have, and is no request


@dataclass(frozen=True)
class Taken:
    """A request as a parser understood it."""

    method: bytes
    target: bytes
    request_id: str
    body: bytes


LENIENT = rb"\A[\r\n]*([A-Z]+ ) *([^ \r\n]+ ) *"  # empty lines and more than one space: no faults by RFC 9112, and h11 takes them for some


def opinion(data):
    """Return the requests that another parser finds in the bytes, up to the first fault."""
    found = []
    with contextlib.suppress(h11.RemoteProtocolError):
        while True:
            connection = h11.Connection(h11.SERVER)
            connection.receive_data(re.sub(LENIENT, rb"\1\2", data))
            request, body = connection.next_event(), b""
            if not isinstance(request, h11.Request):
                break
            while isinstance(event := connection.next_event(), h11.Data):
                body += bytes(event.data)
            if not isinstance(event, h11.EndOfMessage):
                break
            ids = [value for name, value in request.headers if name == b"x-request-id"]
            found.append(Taken(request.method, request.target, b", ".join(ids).decode("latin-1"), body))
            kept = request.http_version == b"1.0" and (b"connection", b"keep-alive") in list(request.headers)  # h11 knows it from 1.1 on
            if connection.their_state not in (h11.DONE, h11.MIGHT_SWITCH_PROTOCOL) and not kept:
                break
            data, _ = connection.trailing_data
    return found


def answers_in(data):
    """Take a sequence of answers apart; those to HEAD have no body, whatever their head says."""
    found = []
    while data:
        head_, mark, data = data.partition(b"\r\n\r\n")
        assert mark
        first, *lines = head_.decode("latin-1").split("\r\n")
        status = int(re.fullmatch(r"HTTP/1\.1 (\d{3}) [^\r\n]*", first)[1])
        if status == 100:
            assert not lines
            continue
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers["content-length"])
        has_body = data != b"" and not data.startswith(b"HTTP/1.1 ")
        body = data[: length if has_body else 0]
        data = data[len(body) :]
        found.append(Answer(status, "1.1", headers, body, complete=len(body) == length))
    return found


@FUZZ
@given(
    names=st.lists(st.sampled_from(list(GOOD)), min_size=1, max_size=4),
    mutations=st.lists(MUTATIONS, max_size=5),
    cuts=st.lists(PLACES, max_size=5),
)
async def test_mutated_requests(port, names, mutations, cuts):
    """Whatever is taken for a request is what another parser takes for one, to the byte; all else is refused, and the last of it."""
    data = mutated(b"".join(GOOD[name] for name in names), mutations) + END
    expected = opinion(data)
    async with connected(port) as client, being_sent(client, data, cuts):
        found = answers_in(await client.end())
    assert found
    assert found[-1].headers["connection"] == "close"
    for number, answer in enumerate(found):
        assert answer.status in {200, 400, 404, 405, 406, 413, 415, 422, 431}
        if answer is found[-1] and answer.status != 200:
            break  # refused, or the last that the client wanted
        assert number < len(expected), f"{answer} answers what the other parser refuses"
        taken = expected[number]
        assert taken.method == b"HEAD" or answer.complete
        if re.fullmatch("[!-~]{1,128}", taken.request_id):
            assert answer.headers["x-request-id"] == taken.request_id
        if answer.status == 200 and taken.target.endswith((b"/echo", b"/read")):
            assert answer.body == taken.body
