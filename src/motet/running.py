"""Running apps from Python: `run`, `delete`, `status`."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar, cast

from motet.amounts import checked_amounts
from motet.background import call_in, home_loop, run_in_background
from motet.calls import Call
from motet.engines.interface import Engine, ServerStatus
from motet.errors import NotFound, UsageError
from motet.graph import Graph, compile_graph
from motet.options import HttpOptions, user_place
from motet.pending import running_loop
from motet.runtime.handle import Handle
from motet.secret_sources import Paths, Sources, sources_of
from motet.service import Service
from motet.targets import ScriptReached, is_importing, is_loading_script

S = TypeVar("S", bound=Service)
EngineName = Literal["inline", "local"]


@dataclass(frozen=True)
class _Options:
    """How an engine is made, which the first app that it runs decides."""

    port: int | None
    http: HttpOptions | None
    resources: Mapping[str, float] | None


class _Server:
    """An engine of this process, with the apps that `run` gave it; it stops when the last of them is deleted."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, options: _Options) -> None:
        self.name = name
        self.loop = loop
        self.options = options
        self.engine: Engine | None = None
        self.retired = False  # has stopped for good
        self.apps: set[str] = set()
        self._lock = asyncio.Lock()

    async def deploy(self, graph: Graph, sources: Sources, options: _Options) -> Handle | None:
        """Start an app and return its handle; None if this stopped in the meantime, and another is to be asked."""
        async with self._lock:
            if self.retired:
                return None
            if self.engine is None:
                try:
                    engine = make_engine(self.name, self.options.port, self.options.http, self.options.resources)
                    await engine.start()
                except BaseException:
                    self._retire()
                    raise
                self.engine = engine
            else:
                self._check_same(options)
            try:
                spec = await self.engine.deploy(graph, sources)
            except BaseException:
                await self._stop_if_unused()
                raise
            self.apps.add(graph.name)
            return Handle(spec, self.engine.caller)

    def _check_same(self, options: _Options) -> None:
        port, first = options.port, self.options
        if port not in (None, first.port):
            raise UsageError(
                "all apps that a program runs are served on one port, which the first of them decides",
                found=f"port={port} after {'no port' if first.port is None else first.port}",
                instead="give `port` where the first app is run",
            )
        if options.http not in (None, first.http):
            raise UsageError(
                "all apps that a program runs are served in one way, which the first of them decides", found=f"http={options.http!r}"
            )
        if options.resources not in (None, first.resources):
            raise UsageError(
                "all apps that a program runs share what the machine has, which the first of them decides",
                found=f"resources={options.resources!r}",
                instead="give `resources` where the first app is run",
            )

    async def delete(self, app: str) -> None:
        async with self._lock:
            if self.engine is not None and app in self.apps:
                self.apps.discard(app)
                try:
                    await self.engine.delete(app)
                finally:
                    await self._stop_if_unused()

    async def _stop_if_unused(self) -> None:
        if not self.apps and self.engine is not None:
            engine, self.engine = self.engine, None
            try:
                await engine.stop()  # who comes meanwhile waits: the next engine may need this one's port
            finally:
                self._retire()

    def _retire(self) -> None:
        self.retired = True
        _servers.pop((self.name, self.loop), None)


_servers: dict[tuple[str, asyncio.AbstractEventLoop], _Server] = {}


def make_engine(name: str, port: int | None, http: HttpOptions | None = None, resources: Mapping[str, float] | None = None) -> Engine:
    """Return an engine by name; it is imported only now."""
    if http is not None and port is None:
        raise UsageError(
            "`http` says how an app is served, and `port` that it is", found="no port", instead="port=8000, or 0 for any free one"
        )
    if name == "inline":
        from motet.engines.inline import InlineEngine  # noqa: PLC0415  # one engine is enough for most programs

        if port is not None:
            raise UsageError("the inline engine serves no HTTP", found=f"port={port}", instead="engine='local'")
        return InlineEngine()
    if name == "local":
        from motet.engines.local.engine import LocalEngine  # noqa: PLC0415  # the same

        return LocalEngine(port=port, http=http, resources=resources)
    raise UsageError("there is no such engine", found=repr(name), instead="'inline' or 'local'")


