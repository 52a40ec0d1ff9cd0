"""The hot path: one HTTP/1 connection. Its requests get their turn, and their answers are written, without a task.

Requests of one connection are served one after the other, also pipelined ones: all endpoints are POST, and only requests
with safe methods may be run in parallel (RFC 9112, section 9.3.2).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

from motet.errors import Overloaded
from motet.gateway import answers
from motet.gateway.entry import Origin
from motet.gateway.exchange import Turn, reset_on_close
from motet.gateway.known import KnownHeadReader
from motet.gateway.limits import Stall
from motet.gateway.reading import DEAF, IDLE
from motet.gateway.state import GatewayState

if TYPE_CHECKING:
    from motet.gateway.sockets import SocketExchange


class Connection(asyncio.Protocol):
    """One client."""

    __slots__ = (
        "_advancing",
        "_choked",
        "_current",
        "_full",
        "_lingers",
        "_paused",
        "_reader",
        "_stall",
        "_transport",
        "_waiting",
        "state",
        "writable",
        "write",
    )

    _transport: asyncio.Transport

    def __init__(self, state: GatewayState) -> None:
        self.state = state
        self.writable = True
        self._reader = KnownHeadReader(state, self)
        self._current: Turn | None = None
        self._waiting: deque[Turn] = deque()
        self._advancing = False
        self._full = False  # as many requests wait as may
        self._choked = False  # the replica is slower than the body that it gets
        self._paused = False  # reading, because of one of them
        self._lingers = False  # everything is answered, and what the client still sends is thrown away
        self._stall = Stall(state.now)

    # -- the transport ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it if there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        self.write = self._transport.write
        connections, limit = self.state.connections, self.state.limits.connections
        connections.add(self)
        if len(connections) > limit:
            self._reader.refuse(Overloaded("the gateway has no room for another connection", found=f"{limit} connections"))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Stop what the client waited for."""
        self._reader.phase = DEAF
        self._waiting.clear()
        current, self._current = self._current, None
        self.state.connections.discard(self)
        self.state.awaited.discard(self)
        if not self.state.awaited:
            self.state.idle.set()
        if current is not None:
            current.cancel()

    def data_received(self, data: bytes) -> None:
        """Read requests; complete ones are served from within."""
        self._reader.feed(data)

    def eof_received(self) -> None:
        """Take the end of what the client sends for its leaving: the transport closes."""

    def pause_writing(self) -> None:
        """Note that the client is slower than its answers."""
        self.writable = False

    def resume_writing(self) -> None:
        """Go on with the answers."""
        self.writable = True
        if self._current is not None:
            self._current.resume()
        else:
            self._advance()

    # -- requests and their answers --------------------------------------------------------------------------------

    def arrived(self, turn: Turn) -> None:
        """Serve a request, now or after those before it."""
        if self._current is None and not self._waiting and self.writable:
            self._current = turn
            turn.start()
            return
        self._waiting.append(turn)
        limits = self.state.limits
        if not self._full and (len(self._waiting) >= limits.waiting or sum(t.size for t in self._waiting) > limits.waiting_bytes):
            self._full = True
            self._pause()

    def choke(self, *, choked: bool) -> None:
        """Stop reading from the client, or go on, because the replica is slower than it."""
        self._choked = choked
        self._pause()

    def _pause(self) -> None:
        """Read, or don't."""
        wanted = self._full or self._choked
        if wanted == self._paused or self._transport.is_closing():
            return
        self._paused = wanted
        if wanted:
            self._transport.pause_reading()
        else:
            self._reader.restart_clock()
            self._transport.resume_reading()

    def finished(self, turn: Turn) -> None:
        """Give the next request its turn, or close if that was the last."""
        self._current = None
        reader = self._reader
        if turn.close or self.state.draining:
            self.leave()
            return
        if reader.phase == IDLE:
            reader.since = self.state.now
        if self._waiting:
            self._advance()
        elif reader.uninvited:
            reader.uninvited = not self.invite()

    def _advance(self) -> None:
        """Serve waiting requests. Some are answered on the spot, thousands in a row: hence a loop and no recursion."""
        if self._advancing:
            return
        self._advancing = True
        while self._waiting and self._current is None and self.writable and not self._transport.is_closing():
            self._current = self._waiting.popleft()
            self._current.start()
        self._advancing = False
        if self._full and not self._waiting:
            self._full = False
            self._pause()

    def invite(self) -> bool:
        """Ask for a body if nothing else has to be answered before; returns whether it did."""
        free = self._current is None and not self._waiting
        if free:
            self.write(answers.CONTINUE)
        return free

    def origin(self) -> Origin:
        """Return where the requests come from; a server around the gateway tells of it, a Unix socket doesn't."""
        told = self._transport.get_extra_info
        client, server = told("peername"), told("sockname")
        return Origin(
            client=(client[0], client[1]) if isinstance(client, tuple) else None,
            server=(server[0], server[1]) if isinstance(server, tuple) else None,
            scheme=told("scheme") or "http",
            prefix=told("prefix") or "",
        )

    def last_lines(self, turn: Turn) -> bytes:
        """Return the header lines that end every head: the turn's own, and what becomes of the connection."""
        if turn.close or self.state.draining:
            return turn.lines + answers.CLOSE
        return turn.lines + answers.KEEP_ALIVE if turn.old else turn.lines

    def become_socket(self, exchange: SocketExchange, headers: dict[bytes, bytes], rest: bytes) -> bool:
        """Go on as a WebSocket, unless requests wait for their answers; returns whether it did."""
        if self._current is not None or self._waiting:
            return False
        from motet.gateway.sockets import SocketConnection  # noqa: PLC0415  # where there are WebSockets

        socket = SocketConnection(self.state, self._transport, headers, exchange)
        self.state.connections.discard(self)
        self._transport.set_protocol(socket)
        socket.begin(rest)
        return True

    # -- the end ---------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Say that nothing more will come, and wait for the client to close.

        Closing while bytes of the client are unread is a reset, which may overtake the last answer.
        """
        reader = self._reader
        reader.phase = DEAF
        reader.since = self.state.now
        self._waiting.clear()
        if self._transport.is_closing():
            return
        self._lingers = True
        self._transport.write_eof()
        self._full = self._choked = False
        self._pause()

    def cut(self, *, reset: bool) -> None:
        """Close in the middle of an answer; with a reset where the end of the connection would be that of the answer."""
        self._reader.phase = DEAF
        if reset and (socket := self._transport.get_extra_info("socket")) is not None:
            reset_on_close(socket)
            self._transport.abort()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._reader.phase = DEAF
        self._transport.abort()

    def drain(self) -> None:
        """Close as soon as the running request is answered; now, if there is none."""
        if self._idles:
            self._transport.close()

    @property
    def _idles(self) -> bool:
        return self._current is None and not self._waiting and self._reader.phase == IDLE

    def sweep(self) -> None:
        """Enforce the limits in time."""
        state, reader = self.state, self._reader
        buffered = self._transport.get_write_buffer_size()
        stalled = self._stall.seconds(buffered, state.now)
        if buffered and (self._lingers or self._idles):
            reader.since = state.now  # the answer isn't taken yet
        idle = state.now - reader.since
        if stalled > state.limits.write_stall or (self._lingers and idle > state.limits.linger):
            self.abort()
        elif self._paused or self._transport.is_closing():
            pass
        elif (error := reader.overdue()) is not None:
            reader.refuse(error)
        elif self._idles and idle > (state.limits.header_time if reader.fresh else state.limits.keep_alive):
            self._transport.close()
