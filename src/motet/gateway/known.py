"""The short way of requests whose heads were read before, as clients send them over and over: such a head is looked up, not parsed."""

from __future__ import annotations

from typing import cast

from motet.gateway.heads import END, EndpointHead
from motet.gateway.reading import BODY, DEAF, IDLE, RequestReader, Taker
from motet.gateway.state import GatewayState
from motet.gateway.turns import endpoint_head, endpoint_turn


class KnownHeadReader(RequestReader):
    """Reads the requests of one connection, with the parser where a head isn't known yet."""

    __slots__ = ("_known",)

    def __init__(self, state: GatewayState, connection: Taker) -> None:
        super().__init__(state, connection)
        self._known: tuple[EndpointHead, int] | None = None  # of a request whose body is on its way

    def feed(self, data: bytes) -> None:
        """Take bytes of the client; complete requests are handed over from within."""
        if self.phase == IDLE or self._known is not None:
            data = self._take_known(data)
            if not data:
                self._pending = 0
                return
        super().feed(data)

    def _take_known(self, data: bytes) -> bytes:
        """Hand over requests whose heads are known, as far as they have come; returns what is left for the parser.

        The parser is between two requests all the while.
        """
        connection, find = self._connection, self._state.heads.find
        start, size = 0, len(data)
        if self._known is not None:
            start = self._take_body(self._known, data)
        # Others than POST have no endpoint that is called with a body. Behind a handshake all that follows belongs to the WebSocket.
        while start < size and self.phase == IDLE and data.startswith(b"POST ", start):
            end = data.find(END, start) + len(END)
            if end < len(END):
                break
            head = data[start:end]
            if (known := find(head)) is None:
                self._learn(head)
                start = end
                break
            meaning, length = known
            stop = end + length
            if stop > size:
                self._begin_body(known, data[end:])
                return b""
            self.fresh = False
            connection.arrived(endpoint_turn(self._state, self._connection, meaning, data[end:stop]))
            start = stop
        return data[start:]

    def _begin_body(self, known: tuple[EndpointHead, int], data: bytes) -> None:
        """Note that the body of a request with a known head is on its way."""
        self.on_message_begin()
        self.phase = BODY
        self._moved = self._state.now
        self._known = known
        self._lines = known[0].lines
        self._body = bytearray(data)

    def _take_body(self, known: tuple[EndpointHead, int], data: bytes) -> int:
        """Add to the body of a request with a known head; returns how many of the bytes belong to it."""
        if self.phase == DEAF:
            return len(data)
        meaning, length = known
        body = cast("bytearray", self._body)
        missing = length - len(body)
        body += data if len(data) <= missing else data[:missing]
        self._moved = self._state.now
        if len(body) == length:
            self.phase = IDLE
            self._known = None
            self._connection.arrived(endpoint_turn(self._state, self._connection, meaning, body))
        return min(missing, len(data))

    def _learn(self, head: bytes) -> None:
        """Parse a whole head by itself; keep what it means if nothing but its body has to follow."""
        self._parse(head)
        if self.phase == BODY and not self._body and self._route is not None and self._ready is None:
            self._state.heads.add(head, endpoint_head(self._state, self._route, self._head()), self._headers)
