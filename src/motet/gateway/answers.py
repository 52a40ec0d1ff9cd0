"""The bytes of answers: heads, errors, chunks."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from motet.errors import MotetError, http_status, public_fields
from motet.media import ALL_LINES, ALL_MSGPACK, EVENTS

CLOSE = b"connection: close\r\n"
KEEP_ALIVE = b"connection: keep-alive\r\n"  # a client of HTTP/1.0 has to be told
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)  # statuses of answers that end with their head
SMALL = 65536  # bytes up to which it is cheaper to copy a body behind its head than to write twice

# Headers that are about one connection and so not the endpoint's to set.
CONNECTION_HEADERS = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"})
ERRORS_OWN = frozenset({"content-type", "content-length", "x-request-id"})  # headers that errors have anyway

_to_json = msgspec.json.Encoder(enc_hook=str).encode


_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch  # what else a name has could make it another one on its way


def header_value(text: str) -> bytes:
    """Return text that can stand in a header and can't end it."""
    return "".join(c for c in text if c >= " " and c != "\x7f").encode("latin-1", "replace")


@functools.lru_cache(maxsize=256)
def _typed_start(content_type: str | None) -> bytes:
    line = b"" if content_type is None else b"content-type: %b\r\n" % header_value(content_type)
    return b"HTTP/1.1 200 OK\r\n" + line


def success(content_type: str | None, length: int, request_id: str, connection: bytes) -> bytes:
    """Return the head of a whole answer; `connection` is a complete header line, or nothing."""
    return b"%bcontent-length: %d\r\nx-request-id: %b\r\n%b\r\n" % (_typed_start(content_type), length, request_id.encode(), connection)


def stream_head(content_type: str | None, request_id: str, framing: bytes) -> bytes:
    """Return the head of a stream; `framing` is complete header lines."""
    return b"%bx-request-id: %b\r\n%b\r\n" % (_typed_start(content_type), request_id.encode(), framing)


def write_piece(
    write: Callable[[bytes | bytearray | memoryview], object], data: bytes | bytearray | memoryview, *, head: bytes = b"", chunked: bool
) -> None:
    """Write a piece of a body, as a chunk if the body comes in chunks, behind the head if that isn't out yet."""
    if chunked and not data:  # a chunk of nothing would be the end
        write(head)
    elif len(data) <= SMALL:
        write(b"".join((head, b"%x\r\n" % len(data), data, b"\r\n") if chunked else (head, data)))
    elif chunked:
        write(b"%b%x\r\n" % (head, len(data)))
        write(data)
        write(b"\r\n")
    else:
        if head:
            write(head)
        write(data)


def phrase(status: int) -> str:
    """Return the name of a status; nothing for one that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def head(status: int, headers: Iterable[tuple[str, str]], connection: bytes) -> bytes:
    """Return the head of any answer; `connection` is a complete header line, or nothing."""
    lines = [f"HTTP/1.1 {status} {phrase(status)}\r\n".encode()]
    lines += [b"%b: %b\r\n" % (header_value(name), header_value(value)) for name, value in headers]
    return b"".join([*lines, connection, b"\r\n"])


def error_json(fields: Mapping[str, Any], request_id: str) -> bytes:
    """Return what a client reads of an error."""
    body = {"error": {**fields, "request_id": request_id}}
    try:
        return _to_json(body)
    except UnicodeEncodeError:  # half a surrogate pair, from bytes that were no text
        return json.dumps(body, default=str).encode()


def error_item(media: str | None, fields: Mapping[str, Any], request_id: str) -> bytes | None:
    """Return what ends a stream of a media type that fails, or None where the type has no place for errors."""
    if media == EVENTS:
        return b"event: error\ndata: %b\n\n" % error_json(fields, request_id)
    if media in ALL_LINES:
        return error_json(fields, request_id) + b"\n"
    if media in ALL_MSGPACK:
        return msgspec.msgpack.encode(msgspec.json.decode(error_json(fields, request_id)))  # by way of JSON, which can say all of it
    return None


def answer_headers(pairs: Iterable[tuple[bytes, bytes]]) -> tuple[list[tuple[str, str]], int | None, bool]:
    """Return the headers that a client gets of those that an endpoint set, their content-length, and whether it asks to close."""
    pairs = tuple(pairs)
    headers: list[tuple[str, str]] = []
    length: int | None = None
    options = {option.strip().lower() for name, value in pairs if name == b"connection" for option in value.split(b",")}
    own = CONNECTION_HEADERS | (options - {b"content-length"})
    for name, value in pairs:
        if name == b"content-length" and (length is not None or not value.isdigit()):
            continue
        if name not in own and _TOKEN(name):
            if name == b"content-length":
                length = int(value)
            headers.append((name.decode("latin-1"), value.decode("latin-1")))
    return headers, length, b"close" in options


def names_in(lines: bytes) -> set[str]:
    """Return the names of headers of which there may be one only: two origins that are allowed are none, for a browser."""
    return {line.partition(b":")[0].decode() for line in lines.split(b"\r\n")} - {"vary"}


def error_headers(given: Mapping[str, str], lines: bytes = b"") -> dict[str, str]:
    """Return the headers that a client gets of those that an endpoint gave to an error; `lines` are those that the answer has anyway."""
    if not given:
        return {}
    pairs = [(name.lower().encode("latin-1", "replace"), header_value(value)) for name, value in given.items()]
    own = ERRORS_OWN | names_in(lines)
    return {name: value for name, value in answer_headers(pairs)[0] if name not in own}


def error(status: int, fields: Mapping[str, Any], request_id: str, connection: bytes, *, more: Mapping[str, str], bodiless: bool) -> bytes:
    """Return a whole answer that tells of an error.

    Args:
        status: HTTP status; one that is no error's becomes 500.
        fields: of the error.
        request_id: of the request.
        connection: complete header line, or nothing.
        more: further headers.
        bodiless: whether the request was a HEAD, whose answer has the headers only.
    """
    if not 400 <= status <= 599:  # noqa: PLR2004
        status = HTTPStatus.INTERNAL_SERVER_ERROR
    body = error_json(fields, request_id)
    headers = {"content-type": "application/json", "content-length": str(len(body)), "x-request-id": request_id, **more}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.setdefault("retry-after", str(retry_after(fields)))
    elif status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        headers |= {name.replace("_", "-"): str(fields[name]) for name in ("accept", "accept_encoding") if name in fields}
    return head(status, headers.items(), connection) + (b"" if bodiless else body)


def error_of(problem: MotetError, request_id: str, connection: bytes, *, more: Mapping[str, str], bodiless: bool = False) -> bytes:
    """Return a whole answer that tells of an error of the gateway's own."""
    return error(http_status(problem), public_fields(problem), request_id, connection, more=more, bodiless=bodiless)


def retry_after(fields: Mapping[str, Any]) -> int:
    """Return whole seconds after which trying again makes sense, at least one."""
    seconds = fields.get("retry_after", 1)
    return max(1, math.ceil(seconds)) if isinstance(seconds, int | float) and math.isfinite(seconds) else 1
