"""The edges of HTTP: OPTIONS, other origins, compressed bodies, expectations, request ids and traces."""

import gzip
import re
import zlib

import pytest
from gateway_services import Desk, Streams
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from wire_client import get, post

import motet
from motet.gateway.limits import Limits
from motet.testing import Gate

pytestmark = pytest.mark.anyio

PAGE = "https://app.example"
PREFLIGHT = (f"Origin: {PAGE}", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization, content-type")


@pytest.fixture
async def client(serve):
    return await (await serve(Desk.bind())).connect()


# -- methods -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/add", "POST, OPTIONS"), ("*", "GET, HEAD, POST, OPTIONS"), ("/docs", "GET, HEAD, OPTIONS"), ("/healthz", "GET, HEAD, OPTIONS")],
)
async def test_options(client, path, allowed):
    """OPTIONS says what there is, without a body, and the connection goes on."""
    for _ in range(2):
        answer = await client.ask(get(path, "X-Request-ID: me", method="OPTIONS"))
        assert (answer.status, answer.headers["allow"], answer.headers["x-request-id"]) == (204, allowed, "me")
        assert "content-length" not in answer.headers


async def test_options_needs_a_key(serve):
    """Asking for methods is asking."""
    client = await (await serve(Desk.bind(), api_keys=["k"])).connect()
    assert (await client.ask(get("/add", method="OPTIONS"))).status == 401


async def test_slash_too_many(client):
    """A path with a slash at its end is no endpoint's; the answer names the one that was meant."""
    answer = await client.ask(post("/add/", {"a": 1}))
    assert (answer.status, answer.error["instead"]) == (404, "POST /add")


# -- other origins -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def page(serve):
    """A client of a server with a key that lets a page in."""
    return await (await serve(Desk.bind(), api_keys=["k"], cors=[PAGE, "http://localhost:3000"])).connect()


@pytest.mark.parametrize("path", ["/add", "/docs", "/nope"])
async def test_preflight(page, path):
    """A browser asks without a key, and hears what its page may send; with a path that doesn't exist, too."""
    answer = await page.ask(get(path, *PREFLIGHT, method="OPTIONS"))
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-headers"] == "authorization, content-type"
    assert answer.headers["access-control-allow-methods"] == ("POST, OPTIONS" if path == "/add" else "GET, HEAD, OPTIONS")
    assert answer.headers["vary"] == "origin"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://app.example", f"{PAGE}.evil.example", f"{PAGE}:444"])
async def test_preflight_of_strangers(page, origin):
    """Any other origin is told nothing that would let it in."""
    answer = await page.ask(get("/add", f"Origin: {origin}", *PREFLIGHT[1:], method="OPTIONS"))
    assert not [name for name in answer.headers if name.startswith("access-control")]
    answer = await page.ask(post("/add", {"a": 1}, f"Origin: {origin}", "X-API-Key: k"))
    assert (answer.json, answer.headers["vary"]) == (2, "origin")
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (post("/add", {"a": 1}, f"Origin: {PAGE}", "X-API-Key: k"), 200),
        (post("/add", {"a": "x"}, f"Origin: {PAGE}", "X-API-Key: k"), 422),
        (post("/add", {"a": 1}, f"Origin: {PAGE}"), 401),
        (get("/add", f"Origin: {PAGE}", "X-API-Key: k"), 405),
        (get("/nope", f"Origin: {PAGE}", "X-API-Key: k"), 404),
        (get("/openapi.json", f"Origin: {PAGE}", "X-API-Key: k"), 200),
    ],
)
async def test_every_answer_can_be_read_by_the_page(page, request_, status):
    """Errors and side pages too: a page that can't read them can't say what went wrong."""
    answer = await page.ask(request_)
    assert (answer.status, answer.headers["access-control-allow-origin"], answer.headers["vary"]) == (status, PAGE, "origin")
    assert "x-request-id" in answer.headers["access-control-expose-headers"]


