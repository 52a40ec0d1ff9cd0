"""Bodies to arguments and values to bodies, for each format that a request may have.

Validators and serializers are used without pydantic's `TypeAdapter` around them, whose methods take as long as a small body.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Any

import msgspec
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from motet.errors import InvalidInput, InvalidOutput, MalformedRequest, NotAcceptable, UnsupportedMediaType
from motet.runtime.exchange import Format, Request
from motet.schema import EndpointSchema, invalid_input, shown
from motet.wire import codec
from motet.wire.payload import Payload

JSON = "application/json"
BYTES = "application/octet-stream"
TEXT = "text/plain; charset=utf-8"
EVENTS = "text/event-stream"
LINES = "application/x-ndjson"
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
        MalformedRequest: the body isn't JSON.
        UnsupportedMediaType: the body is of a type that the endpoint can't read.
    """
    if request.format is Format.HTTP:
        return _http_arguments(schema, request, where)
    try:
        return _call_arguments(schema, request, where)
    except InvalidInput as error:
        error.of_service = True
        raise


def _call_arguments(schema: EndpointSchema, request: Request, where: str) -> dict[str, Any]:
    args, kwargs = codec.decode(request.body)
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
    body = request.body.head
    media = (request.content_type or "").partition(";")[0].strip().lower()
    if schema.raw is bytes and media in ("", BYTES):
        return {schema.names[0]: bytes(body)}
    if schema.raw is str and media == "text/plain":
        return {schema.names[0]: _text(body, request.content_type or "")}
    if media not in ("", JSON) and not media.endswith("+json"):
        if schema.raw is None or media.startswith(("multipart/", "application/x-www-form")):
            readable = JSON
        else:
            readable = f"{JSON} or {'text/plain' if schema.raw is str else BYTES}"
        raise UnsupportedMediaType("the body's type can't be read", where=where, found=media, instead=f"content-type: {readable}")
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


def _body_hint(schema: EndpointSchema) -> str:
    if schema.body == "model":
        return "a JSON object"
    return "{" + ", ".join(f'"{name}": ...' for name in schema.names) + "}"


def _text(body: Any, content_type: str) -> str:
    charset = content_type.partition("charset=")[2].partition(";")[0].strip().strip('"') or "utf-8"
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
    value = checked(schema, value, where=where)
    if request.format is Format.CODEC:
        return Answer(codec.encode(value))
    accept = request.accept
    if isinstance(value, bytes) and schema.returns is bytes:
        _require(accept, BYTES, "application/*", where=where)
        return Answer(Payload(value), BYTES)
    if isinstance(value, str) and schema.returns is str and accept is not None and "text/plain" in accept and JSON not in accept:
        return Answer(Payload(value.encode()), TEXT)
    _require(accept, JSON, "application/*", where=where)
    return Answer(Payload(to_json(schema, value, where=where)), JSON)


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


def stream_type(schema: EndpointSchema, accept: str | None, *, where: str) -> str:
    """Return the media type of a stream: raw bytes or text where the items are that, else events or lines as the client accepts.

    Raises:
        NotAcceptable: the client accepts none of them.
    """
    accept = (accept or "*/*").lower()
    if schema.returns is bytes:
        _require(accept, BYTES, "application/*", where=where)
        return BYTES
    if EVENTS in accept:
        return EVENTS
    if LINES in accept or "application/jsonl" in accept:
        return LINES
    if schema.returns is str and "text/plain" in accept:
        return TEXT
    _require(accept, EVENTS, "text/*", where=where)
    return EVENTS


def item_encoder(schema: EndpointSchema, media: str | None, *, where: str) -> Callable[[object], Payload | bytes]:
    """Return what checks and encodes the items of a stream: as bytes of its media type, or as values between services."""
    if media is None:
        return lambda value: codec.encode(checked(schema, value, where=where))
    if media == BYTES:
        return lambda value: bytes(checked(schema, value, where=where))
    if media == TEXT:
        return lambda value: str(checked(schema, value, where=where)).encode()
    before, after = (b"data: ", b"\n\n") if media == EVENTS else (b"", b"\n")
    return lambda value: b"%b%b%b" % (before, to_json(schema, checked(schema, value, where=where), where=where), after)


def _require(accept: str | None, *media: str, where: str) -> None:
    if accept is not None and "*/*" not in accept and not any(m in accept.lower() for m in media):
        raise NotAcceptable(
            "the endpoint can't answer in a type that the client accepts",
            where=where,
            found=f"accept: {accept}",
            instead=f"accept: {media[0]}",
        )
