"""Writes clients in Python: one file that needs httpx and pydantic, and nothing of Motet."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, cast

from pydantic import BaseModel

from motet.clients import python_base
from motet.clients.document import ANY, Api, Json, Operation, Parameter, identifier, read_api

_BASE = inspect.getsource(python_base)
_OWN = {"Annotated", "Any", "Literal", "Field", "TypeAdapter", "Enum", "IntEnum", "TypeAlias", "UUID"}
_TAKEN = frozenset(re.findall(r"^(?:class |def )?(\w+)", _BASE, re.MULTILINE)) | _OWN
_FORMATS = {
    "date-time": "dt.datetime",
    "date": "dt.date",
    "time": "dt.time",
    "duration": "dt.timedelta",
    "uuid": "UUID",
    "base64url": "bytes",
    "base64": "bytes",
}
_PLAIN = {"integer": "int", "number": "float", "boolean": "bool", "string": "str", "null": "None"}
_IMPORTS = {
    "dt": "import datetime as dt",
    "Enum": "from enum import Enum",
    "IntEnum": "from enum import IntEnum",
    "Annotated": "from typing import Annotated",
    "Literal": "from typing import Literal",
    "TypeAlias": "from typing import TypeAlias",
    "UUID": "from uuid import UUID",
    "Field": "from pydantic import Field",
    "TypeAdapter": "from pydantic import TypeAdapter",
}


def write_python(document: Json, *, route: str = "/", source: str) -> tuple[str, tuple[str, ...]]:
    """Return the source of a client, and the paths of endpoints that it can't call.

    Args:
        document: the OpenAPI document of an app or server.
        route: the endpoints below this path are in the client.
        source: where the document comes from, for the first line.

    Raises:
        UsageError: there is no endpoint below the route.
    """
    api = read_api(document, route=route, taken=_TAKEN)
    enums = [name for name, schema in api.types.items() if _is_enum(schema)]
    models = [name for name, schema in api.types.items() if "properties" in schema]
    aliases = [name for name in api.types if name not in enums and name not in models]
    body = "\n\n\n".join(
        [
            *(_enum(name, api.types[name]) for name in enums),
            *(_model(name, api.types[name], api.types) for name in models),
            *(f"{name}: TypeAlias = {annotation(api.types[name], quoted=True)}" for name in aliases),
            "\n".join(_adapter(operation, given) for operation, given in _adapted(api)),
            _class(api, is_async=False),
            _class(api, is_async=True),
        ]
    )
    head, _, base = _BASE.partition("# -- copied from here --\n")
    imports = [line for line in head.splitlines() if line.startswith(("import ", "from "))]
    imports += [line for name, line in _IMPORTS.items() if re.search(rf"\b{name}\b", body)]
    first = f'"""Client of {api.name}, made by `motet client {source}`; make it anew rather than change it."""'
    return "\n\n".join([f"# fmt: off\n# ruff: noqa\n{first}", _sorted_imports(imports), base.strip(), "", body]) + "\n", api.skipped


def _sorted_imports(lines: Iterable[str]) -> str:
    """Return import statements with one for each module, in the order of formatters."""
    modules: dict[str, set[str]] = {}
    plain: set[str] = set()
    for line in lines:
        if line.startswith("from "):
            module, _, names = line.removeprefix("from ").partition(" import ")
            modules.setdefault(module, set()).update(names.split(", "))
        else:
            plain.add(line)
    future = modules.pop("__future__", set())
    froms = {module: f"from {module} import {', '.join(sorted(names))}" for module, names in modules.items()}
    others = {"httpx", "pydantic", "pydantic_core"}

    def block(theirs: bool) -> list[str]:  # noqa: FBT001  # one of two blocks
        chosen = [line for line in sorted(plain) if (line.split()[1] in others) is theirs]
        return chosen + [froms[module] for module in sorted(froms) if (module in others) is theirs]

    return "\n".join([f"from __future__ import {', '.join(sorted(future))}", "", *block(theirs=False), "", *block(theirs=True)])


# -- types -------------------------------------------------------------------------------------------------------------


def annotation(schema: Json | bool, *, quoted: bool = False) -> str:  # noqa: FBT001  # JSON Schema has true for anything
    """Return the annotation for values of a schema."""
    if isinstance(schema, bool):
        return "Any"
    made = _annotation(schema)
    return _literal(made) if quoted else made


def _annotation(schema: Json) -> str:  # noqa: PLR0911  # one for each form of a schema
    if "$ref" in schema:
        return str(schema["$ref"])
    if "const" in schema:
        return f"Literal[{_literal(schema['const'])}]"
    if "enum" in schema:
        return f"Literal[{', '.join(_literal(value) for value in schema['enum'])}]"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            union = _union(annotation(inner) for inner in schema[several])
            tag = cast("Json", schema.get("discriminator", {})).get("propertyName")
            return union if tag is None else f"Annotated[{union}, Field(discriminator={_literal(identifier(tag))})]"
    if len(schema.get("allOf", ())) == 1:
        return annotation(schema["allOf"][0])
    kind = schema.get("type")
    if isinstance(kind, list):
        return _union(_of_kind(inner, schema) for inner in cast("list[str]", kind))
    return _of_kind(kind, schema)


def _of_kind(kind: str | None, schema: Json) -> str:
    if kind == "string":
        return _FORMATS.get(schema.get("format", ""), "str")
    if kind == "array":
        if "prefixItems" in schema:
            return f"tuple[{', '.join(annotation(item) for item in schema['prefixItems'])}]"
        return f"list[{annotation(schema.get('items', ANY))}]"
    if kind == "object":
        values = schema.get("additionalProperties", ANY)
        return f"dict[str, {annotation(values) if 'properties' not in schema else 'Any'}]"
    return _PLAIN.get(kind or "", "Any")


def _union(members: Iterable[str]) -> str:
    found = list(dict.fromkeys(members))
    return "Any" if "Any" in found else " | ".join(found)


def _is_enum(schema: Json) -> bool:
    values = schema.get("enum", ())
    return len(values) > 0 and (all(type(value) is str for value in values) or all(type(value) is int for value in values))


def _enum(name: str, schema: Json) -> str:
    base = "str, Enum" if isinstance(schema["enum"][0], str) else "IntEnum"
    members: dict[str, Any] = {}
    for value in schema["enum"]:
        member = identifier(str(value), start="VALUE").upper()
        while member in members:
            member += "_"
        members[member] = value
    lines = [f"{member} = {_literal(value)}" for member, value in members.items()]
    return f"class {name}({base}):\n{textwrap.indent(_docstring(schema.get('description', ''), lines), '    ')}"


def _model(name: str, schema: Json, types: Mapping[str, Json]) -> str:
    required = schema.get("required", ())
    lines = [_field(field, inner, field in required, types) for field, inner in cast("Json", schema["properties"]).items()]
    return f"class {name}(Model):\n{textwrap.indent(_docstring(schema.get('description', ''), lines), '    ')}"


def _field(name: str, schema: Json | bool, required: bool, types: Mapping[str, Json]) -> str:  # noqa: FBT001  # both come as they are
    own = identifier(name)
    own = own if not hasattr(BaseModel, own) and own not in types else f"{own}_"
    given, default = annotation(schema), None if required else default_of(schema, types)
    if not required and default is None:
        given, default = _or_none(given), "None"
    if own != name:
        first = "" if default is None else f"default={default}, "
        return f"{own}: {given} = Field({first}validation_alias={_literal(name)}, serialization_alias={_literal(name)})"
    return f"{own}: {given}" + ("" if default is None else f" = {default}")


def _literal(value: Any) -> str:
    """Return a JSON value as source."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _or_none(given: str) -> str:
    return given if given == "Any" or given.endswith("None") else f"{given} | None"


