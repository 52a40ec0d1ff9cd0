"""The OpenAPI description of an app's endpoints, made from their annotations."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, cast

import typing_extensions
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import PydanticSerializationError, core_schema, to_jsonable_python

from motet.definitions import EndpointDefinition
from motet.graph import Graph, endpoint_paths
from motet.schema import CONFIG, EndpointSchema, schema_of, with_rules

Json = dict[str, Any]

REFS = "#/components/schemas/{model}"
BYTES: Json = {"type": "string", "format": "binary"}
TEXT: Json = {"type": "string"}

ERROR: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "message", "request_id"],
            "properties": {
                "type": {"type": "string", "description": "class of the error"},
                "message": {"type": "string"},
                "where": {"type": "string"},
                "found": {"type": "string"},
                "instead": {"type": "string", "description": "what to send or do"},
                "problems": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"at": {"type": "string"}, "problem": {"type": "string"}, "found": {"type": "string"}},
                    },
                },
                "request_id": {"type": "string"},
            },
        }
    },
}


_ERROR_NAME = "MotetError"
_KEYS: Json = {"bearer": {"type": "http", "scheme": "bearer"}, "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}


class _Schemas(GenerateJsonSchema):
    """Pydantic's JSON schemas, with `{}` for what has none."""

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """Say that the tag has to be there, even if each of the members has a default for it."""
        made = super().tagged_union_schema(schema)
        tag = made.get("discriminator", {}).get("propertyName")
        return made if tag is None else {**made, "required": [tag]}

    def bytes_schema(self, schema: core_schema.BytesSchema) -> JsonSchemaValue:
        """Describe bytes as what they are inside JSON: base64, or text if a model of its own says so."""
        made = super().bytes_schema(schema)
        encoding = made.pop("format", None)
        return {**made, "format": encoding, "contentEncoding": encoding} if encoding != "binary" else made

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:  # noqa: ARG002
        """Accept anything."""
        return {}

    def emit_warning(self, kind: Any, detail: str) -> None:
        """Say nothing: a default that isn't JSON is left out, and that is all there is to it."""


def openapi(graph: Graph) -> Json:
    """Return the OpenAPI 3.1 document of an app: the endpoints of its root."""
    definition = graph.nodes[graph.root].definition
    schemas = {endpoint.name: schema_of(endpoint, definition.cls) for endpoint in definition.endpoints.values()}
    found, components = _json_schemas(schemas)
    for key in found:
        if key[1] == "serialization" or schemas[key[0]].body == "object":  # records that are no types which anybody else uses
            found[key] = components.pop(found[key].get("$ref", "").rpartition("/")[2], found[key])
    for key in found:
        if key[1] == "serialization":
            found[key] = found[key]["properties"]["value"]
            found[key].pop("title", None)
    paths = endpoint_paths(graph.route, definition)
    tag = graph.name if graph.name != "default" else graph.root
    return {
        "openapi": "3.1.0",
        "info": {
            "title": graph.root,
            "version": graph.nodes[graph.root].identity[:12],
            **_texts(inspect.getdoc(definition.cls) if definition.cls.__doc__ else None, whole=True),
        },
        "paths": {
            paths[endpoint.name]: {
                method.lower(): {
                    "operationId": _operation(graph, endpoint, method, schemas[endpoint.name]),
                    "tags": [tag],
                    **_texts(inspect.getdoc(endpoint.function)),
                    **({"x-motet-stream": True} if endpoint.kind == "stream" else {}),  # for bytes nothing else tells it
                    **_request(endpoint, schemas[endpoint.name], found, method),
                    "responses": _responses(endpoint, schemas[endpoint.name], found),
                }
                for method in schemas[endpoint.name].methods
            }
            for endpoint in definition.endpoints.values()
            if not endpoint.ingress  # what it answers is its own to describe
        },
        "components": {"schemas": {**components, _ERROR_NAME: ERROR}},
    }


