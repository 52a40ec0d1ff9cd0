"""Endpoints with requests, forms, WebSockets and ASGI apps: what is wrong with them, and how they are described."""

import subprocess
import sys

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

import motet
from motet.graph import compile_graph
from motet.graph_views import routes
from motet.openapi import openapi


class Tag(BaseModel):
    name: str


class Web(motet.Service):
    @motet.endpoint(methods=("GET", "POST"))
    async def search(self, word: str, tag: Tag, top: int = 3) -> list[str]:
        return []

    @motet.endpoint(methods=("GET",))
    async def tagged(self, tag: Tag) -> Tag:
        return tag

    @motet.endpoint
    async def page(self, request: motet.Request) -> motet.Response:
        return motet.Response()

    @motet.endpoint
    async def upload(self, file: motet.UploadFile, title: str) -> int:
        return 1

    @motet.endpoint(form=True)
    async def register(self, name: str) -> str:
        return name

    @motet.endpoint
    async def talk(self, socket: motet.WebSocket, room: str) -> None: ...

    @motet.ingress
    def app(self) -> FastAPI:
        return FastAPI()


@pytest.fixture(scope="module")
def paths():
    return openapi(compile_graph(Web.bind()))["paths"]


def test_routes():
    lines = routes(compile_graph(Web.bind(), route="/web"))
    assert [line.split("  ")[0].strip() for line in lines] == [
        "GET|POST /web/search",
        "GET /web/tagged",
        "POST /web/page",
        "POST /web/upload",
        "POST /web/register",
        "WS /web/talk",
        "ANY /web/*",
    ]


def test_queries_are_parameters(paths):
    assert set(paths["/search"]) == {"get", "post"}
    assert [p["name"] for p in paths["/search"]["get"]["parameters"] if p["required"]] == ["word", "tag"]
    assert paths["/search"]["get"]["operationId"] == "search"
    assert paths["/search"]["post"]["operationId"] == "search_post"
    assert "application/json" in paths["/search"]["post"]["requestBody"]["content"]
    assert paths["/tagged"]["get"]["parameters"][0]["style"] == "form"


def test_bodies_and_answers(paths):
    assert paths["/page"]["post"]["requestBody"] == {"content": {"*/*": {}}}
    assert paths["/page"]["post"]["responses"]["200"]["content"] == {"*/*": {}}
    form = paths["/upload"]["post"]["requestBody"]["content"]
    assert list(form) == ["multipart/form-data"]
    assert form["multipart/form-data"]["schema"]["properties"]["file"]["format"] == "binary"
    assert {"application/json", "multipart/form-data"} < set(paths["/register"]["post"]["requestBody"]["content"])
    assert "101" in paths["/talk"]["get"]["responses"]
    assert "/" not in paths


def test_faults():
    with pytest.raises(motet.DefinitionError) as info:

        class Wrong(motet.Service):
            @motet.endpoint(methods=("FETCH",))
            async def method(self) -> int:
                return 1

            @motet.endpoint(methods="GET")
            async def text(self) -> int:
                return 1

            @motet.endpoint
            async def inside(self, requests: list[motet.Request]) -> int:
                return 1

            @motet.endpoint
            async def answer(self, response: motet.Response) -> int:
                return 1

            @motet.endpoint
            def blocking(self, socket: motet.WebSocket) -> None: ...

            @motet.endpoint
            async def valued(self, socket: motet.WebSocket) -> int:
                return 1

            @motet.batched
            def many(self, files: list[motet.UploadFile]) -> list[int]:
                return []

    found = {fault.subject.partition(".")[2] for fault in info.value.faults}
    assert found == {"method", "inside", "answer", "blocking", "valued", "many"}


def test_faults_of_an_ingress():
    with pytest.raises(motet.DefinitionError) as info:

        class Wrong(motet.Service):
            @motet.ingress
            async def app(self) -> FastAPI:
                return FastAPI()

            @motet.ingress
            def other(self) -> FastAPI:
                return FastAPI()

            @motet.ingress(methods=("GET",))
            def odd(self, port: int) -> FastAPI:
                return FastAPI()

    found = {fault.subject.partition(".")[2] for fault in info.value.faults}
    assert found == {"app", "other", "odd"}


def test_a_name_that_is_needed_twice():
    with pytest.raises(motet.DefinitionError, match="shares its path"):

        class Wrong(motet.Service):
            @motet.endpoint
            async def __call__(self) -> int:
                return 1

            @motet.ingress
            def app(self) -> FastAPI:
                return FastAPI()


def test_importing_is_cheap():
    """Programs without HTTP of their own don't pay for Starlette."""
    code = "import sys, motet; print([name for name in sys.modules if name.partition('.')[0] in ('starlette', 'websockets', 'multipart')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="Nothing"):
        _ = motet.Nothing


class Page(motet.Service):
    @motet.endpoint
    async def page(self, request: motet.Request) -> int:
        return 1


class Caller(motet.Service):
    def __init__(self, page: Page) -> None:
        self.page = page

    @motet.endpoint
    async def call(self) -> int:
        return 1


def test_a_dependency_that_nobody_can_call():
    """It is told before anything starts; as a root the same service is fine."""
    compile_graph(Page.bind())
    with pytest.raises(motet.DefinitionError, match="no service can call it"):
        compile_graph(Caller.bind(Page.bind()))
