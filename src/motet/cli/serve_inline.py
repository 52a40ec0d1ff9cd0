"""Serving with the inline engine: services, engine and gateway in this process and loop, for a debugger."""

from __future__ import annotations

import asyncio

from motet.cli.limits import allow_many_descriptors
from motet.cli.serving import Screen, ServeOptions, StopSignals
from motet.engines.inline import InlineEngine
from motet.engines.local.listening import listen, url_of
from motet.engines.local.plan import plan_graph
from motet.errors import UsageError
from motet.gateway.auth import check_bind
from motet.gateway.routes import app_routes
from motet.gateway.server import Gateway
from motet.graph import compile_graph
from motet.targets import load_target

NOTE = "Everything runs in this process: a breakpoint() in a service stops here. Requests keep their time limits meanwhile."


async def serve_inline(options: ServeOptions, screen: Screen) -> int:
    """Serve until a signal comes; returns the exit code.

    Raises:
        MotetError: it can't be started.
    """
    if options.reload:
        raise UsageError("the inline engine can't reload: old and new code would share a process", instead="--reload with --engine local")
    allow_many_descriptors()
    check_bind(options.host, options.api_keys)
    listening = listen(options.host, options.port)
    screen.loading()
    graph = compile_graph(load_target(options.target), name=options.name, route=options.route)
    plan = plan_graph(graph)
    screen.starting(plan)
    signals = StopSignals()
    engine = InlineEngine()
    await engine.start()
    spec = await engine.deploy(graph)
    gateway = Gateway(engine.caller.router, api_keys=options.api_keys)
    gateway.set_apps([app_routes(graph, {graph.root: spec.address})])
    await gateway.serve(listening)
    screen.ready(plan, url_of(listening), NOTE)
    await signals.first_or()
    screen.stopping(sum(replica.busy for app in (await engine.status()).apps for node in app.nodes for replica in node.replicas))
    drain = max(node.config.drain for node in graph.nodes.values())
    stopping = asyncio.create_task(_stop(gateway, engine, drain))
    await signals.second_or(stopping)
    if not stopping.done():
        screen.ending_at_once()
        return signals.exit_code
    stopping.result()
    return 0


async def _stop(gateway: Gateway, engine: InlineEngine, drain: float) -> None:
    await gateway.drain(drain)
    await engine.stop()