class Running(Generic[S]):
    """An app that `run` was asked for: `with` or `async with` starts it, gives a handle, and stops it.

    Where a block doesn't fit, `start()` (sync code) or `await` (async code, notebooks) starts it, and `stop()` or
    `motet.delete(name)` stops it.
    """

    def __init__(self, graph: Graph, sources: Sources, engine: str, options: _Options) -> None:
        self._graph = graph
        self._sources = sources
        self._engine = engine
        self._options = options
        self._server: _Server | None = None

    async def _enter(self) -> S:
        if self._server is not None:
            raise UsageError(f"the app {self._graph.name!r} runs already")
        loop = asyncio.get_running_loop()
        while True:
            server = _servers.setdefault((self._engine, loop), _Server(self._engine, loop, self._options))
            if (handle := await server.deploy(self._graph, self._sources, self._options)) is not None:
                self._server = server
                return cast("S", handle)

    async def _exit(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.delete(self._graph.name)

    def __await__(self) -> Generator[Any, None, S]:
        """Start the app in the running loop and return a handle of its root; `await motet.delete(name)` stops it."""
        return self._enter().__await__()

    def start(self) -> S:
        """Start the app and return a handle of its root; from sync code.

        Raises:
            StartError: a service couldn't be started; the message has the cause.
        """
        return run_in_background(self._enter(), what="motet.run(...).start()")

    def stop(self) -> None:
        """Stop the app; running calls finish within their drain time. From sync code."""
        run_in_background(self._exit(), what="motet.run(...).stop()")

    def __enter__(self) -> S:
        """Start the app and return a handle of its root."""
        if running_loop() is not None:
            raise UsageError(
                "`with motet.run(...)` would block the event loop that runs in this thread", instead="async with motet.run(...)"
            )
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop the app."""
        self.stop()

    async def __aenter__(self) -> S:
        """Start the app in the running loop and return a handle of its root."""
        return await self._enter()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop the app."""
        await self._exit()


def run(
    app: S,
    *,
    engine: EngineName = "local",
    name: str = "default",
    route: str | None = None,
    port: int | None = None,
    http: HttpOptions | None = None,
    resources: Mapping[str, float | str] | None = None,
    env_file: Paths | None = None,
    secrets: Mapping[str, str] | Paths | None = None,
) -> Running[S]:
    """Run an app from Python: `with motet.run(app) as search: search.ask(...).result()`, or `async with` in async code.

    Several apps may run at once under different names; those of one engine share its processes and equal nodes.

    Args:
        app: the root node, from `bind`.
        engine: `"local"` for supervised processes, `"inline"` for this process.
        name: of the app.
        route: path of its endpoints over HTTP; `/` for the app named "default", `/<name>` for others.
        port: serve HTTP on this port of the loopback interface (0 for any free one); None for no HTTP.
        http: how that is done: other origins, compression, number of gateways.
        resources: what the machine is taken to have, in the place of what is found: `{"gpus": 1, "cpus": 4, "memory": "8GiB"}`, or amounts
            of names of your own. Without a card, gpus are logical ones. The inline engine places nothing and ignores it.
        env_file: path of a `.env` file, or several, whose variables all services get; those that a service names as secrets only it.
        secrets: where the secrets that services name are: values by name, the path of a folder with one file for each name or of a
            `.env` file, or several paths. What isn't there is looked for in `env_file` and in the environment of this process.

    Raises:
        DefinitionError: the graph is wrong; lists all faults.
        UsageError: `app` is no bound node, or an amount of `resources` is wrong.
    """
    if is_loading_script():
        raise ScriptReached
    if is_importing():
        raise UsageError(
            "motet.run is called while the file is imported to find the services in it",
            where=user_place(),
            instead="if __name__ == '__main__': above it",
        )
    graph = compile_graph(app, name=name, route=route if route is not None else "/" if name == "default" else f"/{name}")
    return Running(graph, sources_of(env_file, secrets), engine, _Options(port, http, amounts_of(resources)))


def amounts_of(resources: Mapping[str, float | str] | None) -> dict[str, float] | None:
    """Return what a machine is said to have, as numbers.

    Raises:
        UsageError: a name or an amount is wrong.
    """
    try:
        return checked_amounts(resources) if resources is not None else None
    except ValueError as error:
        raise UsageError(f"`resources`: {error}", where=user_place()) from None


def delete(name: str = "default") -> Call[None]:
    """Stop an app that this process runs; returns a call, to be awaited or asked for its `.result()`.

    Raises:
        NotFound: no app of this process has the name.
    """
    for server in list(_servers.values()):
        if name in server.apps:
            return call_in(server.loop, server.delete(name), name=f"motet.delete({name!r})")
    raise NotFound(f"no app named {name!r} runs", found=", ".join(sorted(a for s in _servers.values() for a in s.apps)) or "none")


def status() -> Call[tuple[ServerStatus, ...]]:
    """Return what the engines of this process run, as a call, to be awaited or asked for its `.result()`."""

    async def gather() -> tuple[ServerStatus, ...]:
        running = [(server.loop, server.engine) for server in list(_servers.values()) if server.engine is not None]
        calls = [call_in(loop, engine.status(), name="motet.status()") for loop, engine in running]
        return tuple([await call for call in calls])

    return call_in(home_loop(), gather(), name="motet.status()")
