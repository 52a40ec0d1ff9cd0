"""How arrays, tensors and images are validated and written as JSON; none of their libraries is imported unless it is in use."""

from __future__ import annotations

import base64
import io
import sys
from typing import Any, cast, get_args, get_origin

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema


class ArrayRule:
    """Pydantic's view of `numpy.ndarray`: an array as it is, or nested lists of numbers; JSON is nested lists."""

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
        if array.dtype.kind not in "biufc":
            message = f"expected numbers, got {array.dtype}"
            raise ValueError(message)
        return array


class TensorRule(ArrayRule):
    """Pydantic's view of `torch.Tensor`: a tensor as it is, or nested lists of numbers; JSON is nested lists."""

    def validate(self, value: Any) -> Any:
        """Return `value` as a tensor."""
        import torch

        return value if isinstance(value, torch.Tensor) else torch.as_tensor(super().validate(value))


class ImageRule:
    """Pydantic's view of `PIL.Image.Image`: an image as it is, or the base64 of an encoded one; JSON is base64 of a PNG."""

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
        if not isinstance(value, str):
            message = f"expected an image or base64 text, got {type(value).__name__}"
            raise ValueError(message)  # noqa: TRY004  # pydantic collects ValueErrors
        try:
            image = Image.open(io.BytesIO(base64.b64decode(value, validate=True)))
            image.load()
        except Exception as error:  # noqa: BLE001  # each image format has errors of its own
            message = f"no readable image: {error}"
            raise ValueError(message) from None
        return image

    @staticmethod
    def to_json(image: Any) -> str:
        """Return the image as base64 of a PNG."""
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        return base64.b64encode(buffer.getvalue()).decode()


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
