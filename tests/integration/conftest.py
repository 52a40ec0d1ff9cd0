"""A gateway before the inline engine, in the loop of the test."""

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field

import httpx
import pytest
from wire_client import Client

from motet.engines.inline import InlineEngine
from motet.gateway.limits import Limits
from motet.gateway.routes import app_routes
from motet.gateway.server import Gateway
from motet.graph import compile_graph
from motet.testing import PATIENCE, Gate


@pytest.fixture
def anyio_backend():
    return "asyncio", {"use_uvloop": True}


@dataclass
class Served:
    """A gateway that runs, and the way to it."""

    gateway: Gateway
    engine: InlineEngine
    port: int
    close: contextlib.AsyncExitStack
    graphs: list = field(default_factory=list)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    async def connect(self):
        """Open a connection of raw bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
        self.close.push_async_callback(_closed, writer)
        return Client(reader, writer)

    async def http(self, **options):
        """Return an ordinary client."""
        return await self.close.enter_async_context(httpx.AsyncClient(base_url=self.url, timeout=PATIENCE, **options))

    async def deploy(self, app, *, name="default", route="/"):
        """Run an app, and serve it beside those that run."""
        graph = compile_graph(app, name=name, route=route)
        await self.engine.deploy(graph)
        self.graphs.append(graph)
        self.publish()

    def publish(self, **not_ready):
        """Tell the gateway of all apps."""
        self.gateway.set_apps([app_routes(graph, self.engine._apps[graph.name][1]) for graph in self.graphs], not_ready)


async def _closed(writer):
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def listening():
    """Return a bound socket, as a supervisor would own it."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(64)
    return sock


@pytest.fixture
async def serve():
    """Start gateways; each gets an inline engine of its own."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(app=None, *, limits=None, **options):
            engine = InlineEngine()
            await engine.start()
            gateway = Gateway(engine.caller.router, limits=limits or Limits(), **options)
            sock = listening()
            port = sock.getsockname()[1]
            await gateway.serve(sock)
            served = Served(gateway, engine, port, stack)
            stack.push_async_callback(engine.stop)
            stack.push_async_callback(gateway.close)
            if app is not None:
                await served.deploy(app)
            return served

        yield start


@pytest.fixture
def gate():
    """Make gates; they are closed after the test, before its apps are stopped."""
    with contextlib.ExitStack() as stack:
        yield lambda name="gate": stack.enter_context(Gate(name))
