"""What goes through a tunnel between a gateway and a replica: the head of a request, then pieces in both directions.

A tunnel is an exchange whose body is an encoded `TunnelHead`. Items from the gateway are pieces of the request's body or the
messages of a WebSocket; the first item from the replica is an encoded `TunnelStart`, those after it are pieces or messages. A
small answer that is whole is a `TunnelStart` alone, as the result.
A message is one byte for its kind and its content.
"""

from __future__ import annotations

import enum
from struct import Struct
from typing import Literal

import msgspec

Pairs = tuple[tuple[bytes, bytes], ...]

SWITCHING = 101  # the status that accepts a WebSocket
NORMAL, GOING_AWAY, LOST, INVALID_TEXT, POLICY, FAILED, RESTARTS = 1000, 1001, 1006, 1007, 1008, 1011, 1012  # codes that close one


class TunnelHead(msgspec.Struct, array_like=True, frozen=True):
    """A request without its body.

    Attributes:
        kind: an ordinary request, or the handshake of a WebSocket.
        method: of HTTP.
        raw_path: as the client wrote it.
        path: percent-encoding undone.
        query: what follows the question mark.
        root: prefix of the path that leads to an ASGI app.
        headers: names in lower case.
        version: `1.0` or `1.1`.
        scheme: `http`, or `https` where the gateway runs inside a server that speaks it.
        client: address and port.
        server: address and port.
        subprotocols: that the client of a WebSocket offers.
    """

    kind: Literal["http", "websocket"]
    method: str
    raw_path: bytes
    path: str
    query: bytes
    root: str
    headers: Pairs
    version: str
    scheme: str
    client: tuple[str, int | None] | None
    server: tuple[str, int | None] | None
    subprotocols: tuple[str, ...] = ()


class TunnelStart(msgspec.Struct, array_like=True, frozen=True):
    """The beginning of an answer.

    Attributes:
        status: of HTTP; `SWITCHING` accepts a WebSocket.
        headers: names in lower case.
        subprotocol: the one that was chosen.
        body: all of it, of a small answer that is sent at once.
    """

    status: int
    headers: Pairs = ()
    subprotocol: str | None = None
    body: bytes = b""


encode_tunnel = msgspec.msgpack.Encoder().encode
decode_head = msgspec.msgpack.Decoder(TunnelHead).decode
decode_start = msgspec.msgpack.Decoder(TunnelStart).decode


class MessageKind(enum.IntEnum):
    """The first byte of a WebSocket's message. The numbers are part of the wire format."""

    TEXT = 1
    BINARY = 2
    CLOSE = 3  # two bytes of the code, then the reason


_CODE = Struct(">H")
_MAX_REASON = 123  # bytes


def text_message(text: bytes) -> bytes:
    """Return a message of text (UTF-8)."""
    return b"\x01" + text


def binary_message(data: bytes) -> bytes:
    """Return a message of bytes."""
    return b"\x02" + data


def close_message(code: int, reason: str = "") -> bytes:
    """Return the message that closes."""
    return b"\x03" + _CODE.pack(code) + short_reason(reason).encode()


def short_reason(reason: str) -> str:
    """Return as much of a reason as a frame that closes has room for."""
    return reason.encode()[:_MAX_REASON].decode(errors="ignore")


def read_close(content: bytes) -> tuple[int, str]:
    """Return code and reason of a message that closes, without its first byte."""
    return _CODE.unpack_from(content)[0], content[2:].decode(errors="replace")
