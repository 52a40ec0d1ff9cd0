"""What a client has to know of an OpenAPI document: operations with their parameters and results, and the types."""

from __future__ import annotations

import dataclasses
import keyword
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from motet.errors import UsageError

Json = dict[str, Any]

JSON = "application/json"
BYTES = "application/octet-stream"
EVENTS = "text/event-stream"
ANY: Json = {}
VERBS = ("post", "get", "put", "patch", "delete")  # the first one that a client can use
RAW: Json = {"type": "string", "format": "base64url"}  # what bytes are called inside JSON

BodyForm = Literal["nothing", "fields", "whole", "bytes", "query"]
ResultForm = Literal["value", "bytes", "items", "pieces"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One argument of a method.

    Attributes:
        name: in the body.
        schema: of its values.
        required: whether it has to be given.
    """

    name: str
    schema: Json
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One endpoint.

    Attributes:
        name: of the method.
        verb: the method of HTTP.
        path: below the URL of the app.
        doc: what it does.
        parameters: in order; the body or the query is made of them.
        body: whether the body is nothing, an object of the parameters, or the only parameter itself, as JSON or as bytes; or
            whether the parameters are in the query.
        result: whether it answers with a JSON value, bytes, a stream of JSON items, or a stream of bytes.
        returns: schema of the value or item.
    """

    name: str
    verb: str
    path: str
    doc: str
    parameters: tuple[Parameter, ...]
    body: BodyForm
    result: ResultForm
    returns: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """All that a client offers.

    Attributes:
        name: of the client's class.
        doc: what the app does.
        operations: its endpoints.
        types: schemas by the names of their types.
        skipped: method and path of operations that take or give what a client can't write.
    """

    name: str
    doc: str
    operations: tuple[Operation, ...]
    types: Mapping[str, Json]
    skipped: tuple[str, ...]


def read_api(document: Json, *, route: str = "/", taken: Collection[str] = ()) -> Api:
    """Read a document as Motet makes it.

    Args:
        document: the OpenAPI document.
        route: the operations below this path are read; paths of the client are relative to it.
        taken: names that no type may have, since the client uses them itself.

    Raises:
        UsageError: there is no operation below the route.
    """
    prefix = route.rstrip("/")
    items: dict[str, Json] = document.get("paths", {})
    under = {path[len(prefix) :]: item for path, item in items.items() if path == (prefix or "/") or path.startswith(f"{prefix}/")}
    if not under:
        raise UsageError("there is no endpoint below this path", found=route, instead=", ".join(sorted(items)) or "an app")
    title = str(document["info"]["title"])
    tags = {tag for item in under.values() for operation in item.values() for tag in operation.get("tags", ())}
    if len(under) < len(items) and len(tags) == 1:  # one app of several, whose operations have its name
        (tag,) = tags
        title = tag[:1].upper() + tag[1:]
    schemas: dict[str, Json] = dict(cast("Json", document.get("components", {})).get("schemas", {}))
    schemas.pop("MotetError", None)
    names = _names(schemas, {*taken, title, f"Async{title}"})
    read: dict[str, Operation | None] = {}
    for path, item in under.items():
        verbs = [verb for verb in VERBS if verb in item]
        read[path] = next((made for verb in verbs if (made := _operation(path.rstrip("/"), verb, item[verb])) is not None), None)
    last = [operation.name for operation in read.values() if operation is not None]
    for path, operation in read.items():
        if operation is not None and last.count(operation.name) > 1:  # endpoints of several apps
            read[path] = dataclasses.replace(operation, name=identifier(path))
    types: dict[str, Json] = {}
    for old, name in names.items():
        types.setdefault(name, _with_names(schemas[old], names))
    return Api(
        name=identifier(title, start="Api"),
        doc=str(document["info"].get("description", "")),
        operations=tuple(_renamed(operation, names) for operation in read.values() if operation is not None),
        types=types,
        skipped=tuple(f"{next(iter(under[path])).upper()} {path}" for path, operation in read.items() if operation is None),
    )


def _operation(path: str, verb: str, operation: Json) -> Operation | None:
    """Return an operation, or None if a client can't write its body or read its answer."""
    content: Json = operation.get("requestBody", {}).get("content", {})
    answers: Json = operation["responses"].get("200", {}).get("content", {})
    parameters: tuple[Parameter, ...] = ()
    body: BodyForm = "nothing"
    if described := operation.get("parameters"):
        body = "query"
        parameters = tuple(Parameter(name=each["name"], schema=each["schema"], required=each["required"]) for each in described)
    elif content:
        if JSON not in content:
            return None
        schema: Json = content[JSON]["schema"]
        if (whole := operation.get("x-codegen-request-body-name")) is not None:
            body, parameters = "whole", (Parameter(name=whole, schema=schema, required=True),)
        else:
            required = schema.get("required", ())
            parameters = tuple(
                Parameter(name=name, schema=described, required=name in required)
                for name, described in cast("Json", schema.get("properties", {})).items()
            )
            body = "bytes" if BYTES in content else "fields"
    result: ResultForm
    if EVENTS in answers:
        result, returns = "items", answers[EVENTS]["schema"]["oneOf"][0]["properties"]["data"]["contentSchema"]
    elif JSON in answers:
        result, returns = "value", answers[JSON]["schema"]
    elif BYTES in answers:
        result, returns = ("pieces" if operation.get("x-motet-stream") else "bytes"), RAW
    else:
        return None
    doc = "\n\n".join(operation[part] for part in ("summary", "description") if part in operation)
    name = path.rpartition("/")[2] if not operation["operationId"].endswith("__call__") else "__call__"
    return Operation(name=name, verb=verb.upper(), path=path, doc=doc, parameters=parameters, body=body, result=result, returns=returns)


# -- names of types ----------------------------------------------------------------------------------------------------


def _names(schemas: Mapping[str, Json], taken: Collection[str]) -> dict[str, str]:
    """Return the name of the type for each schema: those that differ for input and output only by name become one."""
    same = {
        name: f"{name.removesuffix('-Input')}-Output"
        for name in schemas
        if name.endswith("-Input") and f"{name.removesuffix('-Input')}-Output" in schemas
    }
    while differing := [name for name, other in same.items() if _plain(schemas[name], same) != _plain(schemas[other], same)]:
        for name in differing:
            del same[name]
    found: dict[str, str] = {}
    for name in schemas:
        twin = name.removesuffix("-Output") + "-Input"
        if name.endswith("-Output") and twin in same and twin in found:
            found[name] = found[twin]
            continue
        base = name.removesuffix("-Input") if name in same else name
        wanted = identifier(base, start="Type")
        while wanted in taken or wanted in found.values():
            wanted += "_"
        found[name] = wanted
    return found


def _plain(value: Any, same: Mapping[str, str]) -> Any:
    references = {f"#/components/schemas/{name}": f"#/components/schemas/{other}" for name, other in same.items()}
    return _replaced(value, references)


def _with_names(value: Any, names: Mapping[str, str]) -> Any:
    return _replaced(value, {f"#/components/schemas/{old}": new for old, new in names.items()})


def _replaced(value: Any, references: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: references.get(inner, inner) if key == "$ref" else _replaced(inner, references)
            for key, inner in cast("Json", value).items()
        }
    if isinstance(value, list):
        return [_replaced(inner, references) for inner in cast("Sequence[Any]", value)]
    return value


def _renamed(operation: Operation, names: Mapping[str, str]) -> Operation:
    parameters = tuple(dataclasses.replace(parameter, schema=_with_names(parameter.schema, names)) for parameter in operation.parameters)
    return dataclasses.replace(operation, parameters=parameters, returns=_with_names(operation.returns, names))


def identifier(text: str, *, start: str = "x") -> str:
    """Return text as a name in Python and TypeScript."""
    name = re.sub(r"\W", "_", text, flags=re.ASCII).strip("_") or start
    name = name if not name[0].isdigit() else f"{start}_{name}"
    return f"{name}_" if keyword.iskeyword(name) else name
