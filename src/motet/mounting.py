"""A graph inside somebody's own web application: `main.mount("/models", motet.asgi(app))`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from motet.context import new_request_id
from motet.engines.interface import Engine
from motet.graph import Graph, compile_graph
from motet.running import EngineName, amounts_of, make_engine
from motet.secret_sources import Paths, Sources, sources_of

if TYPE_CHECKING:
    from motet.gateway.server import Gateway

Message = MutableMapping[str, Any]
DRAIN = 30.0  # s that requests have to end when the server around stops


class Mounted:
    """An ASGI app that runs a graph; what `asgi` returns.

    It starts with its lifespan if the server runs that, with `lifespan` if that is the one of the application around it, and
    with the first request otherwise.
    """

    def __init__(self, graph: Graph, engine: str, sources: Sources, resources: Mapping[str, float] | None) -> None:
        self._graph = graph
        self._engine = engine
        self._resources = resources
        self._sources = sources
        self._running: tuple[Engine, Gateway] | None = None
        self._lock = asyncio.Lock()

    async def start(self) -> Gateway:
        """Start the graph, unless it runs.

        Raises:
            StartError: a service couldn't be started; the message has the cause.
        """
        from motet.gateway.routes import app_routes  # noqa: PLC0415  # the gateway takes long to import, and few programs mount it
        from motet.gateway.server import Gateway  # noqa: PLC0415  # the same

        async with self._lock:
            if self._running is None:
                engine = make_engine(self._engine, None, resources=self._resources)
                await engine.start()
                try:
                    spec = await engine.deploy(self._graph, self._sources)
                except BaseException:
                    await engine.stop()
                    raise
                gateway = Gateway(engine.caller.router)
                gateway.set_apps([app_routes(self._graph, {self._graph.root: spec.address})])
                self._running = engine, gateway
            return self._running[1]

    async def stop(self) -> None:
        """Stop the graph; what runs may finish within the drain time."""
        async with self._lock:
            running, self._running = self._running, None
            if running is not None:
                engine, gateway = running
                await gateway.drain(DRAIN)
                await gateway.close()
                await engine.stop()

    @contextlib.asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncGenerator[None]:
        """Run the graph as long as the application around it: `FastAPI(lifespan=models.lifespan)`."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
        """Serve one request, WebSocket or lifespan; called by the server."""
        from motet.gateway.mounted import serve_request  # noqa: PLC0415  # as above
        from motet.gateway.mounted_sockets import serve_socket  # noqa: PLC0415  # as above

        if scope["type"] == "lifespan":
            await self._follow(receive, send)
        elif scope["type"] == "websocket":
            gateway = await self.start()
            await serve_socket(gateway.state, scope, receive, send, new_request_id())
        else:
            gateway = await self.start()
            await serve_request(gateway.connection(), scope, receive, send)

    async def _follow(self, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
        await receive()
        try:
            await self.start()
        except Exception as error:  # noqa: BLE001  # the server is told, as the standard says
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})


def asgi(
    app: object,
    *,
    engine: EngineName = "inline",
    name: str = "default",
    env_file: Paths | None = None,
    secrets: Mapping[str, str] | Paths | None = None,
    resources: Mapping[str, float | str] | None = None,
) -> Mounted:
    """Return an ASGI app that runs a graph and serves what `motet serve` would: endpoints, streams, errors, the description.

    Mount it in an application of your own (`main.mount("/models", motet.asgi(app))`) or give it to any ASGI server. API keys
    and other origins are that application's business.

    Args:
        app: the root node, from `bind`.
        engine: `"inline"` for the server's own process and event loop, `"local"` for processes of their own.
        name: of the app.
        env_file: as for `motet.run`.
        secrets: as for `motet.run`.
        resources: as for `motet.run`.

    Raises:
        DefinitionError: the graph is wrong; lists all faults.
        UsageError: `app` is no bound node, or an amount of `resources` is wrong.
    """
    return Mounted(compile_graph(app, name=name), engine, sources_of(env_file, secrets), amounts_of(resources))
