"""How arrays, tensors and images are validated and written as JSON; none of their libraries is imported unless it is in use."""

from __future__ import annotations

import base64
import io
import math
import re
import sys
from typing import Any, cast, get_args, get_origin

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

MAX_DIMENSIONS = 32
NUMBERS = "biufc"  # kinds of dtype that are numbers, as numpy calls them
RAW = frozenset({"dtype", "shape", "data"})
_DTYPE = re.compile(r"[<>|=]?[a-z]+[0-9]{0,3}").fullmatch


def from_raw(dtype: object, shape: object, data: object) -> Any:
    """Return a read-only array over a buffer.

    Args:
        dtype: of numbers, in numpy's notation: `<f4`, or `float32`.
        shape: list of lengths.
        data: the elements in C order.

    Raises:
        ValueError: they are something else, or don't fit together.
    """
    import numpy as np

    if not isinstance(dtype, str) or not _DTYPE(dtype):
        raise ValueError(f"the dtype of an array is text such as '<f4', got {str(dtype)[:40]!r}")
    try:
        kind = np.dtype(dtype)
    except (TypeError, ValueError, AttributeError):
        raise ValueError(f"there is no dtype {dtype!r}") from None
    if kind.kind not in NUMBERS:
        raise ValueError(f"expected numbers, got {kind}")
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ValueError("the data of an array is binary, which msgpack has and JSON hasn't")  # noqa: TRY004  # pydantic collects ValueErrors
    lengths = cast("list[object]", shape)
    if not isinstance(shape, list | tuple) or len(lengths) > MAX_DIMENSIONS or any(type(n) is not int or n < 0 for n in lengths):
        raise ValueError(f"the shape of an array is a list of at most {MAX_DIMENSIONS} lengths")
    wanted = math.prod(cast("list[int]", lengths)) * kind.itemsize
    content: memoryview[int] = memoryview(cast("bytes", data))
    if wanted != content.nbytes:
        raise ValueError(f"an array of this dtype and shape has {wanted} bytes of data, got {content.nbytes}")
    array = np.frombuffer(content, kind).reshape(cast("list[int]", lengths)) if wanted else np.empty(cast("list[int]", lengths), kind)
    array = array if kind.isnative else array.astype(kind.newbyteorder("="))
    array.flags.writeable = False
    return array


def as_array(value: Any) -> Any:
    """Return an array or a tensor as an array, None for anything else."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(value, torch.Tensor):
        tensor = value.detach().cpu()
        return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()  # numpy has no bfloat16
    return value if numpy is not None and _is(value, numpy.ndarray | numpy.generic) else None


def _is(value: object, kind: Any) -> bool:
    """Check a type whose parameters are of no interest; type checkers would ask for them."""
    return isinstance(value, kind)


def to_raw(value: Any) -> Any:
    """Return the raw form of an array or tensor of numbers, a number for one of numpy's; None for anything else."""
    given = as_array(value)
    if given is None or given.dtype.kind not in NUMBERS:
        return None
    import numpy as np

    if _is(given, np.generic):
        return given.item()
    little = given.astype(given.dtype.newbyteorder("<"), copy=False)
    data = np.ascontiguousarray(little).reshape(-1).view(np.uint8).data if little.size else b""
    return {"dtype": little.dtype.str, "shape": list(given.shape), "data": data}


def encoded_image(value: Any) -> bytes | None:
    """Return an image as PNG, None for anything else."""
    image = sys.modules.get("PIL.Image")
    if image is None or not isinstance(value, image.Image):
        return None
    buffer = io.BytesIO()
    value.save(buffer, format="PNG")
    return buffer.getvalue()


def _raw_form(value: Any) -> dict[str, Any] | None:
    """Return dtype, shape and data of an array in the raw form, or in that of the package msgpack-numpy; None if it is neither."""
    if not _is(value, dict):
        return None
    given: dict[Any, Any] = value
    if given.keys() == RAW:
        return given
    other = {key.decode("latin-1") if isinstance(key, bytes) else key: inner for key, inner in given.items()}
    if other.get("nd") is True and other.get("kind", b"") in (b"", "") and other.keys() >= {"type", "shape", "data"}:
        return {"dtype": other["type"], "shape": other["shape"], "data": other["data"]}
    return None


