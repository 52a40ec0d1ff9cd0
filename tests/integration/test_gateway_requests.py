"""Endpoints over HTTP with an ordinary client: bodies, answers, errors, probes."""

import asyncio
import json

import pytest
from gateway_services import Desk, Held, Note

import motet
from motet.gateway.limits import Limits

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(serve):
    return await (await serve(Desk.bind())).http()


async def test_model_is_the_body(client):
    """An endpoint with one model takes and gives it as JSON."""
    answer = await client.post("/note", json={"text": "hi"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert Note.model_validate_json(answer.content) == Note(text="hi", page=1)


@pytest.mark.parametrize(("path", "body", "expected"), [("/add", {"a": 2}, 3), ("/add", {"a": 2, "b": 2}, 4), ("/nothing", {}, None)])
async def test_several_parameters_are_an_object(client, path, body, expected):
    """Defaults count, and a result of None is null."""
    assert (await client.post(path, json=body)).json() == expected


async def test_no_parameters_take_an_empty_body(client):
    """A POST of nothing is enough for an endpoint without parameters."""
    answer = await client.post("/nothing")
    assert (answer.status_code, answer.json()) == (200, None)


async def test_raw_bytes_and_text(client):
    """Bodies of bytes and text go as they are, and results by Accept."""
    assert (await client.post("/size", content=b"\0" * 300_000, headers={"content-type": "application/octet-stream"})).json() == 300_000
    answer = await client.post("/upper", content="größe", headers={"content-type": "text/plain; charset=utf-8", "accept": "text/plain"})
    assert (answer.text, answer.headers["content-type"]) == ("GRÖSSE", "text/plain; charset=utf-8")


@pytest.mark.parametrize("charset", ["punycode", "undefined", "rot13", "nonsense"])
async def test_text_in_no_character_set(client, charset):
    """Text is read in character sets of the web; what else Python can decode isn't text, or takes for ever."""
    answer = await client.post("/upper", content=b"a", headers={"content-type": f"text/plain; charset={charset}"})
    assert answer.status_code == 400
    assert charset in answer.json()["error"]["message"]


async def test_large_answer_arrives_whole(client):
    """An answer that doesn't fit into one write has the right length."""
    answer = await client.post("/blob", json={"size": 5_000_000})
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.content == bytes(5_000_000)


async def test_body_in_chunks(client):
    """A body of unknown length is put together."""

    async def pieces():
        for _ in range(50):
            yield b"x" * 1000

    answer = await client.post("/size", content=pieces(), headers={"content-type": "application/octet-stream"})
    assert answer.json() == 50_000


ERRORS = [
    ("/add", b'{"a": "two"}', "application/json", 422, "InvalidInput"),
    ("/add", b'{"a": 1, "c": 1}', "application/json", 422, "InvalidInput"),
    ("/add", b'{"a": ', "application/json", 400, "MalformedRequest"),
    ("/add", b"", "application/json", 400, "MalformedRequest"),
    ("/add", b"a=1", "application/x-www-form-urlencoded", 415, "UnsupportedMediaType"),
    ("/fail", b'{"status": 418, "message": "a teapot"}', "application/json", 418, "HTTPError"),
    ("/crash", b"{}", "application/json", 500, "KeyError"),
    ("/late", b"{}", "application/json", 504, "DeadlineExceeded"),
]


@pytest.mark.parametrize("case", ERRORS)
async def test_errors_are_json(client, case):
    """Every error says its type, a message and the id of the request, and the connection goes on."""
    path, body, media, status, kind = case
    answer = await client.post(path, content=body, headers={"content-type": media})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (status, kind)
    assert error["message"]
    assert error["request_id"] == answer.headers["x-request-id"]
    assert "connection" not in answer.headers


async def test_invalid_input_says_where_and_what(client):
    """Each problem has its place, what is wrong and what was found."""
    error = (await client.post("/note", json={"page": "x"})).json()["error"]
    assert error["where"] == "Desk.note"
    assert [(p["at"], p["found"]) for p in error["problems"]] == [("text", "{'page': 'x'}"), ("page", "'x'")]


async def test_unacceptable(client):
    """A client that accepts nothing that there is gets 406 and hears what there is."""
    answer = await client.post("/add", json={"a": 1}, headers={"accept": "image/png"})
    assert (answer.status_code, answer.json()["error"]["instead"]) == (
        406,
        "accept: application/json, application/msgpack, application/x-msgpack, application/vnd.msgpack",
    )


@pytest.mark.parametrize(("seconds", "header"), [(0.2, "1"), (2.5, "3"), (7, "7")])
async def test_overloaded_says_when_to_retry(client, seconds, header):
    """Retry-After has whole seconds, at least one."""
    answer = await client.post("/busy", json={"seconds": seconds})
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["error"]["retry_after"]) == (503, header, seconds)


async def test_full_queue_refuses(serve, gate):
    """Beyond slots and queue a request gets 503, and those before it their answers."""
    held, cancelled = gate(), gate()
    served = await serve(Held.bind(held, cancelled).options(concurrency=1, queue=1))
    client = await served.http()
    first = asyncio.create_task(client.post("/wait", json={"number": 1}))
    await held.until_reached()
    second = asyncio.create_task(client.post("/wait", json={"number": 2}))
    third = asyncio.create_task(client.post("/wait", json={"number": 3}))
    done, _ = await asyncio.wait([second, third], return_when=asyncio.FIRST_COMPLETED)
    (refused,) = done
    held.open()
    assert refused.result().status_code == 503
    assert refused.result().headers["retry-after"] == "1"
    answers = await asyncio.gather(first, second, third)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503]


