"""A request body that an endpoint might get, for the curl line that `motet serve` prints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from motet.definitions import EndpointDefinition, ServiceDefinition
from motet.schema import schema_of

MAX_DEPTH = 4
_BY_TYPE: Mapping[str, Any] = {"string": "...", "integer": 1, "number": 1.0, "boolean": True, "null": None}


def sample_body(definition: ServiceDefinition, endpoint: EndpointDefinition) -> str:
    """Return a JSON body with every required field, as one line of text; empty for an endpoint without parameters."""
    schema = schema_of(endpoint, definition.cls)
    if schema.body == "empty":
        return ""
    try:
        document = (schema.only or schema.arguments).json_schema()
    except Exception:  # noqa: BLE001  # a type without JSON schema: any pydantic or user error
        return "{}"
    return json.dumps(_sample(document, document.get("$defs", {}), 0))


def _sample(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int) -> Any:  # noqa: PLR0911  # each keyword has an answer
    if "$ref" in schema:
        return _sample(definitions.get(schema["$ref"].rpartition("/")[2], {}), definitions, depth)
    for key in ("const", "default", "example"):
        if key in schema:
            return schema[key]
    if schema.get("enum") or schema.get("examples"):
        return (schema.get("examples") or schema["enum"])[0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return _sample(schema[key][0], definitions, depth)
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        required = schema.get("required", ())
        return (
            {}
            if depth > MAX_DEPTH
            else {name: _sample(field, definitions, depth + 1) for name, field in schema.get("properties", {}).items() if name in required}
        )
    if kind == "array":
        return [] if depth > MAX_DEPTH or not schema.get("items") else [_sample(schema["items"], definitions, depth + 1)]
    if kind in ("integer", "number") and "minimum" in schema:
        return schema["minimum"]
    return _BY_TYPE.get(str(kind), "...")