async def test_requests_without_an_origin_vary_too(page):
    """What a cache keeps of them must not be given to a page."""
    answer = await page.ask(post("/add", {"a": 1}, "X-API-Key: k"))
    assert answer.headers["vary"] == "origin"
    assert "access-control-allow-origin" not in answer.headers


async def test_every_origin(serve):
    """`*` lets everybody in, and nobody with credentials."""
    client = await (await serve(Streams.bind(produced=Gate("produced")), cors=["*"])).connect()
    answer = await client.ask(post("/count", {"to": 2}, "Origin: https://any.example"))
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
    assert "access-control-allow-credentials" not in answer.headers
    assert "vary" not in answer.headers


class Mounted(motet.Service):
    @motet.ingress
    def app(self) -> Starlette:
        async def home(request):
            return PlainTextResponse("home", headers={"access-control-allow-origin": "*", "x-own": "kept"})

        return Starlette(routes=[Route("/home", home)])


async def test_applications_with_an_opinion_of_their_own(serve):
    """What the server was told goes, and stands there once."""
    client = await (await serve(Mounted.bind(), cors=[PAGE])).connect()
    answer = await client.ask(get("/home", f"Origin: {PAGE}"))
    assert (answer.body, answer.headers["access-control-allow-origin"], answer.headers["x-own"]) == (b"home", PAGE, "kept")


async def test_malformed_header_names_are_not_echoed(serve):
    """Only names of headers are said back."""
    client = await (await serve(Desk.bind(), cors=["*"])).connect()
    answer = await client.ask(get("/add", *PREFLIGHT[:2], "Access-Control-Request-Headers: a b, <c>", method="OPTIONS"))
    assert "access-control-allow-headers" not in answer.headers


@pytest.mark.parametrize("origin", ["app.example", "https://app.example/", "https://app.example/path", "https://*.example", "", "null"])
def test_no_origins(origin):
    """What is no origin is refused at the start."""
    with pytest.raises(motet.DefinitionError, match="origin"):
        motet.HttpOptions(cors=(origin,))


# -- compressed bodies -------------------------------------------------------------------------------------------------

GZIP = "Content-Encoding: gzip"


async def test_compressed_request(client):
    """A gzip body is read, also one that comes in chunks."""
    body = gzip.compress(b'{"a": 41}')
    assert (await client.ask(post("/add", body, GZIP))).json == 42
    head = post("/add", b"", GZIP, "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
    assert (await client.ask(head + b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (body[:5], len(body) - 5, body[5:]))).json == 42


async def test_requests_behind_a_compressed_one(client):
    """Answers keep the order of the requests, whatever takes how long."""
    large = gzip.compress(b'{"a": 1, "b":' + b" " * 3_000_000 + b"1}")
    await client.send(post("/add", large, GZIP) + post("/add", {"a": 2}) + post("/add", gzip.compress(b'{"a": 3}'), GZIP))
    assert [(await client.answer()).json for _ in range(3)] == [2, 3, 4]


NO_GZIP = {
    "something else": (b'{"a": 1}', 400),
    "cut": (gzip.compress(b'{"a": 1}')[:-3], 400),
    "nothing": (b"", 400),
    "goes on": (gzip.compress(b'{"a": 1}') + b"more", 400),
    "zlib's format": (zlib.compress(b'{"a": 1}'), 400),
    "wrong checksum": (gzip.compress(b'{"a": 1}')[:-8] + bytes(8), 400),
    "bomb": (gzip.compress(bytes(20_000_000)), 413),
    "bomb in members": (gzip.compress(bytes(600_000)) * 3, 400),
}


@pytest.mark.parametrize(("body", "status"), NO_GZIP.values(), ids=NO_GZIP)
async def test_bodies_that_are_no_gzip(serve, body, status):
    """Each is refused, and the connection goes on."""
    client = await (await serve(Desk.bind(), limits=Limits(body=1_000_000))).connect()
    assert (await client.ask(post("/add", body, GZIP))).status == status
    assert (await client.ask(post("/add", {"a": 1}))).json == 2


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "deflate", "*"])
async def test_other_codings(client, coding):
    """They are refused with what could be read."""
    answer = await client.ask(post("/add", {"a": 1}, f"Content-Encoding: {coding}"))
    assert (answer.status, answer.headers["accept-encoding"]) == (415, "gzip")


