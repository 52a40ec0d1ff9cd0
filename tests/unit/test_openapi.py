"""The OpenAPI description: bodies, answers, defaults, names, what has no schema."""

import dataclasses
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import BaseModel, Field
from pydantic_core import core_schema

import motet
from motet.graph import compile_graph
from motet.openapi import merged, openapi


class Page(BaseModel):
    """A page of a book."""

    number: int
    text: Annotated[str, Field(max_length=10)] = ""
    next: "Page | None" = None


FIRST = Page(number=1)


@dataclasses.dataclass
class Place:
    shelf: str


class Note(BaseModel):
    text: str


class Odd:
    """Something that only Motet's own codec can send."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.is_instance_schema(cls)


class Library(motet.Service):
    """Lends books."""

    @motet.endpoint
    async def page(self, page: Page) -> Page:
        """Turn a page.

        Once.
        """
        return page

    @motet.endpoint
    async def find(self, title: str, place: Place, kind: Literal["a", "b"] = "a", page: Page = FIRST) -> list[Place]:
        return [place]

    @motet.endpoint
    async def defaults(self, n: int = 3) -> int:
        return n

    @motet.endpoint
    async def nothing(self) -> None: ...

    @motet.endpoint
    async def array(self, array: np.ndarray, anything: Any) -> np.ndarray:
        return array

    @motet.endpoint
    async def odd(self, note: Note) -> Odd:
        return Odd()

    @motet.endpoint
    async def scan(self, data: bytes) -> bytes:
        return data

    @motet.endpoint
    async def say(self, text: str) -> str:
        return text

    @motet.endpoint
    async def pages(self, to: int) -> AsyncIterator[Page]:
        yield Page(number=to)

    @motet.endpoint
    async def raw(self, to: int) -> AsyncIterator[bytes]:
        yield b""

    @motet.batched
    async def batch(self, pages: list[Page]) -> list[int | motet.Failed]:
        return [page.number for page in pages]

    @motet.endpoint
    async def __call__(self, x: int) -> int:
        return x


@pytest.fixture(scope="module")
def document():
    return openapi(compile_graph(Library.bind()))


def request_of(document, path):
    return document["paths"][path]["post"]["requestBody"]["content"]


def answer_of(document, path):
    return document["paths"][path]["post"]["responses"]["200"]["content"]


def test_every_endpoint_has_its_path(document):
    """`__call__` is at the route itself."""
    names = set(Library.__motet_definition__.endpoints) - {"__call__"}
    assert set(document["paths"]) == {"/", *(f"/{name}" for name in names)}


def test_docstrings_describe(document):
    """First line and rest."""
    operation = document["paths"]["/page"]["post"]
    assert (operation["summary"], operation["description"]) == ("Turn a page.", "Once.")
    assert document["info"]["description"] == "Lends books."


def test_model_is_the_body(document):
    """One model is referred to; also the items of a batch. Pydantic tells what comes out from what may go in."""
    page = {"$ref": "#/components/schemas/Page-Input"}
    assert request_of(document, "/page") == {"application/json": {"schema": page}}
    assert request_of(document, "/batch") == {"application/json": {"schema": page}}
    assert answer_of(document, "/page")["application/json"]["schema"] == {"$ref": "#/components/schemas/Page-Output"}
    assert answer_of(document, "/batch")["application/json"]["schema"] == {"type": "integer"}
    assert document["components"]["schemas"]["Page-Input"]["properties"]["text"]["maxLength"] == 10


def test_parameters_are_an_object(document):
    """With what is required, and with defaults."""
    schema = request_of(document, "/find")["application/json"]["schema"]
    assert schema["required"] == ["title", "place"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["kind"]["default"] == "a"
    assert schema["properties"]["page"]["default"] == {"number": 1, "text": "", "next": None}
    assert "default" not in schema["properties"]["title"]
    assert set(document["components"]["schemas"]) == {"Page-Input", "Page-Output", "Place-Input", "Place-Output", "Note", "MotetError"}


def test_no_parameters_no_body(document):
    """Nothing to send."""
    assert "requestBody" not in document["paths"]["/nothing"]["post"]
    assert answer_of(document, "/nothing")["application/json"]["schema"] == {"type": "null"}


def test_raw_bodies(document):
    """Bytes and text go as they are, too."""
    assert set(request_of(document, "/scan")) == {"application/json", "application/octet-stream"}
    assert set(answer_of(document, "/scan")) == {"application/octet-stream"}
    assert set(request_of(document, "/say")) == {"application/json", "text/plain"}
    assert set(answer_of(document, "/say")) == {"application/json", "text/plain"}


def test_streams(document):
    """Each item is described, in either form; of events the good end and an error, too."""
    content = answer_of(document, "/pages")
    page = {"$ref": "#/components/schemas/Page-Output"}
    assert content["application/x-ndjson"]["schema"] == page
    events = {event["title"]: event for event in content["text/event-stream"]["schema"]["oneOf"]}
    assert {kind: event["properties"]["data"]["contentSchema"] for kind, event in events.items()} == {
        "item": page,
        "end": {},
        "error": {"$ref": "#/components/schemas/MotetError"},
    }
    assert set(answer_of(document, "/raw")) == {"application/octet-stream"}


def test_types_without_a_schema_are_anything(document):
    """They are described by nothing rather than wrongly, and arrays as nested lists."""
    properties = request_of(document, "/array")["application/json"]["schema"]["properties"]
    assert properties["anything"] == {"title": "Anything"}
    assert properties["array"]["items"] == {"type": ["array", "number", "boolean"]}
    assert answer_of(document, "/odd")["application/json"]["schema"] == {}


def test_merging_tells_schemas_apart():
    """Two apps may have different models of one name, also far inside; references follow."""

    def app(name, kind):
        part = type("Part", (BaseModel,), {"__annotations__": {"x": kind}, "__module__": __name__})
        model = type("Thing", (BaseModel,), {"__annotations__": {"part": part}, "__module__": __name__})

        class Keeper(motet.Service):
            @motet.endpoint
            async def keep(self, thing: model) -> model:
                return thing

        return openapi(compile_graph(Keeper.bind(), name=name, route=f"/{name}"))

    whole = merged([app("one", int), app("two", str), app("three", int)], with_keys=False)
    schemas = whole["components"]["schemas"]
    assert set(schemas) == {"Part", "Part-2", "Thing", "Thing-2", "MotetError"}
    assert schemas["Thing-2"]["properties"]["part"] == {"$ref": "#/components/schemas/Part-2"}
    found = [
        request_of(whole, f"/{name}/keep")["application/json"]["schema"]["$ref"].rpartition("/")[2] for name in ("one", "two", "three")
    ]
    assert found == ["Thing", "Thing-2", "Thing"]
    assert len({operation["post"]["operationId"] for operation in whole["paths"].values()}) == 3
