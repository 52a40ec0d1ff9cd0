"""Bodies to arguments and values to bodies, for each format that a request may have.

Validators and serializers are used without pydantic's `TypeAdapter` around them, whose methods take as long as a small body.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Any, cast

import msgspec
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from motet.errors import InvalidInput, InvalidOutput, MalformedRequest, NotAcceptable, UnsupportedMediaType
from motet.media import ALL_LINES, ALL_MSGPACK, BYTES, EVENTS, JSON, MSGPACK, NPY, TEXT, choose, media_type
from motet.runtime.binary import pack, read_npy, unpack, write_npy
from motet.runtime.exchange import CODEC, HTTP, Request
from motet.schema import EndpointSchema, invalid_input, shown
from motet.wire import codec
from motet.wire.payload import NOTHING, Buffer, Payload

_TEXT_TYPE = TEXT.partition(";")[0]
_CHARSETS = (  # those of the web
    *("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "ascii", "koi8-r", "koi8-u", "cp866", "cp874"),
    *(f"iso8859-{part}" for part in range(1, 17)),
    *(f"cp125{part}" for part in range(9)),
    *("gbk", "gb2312", "gb18030", "big5", "euc_jp", "iso2022_jp", "shift_jis", "euc_kr"),
)


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An encoded value and, over HTTP, its media type."""

    payload: Payload
    content_type: str | None = None


def arguments(schema: EndpointSchema, request: Request, *, where: str) -> dict[str, Any]:
    """Return the validated arguments of a request by name.

    Raises:
        InvalidInput: they don't fit the annotations.
        MalformedRequest: the body isn't what its type says.
        UnsupportedMediaType: the body is of a type that the endpoint can't read.
    """
    if request.format is HTTP:
        return _http_arguments(schema, request, where)
    try:
        return _call_arguments(schema, request, where)
    except InvalidInput as error:
        error.of_service = True
        raise


def _call_arguments(schema: EndpointSchema, request: Request, where: str) -> dict[str, Any]:
    body, request.body = request.body, NOTHING  # from here on what it has in shared memory lives as long as the arguments do
    args, kwargs = codec.decode_arguments(body, schema.shared) if schema.shared else codec.decode(body)
    if not kwargs and tuple(map(type, args)) == schema.plain:
        return dict(zip(schema.names, args, strict=True))
    if args:
        if len(args) > len(schema.positional):
            message = f"{len(args)} positional arguments, and the endpoint takes {len(schema.positional)}"
            raise InvalidInput(message, where=where, instead=f"{where.rpartition('.')[2]}({', '.join(schema.names)})")
        given = dict(zip(schema.positional, args, strict=False))
        if doubled := given.keys() & kwargs.keys():
            raise InvalidInput("an argument is given twice", where=where, found=", ".join(sorted(doubled)))
        kwargs |= given
    try:
        validated: dict[str, Any] = schema.arguments.validator.validate_python(kwargs)
    except ValidationError as error:
        raise invalid_input(error, where=where) from None
    return validated


def _http_arguments(schema: EndpointSchema, request: Request, where: str) -> dict[str, Any]:
    return http_arguments(schema, request.body.head, request.content_type, where=where)


def http_arguments(schema: EndpointSchema, body: Buffer, content_type: str | None, *, where: str) -> dict[str, Any]:
    """Return the validated arguments of a whole HTTP body; see `arguments`."""
    media = JSON if content_type is None or content_type == JSON else media_type(content_type)[0]
    if schema.raw is bytes and (content_type is None or media == BYTES):
        return {schema.names[0]: bytes(body)}
    if media != JSON and not media.endswith("+json"):
        if schema.raw is str and media == _TEXT_TYPE:
            return {schema.names[0]: _text(body, content_type or "")}
        return _binary_arguments(schema, body, media, where)
    try:
        if schema.only is not None:
            return {schema.names[0]: schema.only.validator.validate_json(bytes(body) if isinstance(body, memoryview) else body)}
        if schema.body == "empty" and not bytes(body).strip():
            return {}
        validated: dict[str, Any] = schema.arguments.validator.validate_json(bytes(body) if isinstance(body, memoryview) else body)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        if problem["type"] == "json_invalid":
            found = "an empty body" if not len(body) else shown(bytes(body[:64]).decode(errors="replace"))
            said = problem["msg"].removeprefix("Invalid JSON: ")
            raise MalformedRequest(f"the body is no JSON: {said}", where=where, found=found, instead=_body_hint(schema)) from None
        raise invalid_input(error, where=where) from None
    return validated