async def test_client_leaves_while_its_body_is_read(serve):
    """The others are served as before."""
    served = await serve(Desk.bind())
    client = await served.connect()
    await client.send(post("/add", gzip.compress(b'{"a": 1, "b":' + b" " * 30_000_000 + b"1}"), GZIP))
    client.reset()
    other = await served.connect()
    assert (await other.ask(post("/add", {"a": 1}))).json == 2


@pytest.fixture
async def packer(serve):
    return await (await serve(Desk.bind(), gzip=True)).connect()


@pytest.mark.parametrize("accept", ["gzip", "deflate, gzip;q=0.5", "*", "GZIP", "x-gzip", "gzip;q=0.5, identity;q=0.5"])
async def test_compressed_answer(packer, accept):
    """A client that accepts gzip gets it, and can have all it wants on the connection afterwards."""
    for _ in range(2):
        answer = await packer.ask(post("/upper", {"text": "abc" * 1000}, f"Accept-Encoding: {accept}"))
        assert (answer.headers["content-encoding"], answer.headers["vary"]) == ("gzip", "accept-encoding")
        assert (len(answer.body) < 300, gzip.decompress(answer.body)) == (True, b'"' + b"ABC" * 1000 + b'"')


@pytest.mark.parametrize("accept", ["", "br", "gzip;q=0", "identity", "identity, gzip;q=0.5", "*;q=0", "gzip;q=nonsense"])
async def test_answers_to_clients_without_gzip(packer, accept):
    """They get it plain; caches hear that it might have been otherwise."""
    answer = await packer.ask(post("/upper", {"text": "abc" * 1000}, f"Accept-Encoding: {accept}"))
    assert ("content-encoding" in answer.headers, answer.headers["vary"], len(answer.body)) == (False, "accept-encoding", 3002)


async def test_what_is_not_compressed(packer):
    """Small answers, raw bytes and errors."""
    for request in (post("/upper", {"text": "a"}, "Accept-Encoding: gzip"), post("/blob", {"size": 5000}, "Accept-Encoding: gzip")):
        assert "content-encoding" not in (await packer.ask(request)).headers
    assert (await packer.ask(get("/nope", "Accept-Encoding: gzip"))).status == 404


async def test_side_pages_are_compressed(packer):
    """The documentation's script is large."""
    answer = await packer.ask(get("/docs/swagger_bundle.js", "Accept-Encoding: gzip"))
    assert (answer.headers["content-encoding"], len(gzip.decompress(answer.body)) > 2 * len(answer.body)) == ("gzip", True)
    answer = await packer.ask(get("/docs/swagger_bundle.js"))
    assert "content-encoding" not in answer.headers


async def test_streams_are_not_compressed(serve):
    """Each item leaves as soon as it is there."""
    client = await (await serve(Streams.bind(produced=Gate("produced")), gzip=True)).connect()
    answer = await client.ask(post("/count", {"to": 1000}, "Accept-Encoding: gzip", "Accept: application/x-ndjson"))
    assert ("content-encoding" in answer.headers, answer.body.count(b"\n")) == (False, 1000)


async def test_off_by_default(client):
    """Compressing takes time that nobody asked for."""
    answer = await client.ask(post("/upper", {"text": "abc" * 1000}, "Accept-Encoding: gzip"))
    assert "content-encoding" not in answer.headers
    assert "vary" not in answer.headers


# -- expectations ------------------------------------------------------------------------------------------------------


async def test_unknown_expectations(client):
    """417, before the body is sent."""
    answer = await client.ask(post("/add", {"a": 1}, "Expect: miracles")[:-8])
    assert (answer.status, answer.error["type"], answer.headers["connection"]) == (417, "ExpectationFailed", "close")
    assert await client.end() == b""