class ArrayRule:
    """Pydantic's view of `numpy.ndarray`: an array, its raw form, or nested lists of numbers; JSON is nested lists."""

    def __init__(self, dtype: Any = None) -> None:
        self.dtype = dtype

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Return the schema; called by pydantic."""
        return core_schema.no_info_plain_validator_function(
            self.validate, serialization=core_schema.plain_serializer_function_ser_schema(lambda array: array.tolist(), when_used="json")
        )

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe it as nested lists; called by pydantic."""
        kinds = ["array", "number", "boolean"]  # nested as deep as they like, down to one number
        return {"type": kinds, "items": {"type": kinds}, "description": f"nested lists of numbers ({self.dtype or 'any dtype'})"}

    def validate(self, value: Any) -> Any:
        """Return `value` as an array of the annotated dtype."""
        import numpy as np

        if (raw := _raw_form(value)) is not None:
            value = from_raw(**raw)
        if isinstance(value, np.ndarray | np.generic):  # operations on arrays without dimensions give scalars
            given = np.asarray(cast("np.ndarray[Any, np.dtype[Any]]", value))
            if self.dtype is not None and not np.issubdtype(given.dtype, self.dtype):
                message = f"array of dtype {given.dtype}, expected {np.dtype(self.dtype)}"
                raise ValueError(message)
            return given
        if not isinstance(value, list | tuple | int | float):
            message = f"expected an array or nested lists of numbers, got {type(value).__name__}"
            raise ValueError(message)  # noqa: TRY004  # pydantic collects ValueErrors
        array = np.asarray(value, dtype=self.dtype)
        if array.dtype.kind not in NUMBERS:
            message = f"expected numbers, got {array.dtype}"
            raise ValueError(message)
        return array


class TensorRule(ArrayRule):
    """Pydantic's view of `torch.Tensor`: a tensor, its raw form, or nested lists of numbers; JSON is nested lists."""

    def validate(self, value: Any) -> Any:
        """Return `value` as a tensor."""
        import torch

        if isinstance(value, torch.Tensor):
            return value
        array = super().validate(value)
        return torch.as_tensor(array if array.flags.writeable else array.copy())  # a tensor has no way to be read-only


class ImageRule:
    """Pydantic's view of `PIL.Image.Image`: an image, an encoded one, or the base64 of that; JSON is base64 of a PNG."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Return the schema; called by pydantic."""
        return core_schema.no_info_plain_validator_function(
            self.validate, serialization=core_schema.plain_serializer_function_ser_schema(self.to_json, when_used="json")
        )

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe it as base64; called by pydantic."""
        return {"type": "string", "format": "base64", "description": "an encoded image, in base64"}

    @staticmethod
    def validate(value: Any) -> Any:
        """Return `value` as an image."""
        from PIL import Image

        if isinstance(value, Image.Image):
            return value
        if not isinstance(value, str | bytes):
            message = f"expected an image or base64 text, got {type(value).__name__}"
            raise ValueError(message)  # noqa: TRY004  # pydantic collects ValueErrors
        try:
            image = Image.open(io.BytesIO(value if isinstance(value, bytes) else base64.b64decode(value, validate=True)))
            image.load()
        except Exception as error:  # noqa: BLE001  # each image format has errors of its own
            message = f"no readable image: {error}"
            raise ValueError(message) from None
        return image

    @staticmethod
    def to_json(image: Any) -> str:
        """Return the image as base64 of a PNG."""
        return base64.b64encode(encoded_image(image) or b"").decode()


def rule_for(annotation: Any) -> ArrayRule | ImageRule | None:
    """Return the rule for an array, tensor or image annotation, or None if it is something else."""
    origin = get_origin(annotation) or annotation
    if (numpy := sys.modules.get("numpy")) is not None and origin is numpy.ndarray:
        return ArrayRule(_dtype_of(annotation))
    if (torch := sys.modules.get("torch")) is not None and origin is getattr(torch, "Tensor", None):
        return TensorRule()
    if (image := sys.modules.get("PIL.Image")) is not None and origin is image.Image:
        return ImageRule()
    return None


def _dtype_of(annotation: Any) -> Any:
    """Return the scalar type of `NDArray[scalar]`, or None where the annotation leaves it open."""
    arguments = get_args(annotation)
    inner = get_args(arguments[1]) if len(arguments) == 2 else ()  # noqa: PLR2004  # shape and dtype
    return inner[0] if inner and isinstance(inner[0], type) else None