async def test_no_replica_is_unavailable(serve):
    """An app whose replica is gone answers 503, and /readyz says why."""
    served = await serve(Desk.bind())
    served.engine.caller.router.set_links("Desk", [], broken="it gave up")
    client = await served.http()
    answer = await client.post("/nothing")
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["error"]["found"]) == (503, "1", "it gave up")
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["missing"]) == (503, {"default": "Desk has no replica: it gave up"})


async def test_request_ids(client):
    """A sane id is taken over, any other replaced, and two requests differ."""
    given = await client.post("/nothing", headers={"x-request-id": "trace-7/a"})
    assert given.headers["x-request-id"] == "trace-7/a"
    for bad in ("two words", "x" * 129, "ü".encode()):
        answer = await client.post("/nothing", headers={"x-request-id": bad})
        assert len(answer.headers["x-request-id"]) == 16
    assert (await client.post("/nothing")).headers["x-request-id"] != (await client.post("/nothing")).headers["x-request-id"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_endpoints_take_post_only(client, method):
    """Other methods get 405 with Allow."""
    answer = await client.request(method, "/add")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, OPTIONS")


async def test_unknown_path_lists_the_known(client):
    """A 404 says which paths there are."""
    answer = await client.post("/ad", json={"a": 1})
    error = answer.json()["error"]
    assert (answer.status_code, error["found"]) == (404, "POST /ad")
    assert "POST /add" in error["instead"]
    assert (await client.post("/add/", json={"a": 1})).status_code == 404


async def test_encoded_bodies_are_refused(client):
    """A body in a coding that isn't undone isn't taken for JSON; the answer says which one would be."""
    answer = await client.post("/add", content=b"\x1f\x8b", headers={"content-type": "application/json", "content-encoding": "br"})
    assert (answer.status_code, answer.json()["error"]["found"]) == (415, "content-encoding: br")
    assert answer.headers["accept-encoding"] == "gzip"


async def test_body_over_the_limit(serve):
    """413 by Content-Length, and as soon as chunks exceed it."""
    served = await serve(Desk.bind(), limits=Limits(body=1000))
    client = await served.http()
    headers = {"content-type": "application/octet-stream"}

    async def pieces():
        for _ in range(11):
            yield b"x" * 100

    for content in (b"x" * 1001, b"x" * 3_000_000, pieces()):
        answer = await client.post("/size", content=content, headers=headers)
        assert (answer.status_code, answer.headers["connection"]) == (413, "close")
        assert answer.json()["error"]["instead"] == "1000 bytes at most"
    assert (await client.post("/size", content=b"x" * 1000, headers=headers)).json() == 1000


async def test_apps_have_their_routes(serve):
    """Several apps stand side by side, and `__call__` is at the route itself."""

    class Root(motet.Service):
        @motet.endpoint
        async def __call__(self, x: int) -> int:
            return x + 1

    served = await serve(Desk.bind())
    await served.deploy(Root.bind(), name="größe", route="/größe")
    client = await served.http()
    assert (await client.post("/größe", json={"x": 1})).json() == 2
    assert (await client.post("/gr%C3%B6%C3%9Fe?x=1", json={"x": 1})).json() == 2
    assert (await client.post("/add", json={"a": 1})).json() == 2
    assert (await client.get("/readyz")).status_code == 200


async def test_probes(serve):
    """Alive at once, ready and started with an app; started stays, ready doesn't."""
    served = await serve()
    client = await served.http()
    statuses = [(await client.get(path)).status_code for path in ("/healthz", "/readyz", "/startupz")]
    assert statuses == [200, 503, 503]
    await served.deploy(Desk.bind())
    statuses = [(await client.get(path)).status_code for path in ("/healthz", "/readyz", "/startupz")]
    assert statuses == [200, 200, 200]
    served.publish(index="it loads its model")
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["missing"]) == (503, {"index": "it loads its model"})
    assert (await client.get("/startupz")).status_code == 200


async def test_documentation_is_offline(client):
    """The page loads only what the server itself has, with caching."""
    page = await client.get("/docs")
    assert page.status_code == 200
    assert "http" not in page.text.replace("http-equiv", "")
    for name in ("swagger_bundle.js", "swagger_style.css"):
        assert f"docs/{name}" in page.text
        asset = await client.get(f"/docs/{name}")
        assert asset.status_code == 200
        again = await client.get(f"/docs/{name}", headers={"if-none-match": asset.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert (await client.get("/docs/..%2f__init__.py")).status_code == 404


async def test_site_takes_its_methods_only(client):
    """POST of a page is 405 with Allow; HEAD gives the head of GET."""
    answer = await client.post("/docs")
    assert (answer.status_code, answer.json()["error"]["type"]) == (405, "MethodNotAllowed")
    assert "GET" in answer.headers["allow"]
    head = await client.head("/docs")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len((await client.get("/docs")).content))


async def test_description_is_served(client):
    """/openapi.json has the endpoints of the app."""
    document = (await client.get("/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    assert "/note" in document["paths"]
    json.dumps(document)
