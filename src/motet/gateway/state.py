"""What all connections of a gateway share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from motet.gateway.auth import ApiKeys
from motet.gateway.cors import Cors
from motet.gateway.heads import KnownHeads
from motet.gateway.limits import Limits
from motet.gateway.routes import AppRoutes, EndpointRoute, Mounts, route_table
from motet.runtime.router import Router


class Swept(Protocol):
    """A connection, as the gateway sees it."""

    def sweep(self) -> None:
        """Enforce the limits in time."""

    def drain(self) -> None:
        """Close as soon as the running request is answered; now, if there is none."""

    def abort(self) -> None:
        """Close at once."""


async def _no_site(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand in until the gateway has its site."""


class GatewayState:
    """Routes, limits, keys, connections, and the clock of their time limits.

    The clock counts the sweeps and doesn't ask for the time: a process that was held up for a while doesn't blame its clients.
    """

    def __init__(self, router: Router, loop: asyncio.AbstractEventLoop, *, limits: Limits, keys: ApiKeys, cors: Cors, gzip: bool) -> None:
        self.router = router
        self.loop = loop
        self.limits = limits
        self.keys = keys
        self.cors = cors
        self.gzip = gzip
        varying = [b"accept-encoding"] * gzip + [b"origin"] * cors.varies
        self.vary = b"vary: %b\r\n" % b", ".join(varying) if varying else b""
        self.plain = not cors and not gzip  # answers need no headers but their own
        self.site: ASGIApp = _no_site
        self.apps: Sequence[AppRoutes] = ()
        self.routes: dict[bytes, EndpointRoute] = {}
        self.heads = KnownHeads()
        self.mounts = Mounts(())
        self.not_ready: Mapping[str, str] = {}
        self.connections: set[Swept] = set()
        self.awaited: set[Swept] = set()  # what draining waits for: connections that were busy when it began
        self.idle = asyncio.Event()  # none of those is left
        self.idle.set()
        self.now = 0.0  # seconds of sweeps
        self.draining = False
        self._started = False

    def set_apps(self, apps: Sequence[AppRoutes], not_ready: Mapping[str, str]) -> None:
        """Replace the apps; see `Gateway.set_apps`."""
        self.apps = apps
        self.not_ready = not_ready
        self.routes = route_table(apps)
        self.heads.clear()
        self.mounts = Mounts(apps)

    def unready(self) -> dict[str, str]:
        """Return why requests can't be served yet or any more, by app or part; nothing if they can."""
        found = dict(self.not_ready)
        if self.draining:
            found["gateway"] = "it is stopping"
        elif not self.apps and not found:
            found["gateway"] = "it has no app"
        for app in self.apps:
            route = self.router.route(app.root)
            if not route.links:
                found.setdefault(app.app, f"{app.root} has no replica" + (f": {route.broken}" if route.broken else ""))
        self._started = self._started or not found
        return found

    def started(self) -> bool:
        """Whether everything was ready once."""
        return self._started or not self.unready()
