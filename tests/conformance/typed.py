"""One echoing endpoint for each kind of type; the callee compares what arrives with what was sent."""

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import pathlib
import uuid
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, field_validator, model_validator
from typing_extensions import TypedDict

import motet

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Summer(dt.tzinfo):
    """A zone with rules of its own, as those of zoneinfo are."""

    def utcoffset(self, when):
        return dt.timedelta(hours=2)

    def dst(self, when):
        return dt.timedelta(hours=1)

    def __eq__(self, other):
        return type(other) is Summer

    def __hash__(self):
        return 1


class Plain(BaseModel):
    x: int
    y: float = 1.5


class Nested(BaseModel):
    plain: Plain
    many: dict[str, list[Plain]]
    maybe: Plain | None = None


class Aliased(BaseModel):
    inner_name: int = Field(alias="outerName")


class Extras(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int


class Private(BaseModel):
    x: int
    _seen: int = PrivateAttr(default=0)


class Box(BaseModel, Generic[T]):
    content: T


class Validated(BaseModel):
    word: str
    low: int = 0
    high: int = 0

    @field_validator("word")
    @classmethod
    def _lower(cls, word):
        return word.lower() + "!"  # not idempotent: validating twice would show

    @model_validator(mode="after")
    def _ordered(self):
        if self.low > self.high:
            message = "low is over high"
            raise ValueError(message)
        return self


class Sub(Plain):
    extra: str = "sub"


class FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True)
    x: int


