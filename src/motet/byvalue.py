"""Pickling objects whose classes can't be imported elsewhere, such as those of a notebook: the classes go along by value."""

from __future__ import annotations

import dataclasses
import io
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle


def dumps(value: object, *, buffer_callback: Callable[[pickle.PickleBuffer], object] | None = None) -> bytes:
    """Pickle `value`; `pickle.loads` reads it in any process.

    Raises:
        Exception: something in it can't be pickled, not even by value.
    """
    file = io.BytesIO()
    _Pickler(file, protocol=5, buffer_callback=buffer_callback).dump(value)
    return file.getvalue()


def _missing() -> object:
    return dataclasses.MISSING


class _Pickler(cloudpickle.Pickler):
    """Cloudpickle, with what it doesn't know of dataclasses and pydantic models."""

    def reducer_override(self, obj: Any) -> Any:
        if obj is dataclasses.MISSING:
            return _missing, ()  # a copy of the marker would count as a default
        if not (isinstance(obj, type) and vars(obj).get("__pydantic_parent_namespace__")):
            return super().reducer_override(obj)
        # Everything that was in sight where the model was defined, needed only to resolve what its annotations name.
        namespace = vars(obj)["__pydantic_parent_namespace__"]
        type.__setattr__(obj, "__pydantic_parent_namespace__", None)
        try:
            return super().reducer_override(obj)
        finally:
            type.__setattr__(obj, "__pydantic_parent_namespace__", namespace)
