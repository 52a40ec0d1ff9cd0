"""What a client may take from the gateway."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, times in seconds; times are kept to a second, by one sweep over all connections.

    Attributes:
        body: of one request.
        headers: request line, names and values of one request.
        fields: header fields of one request.
        header_time: from the first byte of a request (or from connecting) to the end of its headers.
        body_time: from there to the end of its body.
        body_idle: between two pieces of a body.
        keep_alive: between an answer and the next request.
        write_stall: without the client taking a byte of what waits for it.
        linger: for a refused client to stop sending, so that it sees the refusal and no reset.
        waiting: requests of one connection that wait for their turn before reading from it is paused.
        waiting_bytes: bodies of those.
        message: of a WebSocket, from the client.
        handshake: for an endpoint to accept a WebSocket.
        ping: without a word from the client of a WebSocket before it is pinged.
        pong: for it to answer that.
        connections: at once; beyond, the gateway answers 503 and closes.
    """

    body: int = 64 << 20
    headers: int = 64 << 10
    fields: int = 100
    header_time: float = 10
    body_time: float = 60
    body_idle: float = 10
    keep_alive: float = 75
    write_stall: float = 60
    linger: float = 5
    waiting: int = 8
    waiting_bytes: int = 1 << 20
    message: int = 16 << 20
    handshake: float = 60
    ping: float = 20
    pong: float = 20
    connections: int = 10_000


class Stall:
    """For how long a client has taken nothing of what waits for it."""

    __slots__ = ("_buffered", "_since")

    def __init__(self, now: float) -> None:
        self._buffered = 0
        self._since = now

    def seconds(self, buffered: int, now: float) -> float:
        """Return that time, given the bytes that wait now."""
        if buffered == 0 or buffered < self._buffered:
            self._since = now
        self._buffered = buffered
        return now - self._since