class WithArray(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    vector: np.ndarray
    label: str


@dataclasses.dataclass
class Record:
    x: int
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class FrozenRecord:
    x: int


@dataclasses.dataclass(slots=True)
class SlottedRecord:
    x: int
    y: str = "y"


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenSlottedRecord:
    x: int
    inner: FrozenRecord


@dataclasses.dataclass
class Computed:
    x: int
    twice: int = dataclasses.field(init=False)

    def __post_init__(self):
        self.twice = 2 * self.x


class Movie(TypedDict):
    title: str
    year: int


class Struct(msgspec.Struct):
    x: int
    inner: list[int]


class Pair(NamedTuple):
    left: int
    right: str


def structured():
    array = np.zeros(3, dtype=[("a", "<i4"), ("b", "<f8"), ("c", "U5")])
    array["a"] = [1, 2, 3]
    array["c"] = ["x", "yy", "zzz"]
    return array


def private(value):
    model = Private(x=1)
    model._seen = value
    return model


def image(mode, colour):
    return Image.new(mode, (5, 3), colour)


DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16", "S3", "U4", "M8[s]", "m8[ms]", ">i4"]

# By name: the annotation, and values to send.
CASES: dict[str, tuple[Any, list[Any]]] = {
    "none": (None, [None]),
    "boolean": (bool, [True, False]),
    "integer": (int, [0, -1, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, 2**64, -(2**63) - 1, 10**60, -(10**60)]),
    "float_": (float, [0.0, -1.5, 1e308, float("inf"), float("-inf"), float("nan")]),
    "complex_": (complex, [1 + 2j]),
    "text": (str, ["", "é日本\x00🎵", "x" * 100_000]),
    "small_bytes": (bytes, [b"", b"\x00\xff"]),
    "large_bytes": (bytes, [bytes(range(256)) * 16, b"ab" * 500_000]),
    "bytearray_": (Any, [bytearray(b"abc"), bytearray(10_000)]),
    "optional": (int | None, [None, 3]),
    "union": (int | str | list[int], [3, "3", [3]]),
    "model_union": (Plain | Record | str, [Plain(x=1), Record(x=1), "text"]),
    "literal": (Literal["a", "b", 3], ["a", 3]),
    "annotated": (Annotated[int, Field(ge=0, le=10)], [0, 10]),
    "any_": (Any, [None, 1, "x", [1, {"a": (1, 2)}], Plain(x=1), {1, 2}, decimal.Decimal("NaN"), Struct(x=1, inner=[2])]),
    "nested": (dict[str, list[tuple[int, set[str]]]], [{"a": [(1, {"x", "y"})], "b": []}]),
    "tuple_": (tuple[int, str], [(1, "a")]),
    "long_tuple": (tuple[int, ...], [(), (1, 2, 3)]),
    "set_": (set[int], [set(), {1, 2}]),
    "frozen_set": (frozenset[str], [frozenset(), frozenset("ab")]),
    "keys": (dict[int, str], [{1: "a", 2: "b"}]),
    "tuple_keys": (dict[tuple[int, int], float], [{(1, 2): 0.5}]),
    "bare_list": (list, [[1, "a", None]]),
    "bare_dict": (dict, [{"a": 1, 2: [3]}]),
    "enum_": (Colour, [Colour.RED]),
    "int_enum": (Level, [Level.HIGH]),
    "flag": (Access, [Access.READ, Access.READ | Access.WRITE]),
    "datetime_": (
        dt.datetime,
        [
            dt.datetime(2024, 2, 29, 1, 2, 3, 4),  # noqa: DTZ001  # naive times are values too
            dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
            dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
            dt.datetime(2024, 10, 27, 2, 30, fold=1),  # noqa: DTZ001
            dt.datetime(2024, 7, 1, tzinfo=Summer()),
        ],
    ),
    "date_": (dt.date, [dt.date(2024, 2, 29)]),
    "time_": (dt.time, [dt.time(1, 2, 3, 4), dt.time(1, tzinfo=dt.UTC)]),
    "timedelta_": (dt.timedelta, [dt.timedelta(days=-1, seconds=5, microseconds=7)]),
    "uuid_": (uuid.UUID, [uuid.UUID(int=5)]),
    "decimal_": (decimal.Decimal, [decimal.Decimal("1.10")]),
    "fraction": (fractions.Fraction, [fractions.Fraction(1, 3)]),
    "path": (pathlib.Path, [pathlib.Path("a/b")]),
    "typed_dict": (Movie, [{"title": "x", "year": 1}]),
    "named_tuple": (Pair, [Pair(1, "a")]),
    "record": (Record, [Record(x=1, tags=["a"])]),
    "frozen_record": (FrozenRecord, [FrozenRecord(x=1)]),
    "slotted_record": (SlottedRecord, [SlottedRecord(x=1)]),
    "frozen_slotted_record": (FrozenSlottedRecord, [FrozenSlottedRecord(x=1, inner=FrozenRecord(x=2))]),
    "computed": (Computed, [Computed(x=2)]),
    "model": (Plain, [Plain(x=1), Plain(x=1, y=2)]),
    "nested_model": (Nested, [Nested(plain=Plain(x=1), many={"a": [Plain(x=2)]}, maybe=Plain(x=3))]),
    "aliased": (Aliased, [Aliased(outerName=3)]),
    "extras": (Extras, [Extras(x=1, y=2, z=[Plain(x=1)])]),
    "private": (Private, [private(7), private([1, 2])]),
    "generic": (Box[int], [Box[int](content=3)]),
    "generic_nested": (Box[list[Plain]], [Box[list[Plain]](content=[Plain(x=1)])]),
    "validated": (Validated, [Validated(word="Hi", low=1, high=2)]),
    "subclass": (Plain, [Sub(x=1, extra="kept")]),
    "frozen_model": (FrozenModel, [FrozenModel(x=1)]),
    "secret": (SecretStr, [SecretStr("hidden")]),
    "models": (list[Plain], [[Plain(x=i) for i in range(3)]]),
    "array": (np.ndarray, [np.arange(6).reshape(2, 3), np.array(5.0), np.empty((0, 4)), np.arange(100_000.0)]),
    "ordered_array": (
        np.ndarray,
        [np.asfortranarray(np.arange(12.0).reshape(3, 4)), np.arange(20)[::2], np.arange(12).reshape(3, 4).T, np.arange(5)[::-1]],
    ),
    "dtypes": (np.ndarray, [np.zeros(3, dtype=d) if d[0] in "MmSU" else np.arange(3).astype(d) for d in DTYPES]),
    "structured_array": (np.ndarray, [structured(), structured()[:0]]),
    "object_array": (np.ndarray, [np.array([{"a": 1}, None], dtype=object)]),
    "typed_array": (NDArray[np.float32], [np.ones((2, 2), dtype=np.float32)]),
    "numpy_scalar": (Any, [np.float32(1.5), np.int64(3), np.bool_(True), np.datetime64("2024-01-01")]),
    "arrays": (dict[str, list[np.ndarray]], [{"a": [np.arange(3), np.ones(5000)]}]),
    "array_field": (WithArray, [WithArray(vector=np.arange(4.0), label="l")]),
    "tensor": (
        torch.Tensor,
        [
            torch.arange(6).reshape(2, 3),
            torch.tensor(1.5),
            torch.empty((0, 2)),
            torch.ones(3, dtype=torch.bfloat16),
            torch.ones(3, dtype=torch.float16),
            torch.tensor([True, False]),
            torch.arange(12.0).reshape(3, 4).T,
            torch.arange(10_000.0),
            torch.tensor([1 + 2j]),
        ],
    ),
    "optional_tensor": (torch.Tensor | None, [None, torch.ones(2)]),
    "image": (
        Image.Image,
        [image("RGB", (1, 2, 3)), image("L", 7), image("RGBA", (1, 2, 3, 4)), image("1", 1), image("F", 0.5), image("P", 3)],
    ),
}


def same(sent: Any, found: Any) -> bool:  # noqa: PLR0911
    """Whether two values are equal in type, contents and, for arrays, in dtype and shape."""
    if type(sent) is not type(found):
        return False
    if isinstance(sent, np.ndarray):
        return sent.dtype == found.dtype and sent.shape == found.shape and sent.tolist() == found.tolist()
    if isinstance(sent, torch.Tensor):
        return sent.dtype == found.dtype and sent.shape == found.shape and bool((sent == found).all())
    if isinstance(sent, Image.Image):
        return sent.mode == found.mode and sent.size == found.size and sent.convert("RGBA").tobytes() == found.convert("RGBA").tobytes()
    if isinstance(sent, BaseModel):
        return (
            sent.model_fields_set == found.model_fields_set
            and same(sent.__dict__, found.__dict__)
            and same(sent.__pydantic_extra__, found.__pydantic_extra__)
            and same(sent.__pydantic_private__, found.__pydantic_private__)
        )
    if isinstance(sent, dict):
        return list(sent) == list(found) and all(same(value, found[key]) for key, value in sent.items())
    if isinstance(sent, list | tuple):
        return len(sent) == len(found) and all(same(a, b) for a, b in zip(sent, found, strict=True))
    if isinstance(sent, dt.datetime | dt.time):
        return sent == found and sent.tzinfo == found.tzinfo and sent.fold == found.fold
    return bool(sent == found) or (sent != sent and found != found)  # noqa: PLR0124  # NaN


def _echo(name: str, annotation: Any) -> Any:
    def echo(self, value, index):
        if not same(CASES[name][1][index], value):
            message = f"{value!r} of {type(value)} arrived"
            raise AssertionError(message)
        return value

    echo.__name__ = name
    echo.__qualname__ = f"Echoes.{name}"
    echo.__annotations__ = {"value": annotation, "index": int, "return": annotation}
    return motet.endpoint(echo)


Echoes = type(
    "Echoes",
    (motet.Service,),
    {
        "__module__": __name__,
        "__doc__": "Returns each value.",
        **{name: _echo(name, annotation) for name, (annotation, _) in CASES.items()},
    },
)


class Strings(motet.Service):
    """Annotations as text, the way `from __future__ import annotations` leaves them."""

    @motet.endpoint
    def later(self, value: "Later") -> "list[Later]":
        return [value, value]


class Later(BaseModel):
    x: int