def default_of(schema: Json | bool, types: Mapping[str, Json]) -> str | None:  # noqa: FBT001  # as above
    """Return the default of a value as source, or None if there is none that can be written down."""
    if isinstance(schema, bool) or "default" not in schema:
        return None
    value = schema["default"]
    if (kind := schema.get("$ref")) is not None:
        if kind in types and _is_enum(types[kind]):
            return f"{kind}({_literal(value)})"
        return None
    if value in ([], {}):
        return repr(value)
    is_text = isinstance(value, str) and annotation(schema) in ("str", "str | None")
    simple = is_text or value is None or isinstance(value, bool | int | float)
    is_literal = "const" in schema or "enum" in schema
    return _literal(value) if simple or is_literal else None


# -- methods -----------------------------------------------------------------------------------------------------------


def _adapted(api: Api) -> list[tuple[Operation, str]]:
    """Return the operations whose result needs an adapter, and its type."""
    found = [(operation, annotation(operation.returns)) for operation in api.operations if operation.result in ("value", "items")]
    return [(operation, given) for operation, given in found if given != "None" and not _is_model(given, api)]


def _is_model(given: str, api: Api) -> bool:
    return "properties" in api.types.get(given, ())


def _adapter(operation: Operation, given: str) -> str:
    config = ', config=ConfigDict(val_json_bytes="base64")' if "bytes" in given else ""
    return f"{_adapter_name(operation)}: TypeAdapter[{given}] = TypeAdapter({given}{config})"


def _adapter_name(operation: Operation) -> str:
    return f"_{identifier(operation.name, start='root')}_result"