def _operation(graph: Graph, endpoint: EndpointDefinition, method: str, schema: EndpointSchema) -> str:
    name = endpoint.name if graph.name == "default" else f"{graph.name}_{endpoint.name}"
    return name if method == schema.methods[0] else f"{name}_{method.lower()}"


def _texts(doc: str | None, *, whole: bool = False) -> Json:
    if not doc:
        return {}
    first, _, rest = doc.partition("\n")
    if whole:
        return {"description": doc}
    return {"summary": first.strip()} | ({"description": rest.strip()} if rest.strip() else {})


# Methods whose arguments come from the query, and the types of forms.
BODILESS = ("GET", "DELETE")
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")

_Key = tuple[str, JsonSchemaMode]


def _json_schemas(schemas: dict[str, EndpointSchema]) -> tuple[dict[_Key, Json], Json]:
    """Return the schema of each endpoint's input and output, and the definitions that they share.

    All are made at once, so that pydantic tells apart different types of one name.
    """
    wanted: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = []
    for name, schema in schemas.items():
        if schema.body != "empty":
            wanted.append((name, "validation", schema.only or schema.arguments))
        wanted.append((name, "serialization", _result_record(name, schema)))

    def make(adapters: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]]) -> tuple[dict[_Key, Json], Json]:
        found, shared = TypeAdapter[Any].json_schemas(adapters, ref_template=REFS, schema_generator=_Schemas)
        return found, shared.get("$defs", {})

    def describable(adapter: tuple[str, JsonSchemaMode, TypeAdapter[Any]]) -> bool:
        try:
            make([adapter])
        except Exception:  # noqa: BLE001  # a user's own hook may raise anything; the endpoint works without a description
            return False
        return True

    try:
        return make(wanted)
    except Exception:  # noqa: BLE001
        return make([adapter for adapter in wanted if describable(adapter)])


def _result_record(name: str, schema: EndpointSchema) -> TypeAdapter[Any]:
    """Return an adapter of a record with the result as its only value: only records bring their configuration into a schema."""
    make_typed_dict: Any = typing_extensions.TypedDict
    record = make_typed_dict(f"{name}_result", {"value": with_rules(schema.returns)})
    record.__pydantic_config__ = CONFIG
    return TypeAdapter(record)


def _request(endpoint: EndpointDefinition, schema: EndpointSchema, found: dict[_Key, Json], method: str) -> Json:
    if schema.body == "empty":
        reads = "request" in schema.given.values() and method not in BODILESS
        return {"requestBody": {"content": {"*/*": {}}}} if reads else {}
    body = dict(found.get((endpoint.name, "validation"), {}))
    if schema.body == "object":
        body.pop("title", None)  # of the record that validates the arguments, which has no name of its own
        body["properties"] = {
            name: {**described, **_default(endpoint, name)} for name, described in cast("Json", body.get("properties", {})).items()
        }
    if method in BODILESS:
        return {"parameters": _parameters(schema, body)}
    if schema.files:
        return {"requestBody": {"required": True, "content": {FORMS[0]: {"schema": body}}}}
    content: Json = {"application/json": {"schema": body}}
    if schema.form:
        content |= {form: {"schema": body} for form in FORMS}
    if schema.raw is not None:
        content |= {"application/octet-stream": {"schema": BYTES}} if schema.raw is bytes else {"text/plain": {"schema": TEXT}}
    named = {"x-codegen-request-body-name": schema.names[0]} if schema.body == "model" else {}
    return {"requestBody": {"required": True, "content": content}, **named}


def _parameters(schema: EndpointSchema, body: Json) -> list[Json]:
    """Describe arguments that come from the query; the fields of a model are parameters of their own."""
    if schema.body == "model":
        return [{"name": schema.names[0], "in": "query", "required": True, "style": "form", "explode": True, "schema": body}]
    required = cast("list[str]", body.get("required", []))
    found: list[Json] = []
    for name, described in cast("Json", body.get("properties", {})).items():
        shape: Json = {"content": {"application/json": {"schema": described}}} if name in schema.nested else {"schema": described}
        found.append({"name": name, "in": "query", "required": name in required, **shape})
    return found


