"""The parts of which the codec puts values together: classes that are their text, fields of classes, dtypes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import fractions
import pathlib
import uuid
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, cast

import msgspec
from pydantic_core import PydanticUndefined

# Classes of the standard library that are their text, with the function that reads it back.
STDLIB_TYPES: dict[type, tuple[Callable[[Any], str], Callable[[str], Any]]] = {
    dt.datetime: (dt.datetime.isoformat, dt.datetime.fromisoformat),
    dt.date: (dt.date.isoformat, dt.date.fromisoformat),
    dt.time: (dt.time.isoformat, dt.time.fromisoformat),
    dt.timedelta: (lambda d: f"{d.days} {d.seconds} {d.microseconds}",
                   lambda s: dt.timedelta(**dict(zip(("days", "seconds", "microseconds"), map(int, s.split()), strict=True)))),
    uuid.UUID: (str, uuid.UUID),
    decimal.Decimal: (str, decimal.Decimal),
    fractions.Fraction: (str, fractions.Fraction),
    complex: (repr, complex),
    pathlib.PosixPath: (str, pathlib.PosixPath),
    pathlib.PurePosixPath: (str, pathlib.PurePosixPath),
}  # fmt: skip
STDLIB_READERS = {cls.__name__: read for cls, (_, read) in STDLIB_TYPES.items()}


def dtype_text(dtype: Any) -> Any:
    """Return a NumPy dtype as plain data, structured ones as lists of their fields."""
    return dtype.str if dtype.names is None else [list(field) for field in dtype.descr]


def read_dtype(text: Any) -> Any:
    """Return the NumPy dtype that `dtype_text` wrote."""
    import numpy as np

    return np.dtype([tuple(field) for field in cast("list[list[Any]]", text)] if isinstance(text, list) else text)


def without_undefined(private: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the private attributes of a pydantic model that have a value."""
    return None if private is None else {k: v for k, v in private.items() if v is not PydanticUndefined}


@lru_cache(maxsize=4096)
def field_names(kind: type) -> tuple[str, ...] | None:
    """Return the fields of a class whose state is its fields, or None for any other class."""
    if dataclasses.is_dataclass(kind) and kind.__reduce_ex__ is object.__reduce_ex__:
        declared = {f.name for f in dataclasses.fields(kind)}
        slots = {name for base in kind.__mro__ for name in getattr(base, "__slots__", ()) if name != "__weakref__"}
        return tuple(declared | slots - {"__dict__"}) if "__dict__" not in dir(kind) or slots else tuple(declared)
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__
    return None
