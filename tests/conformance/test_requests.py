"""Endpoints that see the HTTP request, answer with a response of their own, or take forms and files."""

import asyncio
import json

import httpx
import pytest
from web_services import Web

import motet

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def web(serve_shared, shared_gate, tmp_path_factory):
    return await serve_shared(Web.bind(shared_gate(), shared_gate(), str(tmp_path_factory.mktemp("web"))))


@pytest.fixture
async def held(serve, gate, tmp_path):
    """The service with gates of the test's own."""
    reached, cancelled = gate("reached"), gate("cancelled")
    return await serve(Web.bind(reached, cancelled, str(tmp_path))), reached, cancelled


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
async def test_request(web, method):
    headers = {"x-own": "here", "cookie": "a=1; b=2"}
    answer = await web.request(method, "/seen?q=w%20x&r=", headers=headers, content=b"text" if method != "GET" else None)
    assert answer.status_code == 200, answer.text
    seen = answer.json()
    assert seen.pop("path").endswith("/seen")
    assert seen == {
        "method": method,
        "query": {"q": "w x", "r": ""},
        "cookies": {"a": "1", "b": "2"},
        "header": "here",
        "client": "127.0.0.1",
        "body": "text" if method != "GET" else "",
    }


async def test_methods(web):
    answer = await web.delete("/seen")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST, PUT, HEAD, OPTIONS")
    assert answer.json()["error"]["type"] == "MethodNotAllowed"
    head = await web.head("/seen")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 0


async def test_response(web):
    answer = await web.get("/answered?status=202")
    assert (answer.status_code, answer.text, answer.headers["x-own"]) == (202, "as you like", "yes")
    assert dict(answer.cookies) == {"first": "1", "second": "2"}
    assert "x-request-id" in answer.headers
    assert (await web.get("/either?away=false")).json() == 7
    away = await web.get("/either?away=true")
    assert (away.status_code, away.headers["location"]) == (307, "/elsewhere")


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body(web, status):
    answer = await web.get(f"/answered?status={status}")
    assert (answer.status_code, answer.content) == (status, b"")
    assert (await web.get("/either?away=false")).json() == 7  # on the same connection


async def test_the_length_of_no_body(web):
    """An answer with status 204 may not tell one, an answer with 304 tells that of what the client has."""
    assert "content-length" not in (await web.get("/empty?status=204")).headers
    assert (await web.get("/empty?status=304")).headers["content-length"] == "7"


async def test_query(web):
    """With GET the arguments come from the query; a list takes all values of a name."""
    assert (await web.get("/search?words=a&words=b")).json() == ["a", "b"]
    assert (await web.delete("/search?words=a&words=b&top=1")).json() == ["a"]
    wrong = await web.get("/search?words=a&top=9&more=1")
    assert wrong.status_code == 422
    assert {problem["at"] for problem in wrong.json()["error"]["problems"]} == {"top", "more"}


async def test_typed_arguments_beside_the_request(web):
    answer = await web.post("/beside", json={"name": "a", "weight": 2}, headers={"x-own": "b"})
    assert answer.json() == {"name": "a b", "weight": 2}
    assert (await web.post("/sync", json={"number": 2}, headers={"x-own": "5"})).json() == 7
    assert (await web.post("/sync", json={"number": "x"}, headers={"x-own": "5"})).status_code == 422
    assert (await web.post("/sync", content=b"{", headers={"content-type": "application/json"})).status_code == 400


async def test_files(web):
    files = [("files", ("a.txt", b"aaa")), ("files", ("b.bin", b"b" * 2_000_000))]
    fields = {"title": "two", "tags": ["1", "2"], "tag": '{"name": "x"}'}
    answer = await web.post("/upload", files=files, data=fields)
    assert answer.json() == {
        "title": "two",
        "tags": [1, 2],
        "tag": {"name": "x", "weight": 1},
        "files": [["a.txt", 3], ["b.bin", 2_000_000]],
    }