def _default(endpoint: EndpointDefinition, name: str) -> Json:
    default = endpoint.signature.parameters[name].default
    if default is inspect.Parameter.empty:
        return {}
    try:
        return {"default": to_jsonable_python(default)}
    except PydanticSerializationError:
        return {}


def _responses(endpoint: EndpointDefinition, schema: EndpointSchema, found: dict[_Key, Json]) -> Json:
    described = {"schema": found.get((endpoint.name, "serialization"), {})}
    content: Json
    error = {"application/json": {"schema": {"$ref": REFS.format(model=_ERROR_NAME)}}}
    if schema.surface == "websocket":
        return {"101": {"description": "a WebSocket"}, "default": {"description": "any error", "content": error}}
    if schema.responds:
        content = {"*/*": {}}
    elif schema.returns is bytes:
        content = {"application/octet-stream": {"schema": BYTES}}
    elif endpoint.kind == "stream":
        content = {"text/event-stream": {"schema": _events(described["schema"])}, "application/x-ndjson": described}
    else:
        content = {"application/json": described}
    if schema.returns is str:
        content["text/plain"] = {"schema": TEXT}
    return {
        "200": {"description": "one item each, as it is made" if endpoint.kind == "stream" else "the result", "content": content},
        "422": {"description": "the arguments don't fit", "content": error},
        "default": {"description": "any other error", "content": error},
    }


def _events(item: Json) -> Json:
    """Describe server-sent events: before version 3.2 of OpenAPI, the schema of a stream is that of each of its events."""

    def event(title: str, kind: str, data: Json) -> Json:
        return {
            "title": title,
            "type": "object",
            "required": ["data"] if kind == "message" else ["event", "data"],  # what a message is called may be left out
            "properties": {
                "event": {"const": kind},
                "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": data},
            },
        }

    error = {"$ref": REFS.format(model=_ERROR_NAME)}
    return {"oneOf": [event("item", "message", item), event("end", "end", {}), event("error", "error", error)]}


def merged(documents: Sequence[Json], *, with_keys: bool) -> Json:
    """Return one document of several apps; different schemas of one name are told apart by a number.

    Args:
        documents: as `openapi` makes them.
        with_keys: whether requests have to carry an API key.
    """
    paths: Json = {}
    schemas: Json = {}
    for document in documents:
        own: Json = document["components"]["schemas"]
        references = _new_names(own, schemas)
        for name, schema in own.items():
            reference = REFS.format(model=name)
            schemas[references.get(reference, reference).rpartition("/")[2]] = _rewritten(schema, references)
        paths |= _rewritten(document["paths"], references)
    info = documents[0]["info"] if len(documents) == 1 else {"title": "Motet", "version": "-".join(d["info"]["version"] for d in documents)}
    whole: Json = {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": schemas}}
    if with_keys:
        whole["components"]["securitySchemes"] = _KEYS
        whole["security"] = [{name: []} for name in _KEYS]
    return whole


def _new_names(own: Json, taken: Json) -> dict[str, str]:
    """Return new references for the schemas of `own` whose names `taken` has for others."""
    references: dict[str, str] = {}
    while True:
        # A schema may clash only because one that it refers to got another name.
        clashing = [
            name
            for name, schema in own.items()
            if name in taken and REFS.format(model=name) not in references and taken[name] != _rewritten(schema, references)
        ]
        if not clashing:
            return references
        for name in clashing:
            number = 2
            while f"{name}-{number}" in taken or f"{name}-{number}" in own:
                number += 1
            references[REFS.format(model=name)] = REFS.format(model=f"{name}-{number}")


def _rewritten(value: Any, references: Mapping[str, str]) -> Any:
    """Return a JSON value with the strings that are keys of `references` replaced."""
    if isinstance(value, str):
        return references.get(value, value)
    if isinstance(value, dict):
        return {key: _rewritten(inner, references) for key, inner in cast("Json", value).items()}
    if isinstance(value, list):
        return [_rewritten(inner, references) for inner in cast("Sequence[Any]", value)]
    return value
