"""Serving with the inline engine: services, engine and gateway in this process and loop, for a debugger."""

from __future__ import annotations

import asyncio
import inspect
import os
import pdb  # noqa: T100  # breakpoints are what this is for
import sys
from typing import Any

from motet.cli.registered import registered
from motet.cli.serving import Screen, ServeOptions, StopSignals
from motet.engines.inline import InlineEngine
from motet.engines.local.descriptors import allow_many_descriptors
from motet.engines.local.listening import listen, url_of
from motet.engines.local.plan import plan_graph
from motet.errors import UsageError
from motet.gateway.auth import check_bind
from motet.gateway.routes import app_routes
from motet.gateway.server import Gateway
from motet.graph import Graph, compile_graph
from motet.targets import load_target

NOTE = "Everything runs in this process: a breakpoint() in a service stops here. Requests keep their time limits meanwhile."


async def serve_inline(options: ServeOptions, screen: Screen) -> int:
    """Serve until a signal comes; returns the exit code.

    Raises:
        MotetError: it can't be started.
    """
    if options.reload:
        raise UsageError("the inline engine can't reload: old and new code would share a process", instead="--reload with --engine local")
    if options.http.gateways > 1:
        raise UsageError(
            "the inline engine has one gateway, in its process", found=f"{options.http.gateways}", instead="--gateways with --engine local"
        )
    allow_many_descriptors()
    check_bind(options.host, options.api_keys)
    (listening,) = listen(options.host, options.port)
    url = url_of(listening)
    screen.loading()
    graph = compile_graph(load_target(options.target), name=options.name, route=options.route)
    plan = plan_graph(graph)
    screen.starting(plan)
    if options.resources:
        screen.progress("--resources is ignored: the inline engine places nothing")
    sys.breakpointhook = _debug
    engine = InlineEngine()
    await engine.start()
    spec = await engine.deploy(graph, options.sources)
    gateway = Gateway(engine.caller.router, api_keys=options.api_keys, cors=options.http.cors, gzip=options.http.gzip)
    gateway.set_apps([app_routes(graph, {graph.root: spec.address})])
    await gateway.serve(listening)
    signals = StopSignals()
    async with registered(engine, target=options.target, url=url):
        screen.ready(plan, url, NOTE)
        await signals.first_or()
        screen.stopping(await _running(engine, graph.root))
        stopping = asyncio.create_task(_stop(gateway, engine, graph))
        await signals.second_or(stopping)
    if not stopping.done():
        screen.ending_at_once()
        return signals.exit_code
    stopping.result()
    return 0


def _debug(*args: Any, **options: Any) -> None:
    """Stop at a `breakpoint()`: as Python does, but Ctrl-C goes on to end the server; pdb would keep it for itself."""
    if "PYTHONBREAKPOINT" in os.environ:
        sys.__breakpointhook__(*args, **options)  # noqa: T100
    elif (frame := inspect.currentframe()) is not None:
        pdb.Pdb(nosigint=True).set_trace(frame.f_back)


async def _running(engine: InlineEngine, root: str) -> int:
    """Return how many calls the root has."""
    nodes = [node for app in (await engine.status()).apps for node in app.nodes]
    return sum(replica.busy for node in nodes if node.name == root for replica in node.replicas)


async def _stop(gateway: Gateway, engine: InlineEngine, graph: Graph) -> None:
    await gateway.drain(max(node.config.drain for node in graph.nodes.values()))
    await engine.stop()
    await gateway.close()  # until now it tells who comes that the server is stopping
