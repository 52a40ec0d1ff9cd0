"""The gateway: one process's share of an HTTP server."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable, Mapping, Sequence

from motet.gateway.auth import ApiKeys
from motet.gateway.cors import Cors
from motet.gateway.limits import Limits
from motet.gateway.protocol import Connection
from motet.gateway.routes import AppRoutes
from motet.gateway.site import Site
from motet.gateway.state import GatewayState
from motet.runtime.router import Router

log = logging.getLogger("motet.gateway")

SWEEP = 1.0  # s between looks at the connections
ABORTED = 1.0  # s that closing may take after the drain time
BACKLOG = 1024


class Gateway:
    """Serves HTTP: endpoints by a router, and the pages beside them.

    Args:
        router: leads to the replicas; it belongs to the loop in which the gateway runs.
        limits: what a client may take.
        api_keys: if there are any, every request but a probe's has to carry one.
        cors: origins whose pages may call, or `*`.
        gzip: whether answers are compressed for clients that accept it.
    """

    def __init__(
        self,
        router: Router,
        *,
        limits: Limits | None = None,
        api_keys: Iterable[str] = (),
        cors: Iterable[str] = (),
        gzip: bool = False,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._state = GatewayState(router, loop, limits=limits or Limits(), keys=ApiKeys(api_keys), cors=Cors(cors), gzip=gzip)
        self._state.site = Site(self._state).app
        self._loop = loop
        self._servers: dict[int, asyncio.Server] = {}  # by the descriptor that was given
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._state.connections)

    def set_apps(self, apps: Sequence[AppRoutes], not_ready: Mapping[str, str] | None = None) -> None:
        """Replace what is served; running requests aren't touched.

        Args:
            apps: routes of all apps.
            not_ready: why `/readyz` has to say no, by app or part, as far as the router can't tell.
        """
        self._state.set_apps(apps, not_ready or {})

    async def serve(self, sock: socket.socket) -> None:
        """Accept connections on a socket that is bound, until `close`, which closes it."""
        await self._accept(sock.fileno(), sock)

    async def _accept(self, key: int, sock: socket.socket) -> None:
        sock.setblocking(False)  # noqa: FBT003
        self._servers[key] = await self._loop.create_server(lambda: Connection(self._state), sock=sock, backlog=BACKLOG)
        self._keep_time()

    @property
    def state(self) -> GatewayState:
        """What its connections share."""
        return self._state

    def connection(self) -> Connection:
        """Return a connection for a transport that isn't the gateway's own."""
        self._keep_time()
        return Connection(self._state)

    def _keep_time(self) -> None:
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP, self._sweep_on)

    async def serve_only(self, sockets: Sequence[socket.socket]) -> None:
        """Accept connections on these sockets, which stay the caller's, and on no others; connections that there are go on."""
        for sock in sockets:
            if sock.fileno() not in self._servers:
                await self._accept(sock.fileno(), sock.dup())
        for descriptor in self._servers.keys() - {sock.fileno() for sock in sockets}:
            self._servers.pop(descriptor).close()

    def sweep(self, seconds: float = SWEEP) -> None:
        """Let `seconds` pass on the clock of all time limits and enforce them; it is called every second anyway."""
        self._state.now += seconds
        for connection in list(self._state.connections):
            try:
                connection.sweep()
            except Exception:
                log.exception("a connection couldn't be checked; it is closed")
                connection.abort()

    def _sweep_on(self) -> None:
        self._sweeper = self._loop.call_later(SWEEP, self._sweep_on)
        self.sweep()

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109  # a limit that it keeps by itself, with an answer
        """Let running requests and streams finish; what comes from now on, also on new connections, is refused with 503.

        Returns:
            Whether everything finished within `timeout` seconds; the rest was cut off.
        """
        state = self._state
        if not state.draining:
            state.draining = True
            state.awaited = set(state.connections)
            for connection in list(state.connections):
                connection.drain()
        if state.awaited:
            state.idle.clear()
        if not (finished := await _within(timeout, state.idle) or not state.awaited):
            log.warning("%d connections weren't done within the drain time of %g s; they are cut off", len(state.awaited), timeout)
            for connection in list(state.awaited):
                connection.abort()
            await _within(ABORTED, state.idle)
        return finished

    async def close(self) -> None:
        """Accept nothing any more, and cut off what is left."""
        for server in self._servers.values():
            server.close()
        await self.drain(0)
        state = self._state
        if state.connections:
            state.awaited |= state.connections
            state.idle.clear()
            for connection in list(state.connections):
                connection.abort()
            await _within(ABORTED, state.idle)
        if self._sweeper is not None:
            self._sweeper.cancel()


async def _within(seconds: float, event: asyncio.Event) -> bool:
    if event.is_set():
        return True
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
