"""A service that takes and gives values of many types."""

import dataclasses
import datetime as dt
import enum
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict
from typing_extensions import TypedDict

import motet

T = TypeVar("T")


def no_other(value):
    if isinstance(value, bool | str):
        raise ValueError("this is no number")  # noqa: TRY004  # pydantic collects ValueErrors
    return value


def no_twice(values):
    """Pydantic takes a list with repeated items for a set, and its schemas don't say that."""
    if isinstance(values, list) and len(values) != len({repr(value) for value in values}):
        raise ValueError("an item comes twice")
    return values


# Pydantic takes `true` and "1" for 1 unless told otherwise, and its schemas don't say that.
Exact = BeforeValidator(no_other)
Whole = Annotated[int, Exact]
Real = Annotated[float, Exact]


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: Annotated[int, Field(ge=0, le=9), Exact]


class Dog(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["dog"] = "dog"
    name: Annotated[str, Field(min_length=1, max_length=20)]


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Box(BaseModel, Generic[T]):
    content: T
    label: str = Field(default="", alias="labelText")


class Tree(BaseModel):
    value: Real
    children: "list[Tree]" = []


class When(BaseModel):
    model_config = ConfigDict(strict=True)

    day: dt.date
    moment: dt.datetime
    time: dt.time
    who: uuid.UUID
    path: Path


@dataclasses.dataclass
class Point:
    x: Real
    y: Real = 0.0


class Options(TypedDict, total=False):
    fast: Annotated[bool, Strict()]
    limit: Whole | None


class Zoo(motet.Service):
    """Takes and gives values of many types."""

    @motet.endpoint
    async def __call__(self, name: str) -> str:
        return name

    @motet.endpoint
    async def nothing(self) -> None:
        return None

    @motet.endpoint
    async def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC)

    @motet.endpoint
    async def pet(self, pet: Pet) -> Pet:
        return pet

    @motet.endpoint
    async def pets(
        self, pets: list[Cat | Dog], colour: Colour = Colour.RED, size: Annotated[Size, Exact] | None = None
    ) -> dict[str, list[Cat | Dog]]:
        return {colour: pets, str(size): []}

    @motet.endpoint
    async def box(self, box: Box[Point]) -> Box[Point]:
        return box

    @motet.endpoint
    async def tree(self, tree: Tree) -> Tree:
        return tree

    @motet.endpoint
    async def when(self, when: When) -> When:
        return when

    @motet.endpoint
    async def seconds(self, span: Annotated[dt.timedelta, Strict()]) -> float:
        return span.total_seconds()

    @motet.endpoint
    async def point(self, point: Point) -> Point:
        return point

    @motet.endpoint
    async def maybe(self, point: Point | None = None) -> Point | None:
        return point

    @motet.endpoint
    async def options_(self, options: Options) -> Options:
        return options

    @motet.endpoint
    async def numbers(
        self,
        whole: Annotated[int, Field(multiple_of=3), Exact],
        real: Annotated[float, Field(gt=0, lt=1), Exact],
        both: tuple[Whole, str],
        some: Annotated[set[Whole], Field(max_length=4), BeforeValidator(no_twice)],
    ) -> dict[str, float | list[int] | str]:
        return {"whole": whole, "real": real, "both": both[1], "some": sorted(some)}

    @motet.endpoint
    async def anything(self, value: Any) -> Any:
        return value

    @motet.endpoint
    async def mapping(self, mapping: dict[str, Whole | str | None]) -> dict[str, int | str | None]:
        return mapping

    @motet.endpoint
    async def vector(self, vector: np.ndarray) -> np.ndarray:
        return vector * 2

    @motet.endpoint
    async def scan(self, data: bytes) -> bytes:
        return data

    @motet.endpoint
    async def sign(self, data: bytes, key: str = "") -> dict[str, bytes]:
        return {key: data}

    @motet.endpoint
    async def say(self, text: str) -> str:
        return text

    @motet.endpoint
    async def count(self, to: Annotated[int, Field(ge=0, le=20), Exact]) -> AsyncIterator[Point]:
        for number in range(to):
            yield Point(x=number)

    @motet.endpoint
    def words(self, words: Annotated[list[str], Field(max_length=5)]) -> Iterator[str]:
        yield from words

    @motet.endpoint
    async def parts(self, parts: Annotated[list[bytes], Field(max_length=5)]) -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    @motet.batched
    async def batch(self, points: list[Point]) -> list[float | motet.Failed]:
        return [point.x for point in points]

    @motet.endpoint(methods=("GET", "POST", "DELETE"))
    async def find(self, word: str, numbers: list[int], top: Annotated[int, Field(ge=1, le=5)] = 3) -> list[str]:
        """Take arguments from the query, or from a body."""
        return [word] * top + [str(number) for number in numbers]

    @motet.endpoint(form=True)
    async def register(self, name: str, age: int) -> str:
        """Take a form."""
        return f"{name} is {age}"

    @motet.endpoint
    async def upload(self, file: motet.UploadFile, title: str) -> int:
        """Take a file."""
        return len(await file.read()) + len(title)

    @motet.endpoint
    async def beside(self, request: motet.Request, number: Annotated[int, Exact]) -> str:
        """Look at the request."""
        return request.method * (number % 2)