async def test_expectations_of_http_1_0_are_ignored(client):
    """They mean nothing there."""
    answer = await client.ask(post("/add", {"a": 1}, "Expect: miracles", version="1.0"))
    assert (answer.status, answer.json) == (200, 2)


# -- request ids and traces --------------------------------------------------------------------------------------------

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


class Inner(motet.Service):
    @motet.endpoint
    def seen(self) -> list[str | None]:
        request = motet.current_request()
        return [request.request_id, request.traceparent, request.tracestate, request.endpoint]


class Outer(motet.Service):
    def __init__(self, inner: Inner) -> None:
        self.inner = inner

    @motet.endpoint
    async def seen(self) -> list[list[str | None]]:
        request = motet.current_request()
        return [[request.request_id, request.traceparent, request.tracestate, request.endpoint], await self.inner.seen()]


@pytest.fixture
async def traced(serve):
    return await (await serve(Outer.bind(inner=Inner.bind()))).connect()


async def test_trace_goes_through_every_hop(traced):
    """Each hop has the same trace and a span of its own, the answer says the first; the state goes along."""
    state = "rojo=00f067aa0ba902b7 , tenant@congo=t61rcWkgMzE,"
    answer = await traced.ask(post("/seen", b"", f"traceparent: {PARENT}", f"tracestate: {state}", "X-Request-ID: it"))
    outer, inner = answer.json
    assert [each[0] for each in (outer, inner)] == ["it", "it"]
    assert [each[2] for each in (outer, inner)] == ["rojo=00f067aa0ba902b7,tenant@congo=t61rcWkgMzE"] * 2
    assert answer.headers["traceparent"] == outer[1]
    spans = [re.fullmatch(rf"00-{TRACE}-([0-9a-f]{{16}})-01", text)[1] for text in (PARENT, outer[1], inner[1])]
    assert len(set(spans)) == 3
    assert [outer[3], inner[3]] == ["Outer.seen", "Inner.seen"]


async def test_no_trace_is_made(traced):
    """A request without one has none, but an id."""
    answer = await traced.ask(post("/seen", b""))
    assert answer.json == [[answer.headers["x-request-id"], None, None, f"{name}.seen"] for name in ("Outer", "Inner")]
    assert "traceparent" not in answer.headers


@pytest.mark.parametrize(
    "parent",
    [
        f"00-{TRACE}-00f067aa0ba902b7",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"{PARENT}-more",
        f"cc-{TRACE}-00f067aa0ba902b7-01.what",
        f"{PARENT}\r\ntraceparent: {PARENT}",
        "",
    ],
)
async def test_invalid_traces_are_dropped(traced, parent):
    """And their state with them; the request is served."""
    answer = await traced.ask(post("/seen", b"", f"traceparent: {parent}", "tracestate: a=1"))
    assert [each[1:3] for each in answer.json] == [[None, None]] * 2
    assert "traceparent" not in answer.headers


@pytest.mark.parametrize("state", ["a", "a=", "A=1", "a=1,a=2", ",".join(f"k{n}=1" for n in range(33)), "a=b=c", "@a=1", ""])
async def test_invalid_states_are_dropped_alone(traced, state):
    """The trace itself is kept."""
    answer = await traced.ask(post("/seen", b"", f"traceparent: {PARENT}", f"tracestate: {state}"))
    assert [(each[1][3:35], each[2]) for each in answer.json] == [(TRACE, None)] * 2


async def test_later_versions_of_traces(traced):
    """What is known of them is used, in the version that is known."""
    answer = await traced.ask(post("/seen", b"", f"traceparent: cc-{TRACE}-00f067aa0ba902b7-ff-what-the-future-brings"))
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-03", answer.headers["traceparent"])


async def test_errors_have_both(traced):
    """A refusal too."""
    answer = await traced.ask(get("/seen", f"traceparent: {PARENT}", "X-Request-ID: it"))
    assert (answer.status, answer.error["request_id"], answer.headers["x-request-id"]) == (405, "it", "it")
    assert answer.headers["traceparent"][3:35] == TRACE


def test_no_request():
    """Outside of an endpoint there is none."""
    assert motet.current_request() is None
