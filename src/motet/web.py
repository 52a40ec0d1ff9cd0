"""The classes of HTTP that an endpoint may take and give. They are Starlette's, which is imported once one of them is in use."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

Role = Literal["request", "websocket", "response", "upload"]

# Names that `motet` has for Starlette's classes, and the modules that define them.
CLASSES: Mapping[str, str] = MappingProxyType({
    "Request": "starlette.requests",
    "Response": "starlette.responses",
    "UploadFile": "starlette.datastructures",
    "WebSocket": "starlette.websockets",
})  # fmt: skip
_ROLES: Mapping[str, Role] = {"Request": "request", "Response": "response", "UploadFile": "upload", "WebSocket": "websocket"}


def role_of(annotation: Any) -> Role | None:
    """Return which of the classes an annotation is, or a subclass of; None for anything else."""
    kind = get_origin(annotation) or annotation
    if not isinstance(kind, type):
        return None
    for name, module in CLASSES.items():
        known = getattr(sys.modules.get(module), name, None)  # who annotates with it has imported it
        if known is not None and issubclass(kind, known):
            return _ROLES[name]
    return None


def mentions(annotation: Any, role: Role) -> bool:
    """Whether a class of the role is the annotation or anywhere inside it."""
    return role_of(annotation) == role or any(mentions(argument, role) for argument in get_args(annotation))


class UploadRule:
    """Pydantic's view of an uploaded file: as it is."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Return the schema; called by pydantic."""
        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe it as OpenAPI does; called by pydantic."""
        return {"type": "string", "format": "binary"}

    @staticmethod
    def validate(value: Any) -> Any:
        """Return `value` if it is an uploaded file."""
        if role_of(type(value)) != "upload":
            message = f"expected an uploaded file, got {type(value).__name__}"
            raise ValueError(message)
        return value