def _class(api: Api, *, is_async: bool) -> str:
    methods = [textwrap.indent(_method(operation, api, is_async=is_async), "    ") for operation in api.operations]
    name, base = (f"Async{api.name}", "AsyncClient") if is_async else (api.name, "Client")
    doc = textwrap.indent(_docstring(api.doc or f"Calls the endpoints of {api.name}.", []), "    ")
    return "\n\n".join([f"class {name}({base}):\n{doc}", *methods])


def method_name(operation: Operation) -> str:
    """Return the name of an operation's method, which those of every client can't be."""
    own = operation.name if operation.name == "__call__" else identifier(operation.name)
    return f"{own}_" if own in ("options", "close") else own


def _method(operation: Operation, api: Api, *, is_async: bool) -> str:
    returns = annotation(operation.returns)
    streams = operation.result in ("items", "pieces")
    if streams:
        returns = f"{'AsyncIterator' if is_async else 'Iterator'}[{returns}]"
    signature = ", ".join(["self", *(_argument(parameter, api) for parameter in _ordered(operation.parameters))])
    prefix = "async " if is_async else ""
    lines = [*_body(operation, api), *_answer(operation, api, is_async=is_async)]
    return f"{prefix}def {method_name(operation)}({signature}) -> {returns}:\n" + textwrap.indent(_docstring(operation.doc, lines), "    ")


def _ordered(parameters: Iterable[Parameter]) -> list[Parameter]:
    """Return those that have to be given first."""
    return sorted(parameters, key=lambda parameter: not parameter.required)


def _own(parameter: Parameter) -> str:
    name = identifier(parameter.name)
    return f"{name}_" if name == "self" else name


def _argument(parameter: Parameter, api: Api) -> str:
    given = annotation(parameter.schema)
    if parameter.required:
        return f"{_own(parameter)}: {given}"
    default = default_of(parameter.schema, api.types)
    if default is None or default in ("[]", "{}"):
        return f"{_own(parameter)}: {_or_none(given)} = None"
    return f"{_own(parameter)}: {given} = {default}"


def _left_out(parameter: Parameter, api: Api) -> bool:
    """Whether a parameter that isn't given isn't sent either: its default is left to the server."""
    return not parameter.required and default_of(parameter.schema, api.types) in (None, "[]", "{}")


def _body(operation: Operation, api: Api) -> list[str]:
    if operation.body not in ("fields", "query"):
        return []
    sent = ", ".join(f"{_literal(p.name)}: {_own(p)}" for p in operation.parameters if not _left_out(p, api))
    lines = [f"_body: dict[str, Any] = {{{sent}}}"]
    for parameter in operation.parameters:
        if _left_out(parameter, api):
            lines += [f"if {_own(parameter)} is not None:", f"    _body[{_literal(parameter.name)}] = {_own(parameter)}"]
    return lines


def _answer(operation: Operation, api: Api, *, is_async: bool) -> list[str]:
    content = {
        "nothing": [],
        "query": ["query=_body"],
        "fields": ["_json(_body)"],
        "whole": [f"_json({_own(operation.parameters[0])})"] if operation.parameters else [],
        "bytes": [_own(operation.parameters[0]), "BYTES"] if operation.parameters else [],
    }[operation.body]
    call = {"value": "_post", "bytes": "_post", "items": "_events", "pieces": "_pieces"}[operation.result]
    accept = ["accept=BYTES"] if operation.result == "bytes" else []
    accept += [f'verb="{operation.verb}"'] if operation.verb != "POST" else []
    request = f"self.{call}({', '.join([json.dumps(operation.path or '/'), *content, *accept])})"
    waiting, looping = ("await ", "async ") if is_async else ("", "")
    if operation.result == "bytes":
        return [f"return {waiting}{request}"]
    if operation.result == "pieces":
        return [f"{looping}for _piece in {request}:", "    yield _piece"]
    read = _reader(operation, api)
    if operation.result == "items":
        return [f"{looping}for _item in {request}:", f"    yield {read.format('_item')}"]
    if annotation(operation.returns) == "None":
        return [f"{waiting}{request}"]
    return [f"return {read.format(waiting + request)}"]


def _reader(operation: Operation, api: Api) -> str:
    given = annotation(operation.returns)
    if given == "None":
        return "None"
    if _is_model(given, api):
        return given + ".model_validate_json({})"
    return _adapter_name(operation) + ".validate_json({})"


def _docstring(doc: str, lines: list[str]) -> str:
    """Return a docstring and the lines behind it."""
    text = doc.strip().replace("\\", "\\\\").replace('"""', "'''")
    if not text:
        return "\n".join(lines or ["pass"])
    if "\n" in text:
        text += "\n"
    elif text.endswith('"'):
        text += " "
    return "\n".join([f'"""{text}"""', *([""] if lines and "\n" in text else []), *lines])
