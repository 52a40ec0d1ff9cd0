"""The engines that the suite runs on, and what every test of it starts apps with.

A new engine adds its name to `ENGINES`; no test names an engine.
"""

import contextlib
import importlib.util
import itertools
import socket

import httpx
import pytest

import motet
from motet.engines.inline import InlineEngine
from motet.gateway.routes import app_routes
from motet.gateway.server import Gateway
from motet.graph import compile_graph
from motet.testing import PATIENCE, Gate

ENGINES = ["inline", *(["local"] if importlib.util.find_spec("motet.engines.local.engine") else [])]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module", params=ENGINES)
def engine(request):
    """The name of the engine under test."""
    return request.param


@contextlib.asynccontextmanager
async def _starter(engine):
    async with contextlib.AsyncExitStack() as stack:

        async def start(app, **options):
            options.setdefault("name", f"app-{next(_numbers)}")
            return await stack.enter_async_context(motet.run(app, engine=engine, **options))

        yield start


@pytest.fixture
async def start(engine):
    """Start an app and return its handle; it is stopped after the test."""
    async with _starter(engine) as start:
        yield start


@pytest.fixture(scope="module")
async def start_shared(engine):
    """Start an app that all tests of the module use."""
    async with _starter(engine) as start:
        yield start


@contextlib.asynccontextmanager
async def _inline_gateway(app):
    """Serve an app as `motet serve --engine inline` does."""
    engine = InlineEngine()
    await engine.start()
    graph = compile_graph(app)
    spec = await engine.deploy(graph)
    gateway = Gateway(engine.caller.router)
    gateway.set_apps([app_routes(graph, {graph.root: spec.address})])
    sock = socket.create_server(("127.0.0.1", 0))
    await gateway.serve(sock)
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    await gateway.close()
    await engine.stop()


@contextlib.asynccontextmanager
async def _local_gateway(app):
    async with motet.run(app, engine="local", name="http", route="/", port=0):
        yield next(server.url for server in await motet.status() if server.url)


@pytest.fixture(scope="module")
async def over_http(engine):
    """Start an app that all tests of the module use, and return a client of its HTTP server."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(app):
            url = await stack.enter_async_context({"inline": _inline_gateway, "local": _local_gateway}[engine](app))
            return await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=PATIENCE))

        yield start


@pytest.fixture
def running(engine):
    """Return `motet.run` on the engine under test, for tests that start and stop by themselves."""

    def run(app, **options):
        options.setdefault("name", f"app-{next(_numbers)}")
        return motet.run(app, engine=engine, **options)

    return run


@contextlib.asynccontextmanager
async def _served(engine, app):
    """Serve an app over HTTP and give its URL."""
    name = f"app-{next(_numbers)}"
    if engine == "local":
        async with motet.run(app, engine=engine, port=0, name=name):
            yield next(server.url for server in await motet.status() if server.engine == engine) + f"/{name}"
        return
    inline = InlineEngine()
    await inline.start()
    graph = compile_graph(app, name=name, route=f"/{name}")
    spec = await inline.deploy(graph)
    gateway = Gateway(inline.caller.router)
    gateway.set_apps([app_routes(graph, {graph.root: spec.address})])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        await gateway.serve(listening.dup())
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/{name}"
        finally:
            await gateway.close()
            await inline.stop()


@contextlib.asynccontextmanager
async def _server(engine):
    async with contextlib.AsyncExitStack() as stack:

        async def serve(app):
            url = await stack.enter_async_context(_served(engine, app))
            return await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False))

        yield serve


@pytest.fixture
async def serve(engine):
    """Serve an app over HTTP and return a client; it is stopped after the test."""
    async with _server(engine) as serve:
        yield serve


@pytest.fixture(scope="module")
async def serve_shared(engine):
    """Serve an app over HTTP that all tests of the module use."""
    async with _server(engine) as serve:
        yield serve


@pytest.fixture(scope="module")
def shared_gate():
    """Make gates that live as long as the apps of the module."""
    with contextlib.ExitStack() as stack:
        yield lambda name="gate": stack.enter_context(Gate(name))


@pytest.fixture
def gate():
    """Make gates; they are closed after the test, before its apps are stopped."""
    with contextlib.ExitStack() as stack:
        yield lambda name="gate": stack.enter_context(Gate(name))