WRONG_FORMS = [
    ({"files": [("files", ("a", b"a"))], "data": {"title": "t", "tags": ["x"]}}, 422, "tags.0"),
    ({"files": [("files", ("a", b"a")), ("title", ("t", b"t"))], "data": {"tags": ["1"]}}, 422, "title"),
    ({"files": [("files", ("a", b"a"))], "data": {"title": "t", "tags": ["1"], "tag": "{"}}, 422, "tag"),
    ({"data": {"title": "t", "tags": ["1"], "files": "no file"}}, 422, "files.0"),
    ({"json": {"title": "t", "tags": [1], "files": []}}, 415, None),
    ({"content": b"--x\r\nno form", "headers": {"content-type": "multipart/form-data; boundary=y"}}, 400, None),
    ({"content": b"", "headers": {"content-type": "multipart/form-data"}}, 400, None),
]


@pytest.mark.parametrize("case", WRONG_FORMS)
async def test_wrong_forms(web, case):
    options, status, at = case
    answer = await web.post("/upload", **options)
    assert answer.status_code == status, answer.text
    assert at is None or at in {problem["at"] for problem in answer.json()["error"]["problems"]}


@pytest.mark.parametrize("disposition", ['name="tags"', 'name="files"; filename="f"'])
async def test_thousands_of_parts(web, disposition):
    """A form of very many parts is refused, not collected."""
    part = f"--x\r\nContent-Disposition: form-data; {disposition}\r\n\r\n1\r\n".encode()
    answer = await web.post("/upload", content=part * 100_000 + b"--x--\r\n", headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 400
    assert "1000" in answer.json()["error"]["message"] + answer.json()["error"]["found"]


async def test_forms_without_files(web):
    assert (await web.post("/register", data={"name": "Ada", "age": "36"})).json() == "Ada is 36"
    assert (await web.post("/register", json={"name": "Ada", "age": 36})).json() == "Ada is 36"
    assert (await web.post("/register", data={"name": "Ada", "age": "old"})).status_code == 422
    many = "&".join(f"name{n}=1" for n in range(5000))
    answer = await web.post("/register", content=many, headers={"content-type": "application/x-www-form-urlencoded"})
    assert answer.status_code == 400


async def test_a_model_in_a_form_or_query(web):
    """The fields of a model that is the only parameter are the fields of the form."""
    chosen = {"words": ["a", "b"], "tag": {"name": "t", "weight": 1}, "top": 2}
    fields = {"words": ["a", "b"], "tag": '{"name": "t"}', "top": "2"}
    assert (await web.get("/choose", params=fields)).json() == chosen
    assert (await web.post("/choose", data=fields)).json() == chosen
    assert (await web.post("/choose", json=chosen)).json() == chosen
    assert (await web.get("/choose?top=x")).status_code == 422


async def test_a_file_that_may_be_missing(web):
    assert (await web.post("/picture", data={"name": "Ada"})).json() == "Ada"
    assert (await web.post("/picture", data={"name": "Ada"}, files={"picture": ("p.jpg", b"p")})).json() == "Ada: p.jpg"


async def test_a_body_in_pieces(web):
    async def pieces():
        for _ in range(200):
            yield b"x" * 100_000

    assert (await web.post("/size", content=pieces())).json() == 20_000_000


async def test_a_body_that_waits(held):
    """The client is stopped while nobody reads its body, and goes on when somebody does."""
    web, reached, _ = held
    sent = 0
    stuck = asyncio.Event()

    async def pieces():
        nonlocal sent
        for _ in range(400):
            yield b"x" * 100_000
            sent += 100_000
            stuck.set()

    call = asyncio.create_task(web.post("/later", content=pieces()))
    await stuck.wait()
    answer = await web.get("/either?away=false")  # the gateway has had time to read all that it wants to
    assert answer.json() == 7
    assert sent < 40_000_000
    reached.open()
    assert (await call).json() == 40_000_000


async def test_an_answer_before_the_body(web):
    """An endpoint that doesn't look at the body answers at once; the connection goes on behind the body."""
    for _ in range(3):
        assert (await web.post("/deaf", content=b"x" * 3_000_000)).json() == 5


async def test_streamed_answers(held):
    web, reached, _ = held
    async with web.stream("GET", "/pieces") as answer:
        pieces = answer.aiter_bytes()
        assert await anext(pieces) == b"first "
        reached.open()
        assert b"".join([piece async for piece in pieces]) == b"second"


async def test_a_client_that_leaves(held):
    web, _, cancelled = held
    async with web.stream("GET", "/pieces") as answer:
        assert await anext(answer.aiter_bytes()) == b"first "
    await cancelled.until_reached()


async def test_a_stream_that_breaks(web):
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await web.get("/broken")


BROKEN = [("GET", "/broken_events?last=data: 0%0A%0A"), ("GET", "/counted_badly"), ("POST", "/called_badly")]


@pytest.mark.parametrize("case", BROKEN)
async def test_events_that_break(web, case):
    """Why they end is told by an event, whatever way they come."""
    answer = await web.request(*case, content=b"{}" if case[0] == "POST" else None, headers={"content-type": "application/json"})
    *events, error = answer.text.removesuffix("\n\n").split("\n\n")
    assert events == ["data: 0"]
    assert error.startswith('event: error\ndata: {"error":{"type":"ValueError","message":"out of paper"')
    assert answer.headers["x-request-id"] in error


async def test_lines_that_break(web):
    answer = await web.get("/counted_badly", headers={"accept": "application/x-ndjson"})
    first, last = answer.text.splitlines()
    assert (first, json.loads(last)["error"]["message"]) == ("0", "out of paper")


async def test_an_event_that_breaks(web):
    """Nothing is written into an event that has begun: its client would read it as whole."""
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await web.get("/broken_events?last=data: 0%0A")


async def test_large_answers(web):
    assert len((await web.get("/large?size=30000000")).content) == 30_000_000


async def test_files_as_answers(web):
    answer = await web.get("/file")
    assert (len(answer.content), answer.headers["content-type"]) == (10_000, "image/x-none")
    part = await web.get("/file", headers={"range": "bytes=10-14"})
    assert (part.status_code, part.content) == (206, b"01234")
    head = await web.head("/file")
    assert (head.headers["content-length"], head.content) == ("10000", b"")


@pytest.mark.parametrize("path", ["/counted?to=3", "/counted_in_thread?to=3"])
async def test_streams_of_items(web, path):
    lines = await web.get(path, headers={"accept": "application/x-ndjson"})
    assert (lines.text, lines.headers["content-type"]) == ("0\n1\n2\n", "application/x-ndjson")
    events = await web.get(path)
    assert events.text == "data: 0\n\ndata: 1\n\ndata: 2\n\nevent: end\ndata: {}\n\n"


ERRORS = [("/teapot", 418, "a teapot"), ("/starlette_error", 409, "taken"), ("/late", 504, "deadline")]


@pytest.mark.parametrize("case", ERRORS)
async def test_errors(web, case):
    path, status, message = case
    answer = await web.get(path)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


async def test_headers_of_errors(web):
    """An error brings headers of its own, but not those that every answer has, and none that would be several."""
    answer = await web.get("/starlette_error")
    assert (answer.json()["error"]["status"], answer.headers["x-own"]) == (409, "yesx-two: no")
    assert not {"x-two", "x-three"} & answer.headers.keys()
    answer = await web.post("/called_in_vain", json={})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


async def test_a_wrong_content_length(web):
    """More than was announced isn't sent, since it would be taken for the next answer."""
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await web.get("/lying")
    assert (await web.get("/either?away=false")).json() == 7


async def test_calls_between_services(start, gate, tmp_path):
    """What needs a request can't be called without one; what takes values can, whatever its methods are."""
    web = await start(Web.bind(gate(), gate(), str(tmp_path)))
    with pytest.raises(motet.UsageError, match=r"Web\.seen needs an HTTP request"):
        web.seen(None)
    assert await web.search(["a", "b"], top=1) == ["a"]
    assert await web.register("Ada", 36) == "Ada is 36"
