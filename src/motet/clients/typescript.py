"""Writes clients in TypeScript: one file that needs `fetch`, which browsers and Node have."""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Iterable
from typing import cast

from motet.clients.document import ANY, Api, Json, Operation, Parameter, identifier, read_api

_BASE = importlib.resources.files("motet.clients").joinpath("typescript_base.ts").read_text()
_TAKEN = frozenset(re.findall(r"^(?:export )?(?:class|interface|const|function|type) (\w+)", _BASE, re.MULTILINE)) | {
    "Record",
    "Promise",
    "AsyncIterable",
}
_PLAIN = {"integer": "number", "number": "number", "boolean": "boolean", "string": "string", "null": "null"}
_WORDS = frozenset({  # that name no parameter, beyond those of Python
    *("arguments", "case", "catch", "const", "debugger", "default", "delete", "do", "enum", "eval", "export", "extends", "function", "in"),
    *("instanceof", "interface", "let", "new", "package", "private", "protected", "public", "static", "super", "switch", "this", "throw"),
    *("typeof", "var", "void"),
})  # fmt: skip
_OWN_METHODS = ("options", "send", "value", "bytes", "pieces", "items", "url", "settings", "constructor")


def write_typescript(document: Json, *, route: str = "/", source: str) -> tuple[str, tuple[str, ...]]:
    """Return the source of a client, and the paths of endpoints that it can't call.

    Args:
        document: the OpenAPI document of an app or server.
        route: the endpoints below this path are in the client.
        source: where the document comes from, for the first line.

    Raises:
        UsageError: there is no endpoint below the route.
    """
    api = read_api(document, route=route, taken=_TAKEN)
    first = f"// Client of {api.name}, made by `motet client {source}`; make it anew rather than change it."
    return "\n\n".join(
        [first, _BASE.strip(), *(_type(name, schema) for name, schema in api.types.items()), _class(api)]
    ) + "\n", api.skipped


def _type(name: str, schema: Json) -> str:
    doc = _comment(str(schema.get("description", "")), "")
    return f"{doc}export type {name} = {type_of(schema)};"


def type_of(schema: Json | bool) -> str:  # noqa: FBT001, PLR0911  # JSON Schema has true for anything, and one return for each form
    """Return the type for values of a schema; dates, times and bytes are the strings that they are in JSON."""
    if isinstance(schema, bool):
        return "unknown"
    if "$ref" in schema:
        return str(schema["$ref"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return _union(json.dumps(value) for value in schema["enum"])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return _union(type_of(inner) for inner in schema[several])
    kind = schema.get("type")
    if isinstance(kind, list):
        return _union(_of_kind(inner, schema) for inner in cast("list[str]", kind))
    return _of_kind(kind, schema)


def _of_kind(kind: str | None, schema: Json) -> str:
    if kind == "array":
        if "prefixItems" in schema:
            return f"[{', '.join(type_of(item) for item in schema['prefixItems'])}]"
        return f"Array<{type_of(schema.get('items', ANY))}>"
    if kind == "object" and "properties" in schema:
        required = schema.get("required", ())
        fields = (
            f"{json.dumps(name)}{'' if name in required else '?'}: {type_of(inner)};"
            for name, inner in cast("Json", schema["properties"]).items()
        )
        return "{ " + " ".join(fields) + " }"
    if kind == "object":
        return f"Record<string, {type_of(schema.get('additionalProperties', ANY))}>"
    return _PLAIN.get(kind or "", "unknown")


def _union(members: Iterable[str]) -> str:
    found = list(dict.fromkeys(members))
    return "unknown" if "unknown" in found else " | ".join(found)


def _class(api: Api) -> str:
    doc = _comment(api.doc or f"Calls the endpoints of {api.name}.", "")
    return f"{doc}export class {api.name} extends Base {{\n" + "\n\n".join(_method(operation) for operation in api.operations) + "\n}"


def _method(operation: Operation) -> str:
    name = "call" if operation.name == "__call__" else identifier(operation.name)
    name = f"{name}_" if name in _OWN_METHODS else name
    parameters = sorted(operation.parameters, key=lambda parameter: not parameter.required)
    signature = ", ".join(_parameter(parameter, raw=operation.body == "bytes") for parameter in parameters)
    call, returns = {
        "value": (f"value<{type_of(operation.returns)}>", f"Promise<{type_of(operation.returns)}>"),
        "bytes": ("bytes", "Promise<Uint8Array>"),
        "items": (f"items<{type_of(operation.returns)}>", f"AsyncGenerator<{type_of(operation.returns)}>"),
        "pieces": ("pieces", "AsyncGenerator<Uint8Array>"),
    }[operation.result]
    fields = ", ".join(f"{json.dumps(parameter.name)}: {_own(parameter)}" for parameter in operation.parameters)
    body = {
        "nothing": "undefined",
        "query": "undefined",
        "fields": f"JSON.stringify({{ {fields} }})",
        "whole": f"JSON.stringify({_own(operation.parameters[0])})" if operation.parameters else "",
        "bytes": _own(operation.parameters[0]) if operation.parameters else "",
    }[operation.body]
    kind = "BYTES" if operation.body == "bytes" else "JSON_TYPE"
    path = json.dumps(operation.path) + (f" + queryOf({{ {fields} }})" if operation.body == "query" else "")
    verb = f", {json.dumps(operation.verb)}" if operation.verb != "POST" else ""
    doc = _comment(operation.doc, "  ")
    return f"{doc}  {name}({signature}): {returns} {{\n    return this.{call}({path}, {body}, {kind}{verb});\n  }}"


def _parameter(parameter: Parameter, *, raw: bool) -> str:
    given = "Uint8Array<ArrayBuffer> | ArrayBuffer | Blob" if raw else type_of(parameter.schema)
    return f"{_own(parameter)}{'' if parameter.required else '?'}: {given}"


def _own(parameter: Parameter) -> str:
    name = identifier(parameter.name)
    return f"{name}_" if name in _WORDS else name


def _comment(doc: str, indent: str) -> str:
    text = doc.strip().replace("*/", "* /")
    if not text:
        return ""
    if "\n" not in text:
        return f"{indent}/** {text} */\n"
    lines = [f"{indent} * {line}".rstrip() for line in text.splitlines()]
    return "\n".join([f"{indent}/**", *lines, f"{indent} */", ""])