def _binary_arguments(schema: EndpointSchema, body: Buffer, media: str, where: str) -> dict[str, Any]:
    """Return the validated arguments of a body in msgpack or NumPy's format."""
    given: Any
    if media in ALL_MSGPACK:
        given = unpack(body, where=where) if len(body) or schema.body != "empty" else {}
    elif media == NPY and schema.array:
        given = {schema.names[0]: read_npy(body, where=where)}
    else:
        readable = ", ".join(readable_types(schema))
        raise UnsupportedMediaType("the body's type can't be read", where=where, found=media, accept=readable, instead=readable)
    try:
        if schema.only is not None:
            return {schema.names[0]: schema.only.validator.validate_python(given)}
        validated: dict[str, Any] = schema.arguments.validator.validate_python(given)
    except ValidationError as error:
        raise invalid_input(error, where=where) from None
    return validated


def readable_types(schema: EndpointSchema) -> list[str]:
    """Return the content types of bodies that an endpoint reads."""
    raw = {None: [], str: [_TEXT_TYPE], bytes: [BYTES]}[schema.raw]
    return [JSON, *raw, MSGPACK, *([NPY] if schema.array else [])]


def _body_hint(schema: EndpointSchema) -> str:
    if schema.body == "model":
        return "a JSON object"
    return "{" + ", ".join(f'"{name}": ...' for name in schema.names) + "}"


def _text(body: Any, content_type: str) -> str:
    charset = media_type(content_type)[1].get("charset", "utf-8")
    try:
        if codecs.lookup(charset).name not in _CHARSETS:  # some others take quadratic time, or mean something else than text
            raise LookupError("it isn't a character set of the web")  # noqa: TRY301
        return bytes(body).decode(charset)
    except (UnicodeError, LookupError) as error:
        message = f"the body can't be decoded as {charset}"
        raise MalformedRequest(message, found=str(error)) from None


def checked(schema: EndpointSchema, value: object, *, where: str) -> Any:
    """Return a result or stream item after checking it against its annotation.

    Raises:
        InvalidOutput: it doesn't fit.
    """
    if type(value) is schema.plain_result:
        return value
    try:
        return schema.result.validator.validate_python(value)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in problem["loc"])
        raise InvalidOutput(
            f"the endpoint returned something else than it promises: {problem['msg']}",
            where=f"{where} {path}".strip(),
            found=f"{shown(problem['input'])} of type {type(problem['input']).__name__}",
        ) from None


def answer(schema: EndpointSchema, request: Request, value: object, *, where: str) -> Answer:
    """Encode the value of a unary endpoint.

    Raises:
        InvalidOutput: the value isn't what the endpoint promises or can't be encoded.
        NotAcceptable: the client accepts no media type that the endpoint has.
    """
    if type(value) is not schema.plain_result:
        value = checked(schema, value, where=where)
    if request.format is CODEC:
        return Answer(codec.encode(value))
    media = chosen(schema, request.accept, where=where)
    if media == JSON:
        return Answer(Payload(to_json(schema, value, where=where)), JSON)
    if media == NPY:
        return Answer(write_npy(value, where=where), NPY)
    return Answer(Payload(_written(schema, media, value, where)), media)


def chosen(schema: EndpointSchema, accept: str | None, *, where: str) -> str:
    """Return the media type of a value or stream: of those that it can have the one that the client likes best.

    Raises:
        NotAcceptable: the client accepts none of them.
    """
    if (media := choose(accept, schema.offers)) is None:
        offers = ", ".join(schema.offers)
        raise NotAcceptable(
            "the client accepts none of the types of this answer", where=where, found=f"accept: {accept}", instead=f"accept: {offers}"
        )
    return media


def _written(schema: EndpointSchema, media: str, value: object, where: str) -> bytes:
    """Write a value, or an item of a stream, in one of the types that have no frame around it."""
    if media == BYTES:
        return bytes(cast("bytes", value))
    if media == TEXT:
        return str(value).encode()
    return pack(schema.result.serializer, value, where=where)


def to_json(schema: EndpointSchema, value: object, *, where: str) -> bytes:
    """Write a checked value as JSON by its annotation."""
    try:
        return schema.result.serializer.to_json(value, fallback=_plain)
    except (PydanticSerializationError, UnicodeDecodeError) as error:
        raise InvalidOutput("the result can't be written as JSON", where=where, found=str(error)) from None


def _plain(value: Any) -> Any:
    """Give pydantic what it can write for arrays and tensors in fields of arbitrary type."""
    if hasattr(value, "tolist"):
        return value.tolist()
    message = f"{type(value).__name__} has no JSON form"
    raise TypeError(message)


def item_encoder(schema: EndpointSchema, media: str | None, *, where: str) -> Callable[[object], Payload | bytes]:
    """Return what checks and encodes the items of a stream: as bytes of its media type, or as values between services."""
    if media is None:
        return lambda value: codec.encode(checked(schema, value, where=where))
    if media != EVENTS and media not in ALL_LINES:
        return lambda value: _written(schema, media, checked(schema, value, where=where), where)
    before, after = (b"data: ", b"\n\n") if media == EVENTS else (b"", b"\n")
    return lambda value: b"%b%b%b" % (before, to_json(schema, checked(schema, value, where=where), where=where), after)
