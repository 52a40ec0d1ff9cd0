"""The inline engine: every service in this process and event loop. It is the specification of what a program means.

Calls take the same way as on any engine (encoded, queued, validated, by value), only without a process in between.
Placement (resources, replicas, environment, image) has no meaning here and is named once at the start.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from motet import redaction
from motet.absent import refuse_users
from motet.context import Context
from motet.engines.assets import AssetKeeper, needs_of
from motet.engines.hardware import visible_cards
from motet.engines.interface import AppStatus, NodeStatus, ReplicaStatus, ServerStatus, not_acted_on, run_preload
from motet.errors import InvalidOutput, NotFound, StartError, UsageError
from motet.graph import Dependency, Graph, GraphNode, dependencies_in, map_dependencies
from motet.runtime.caller import Caller
from motet.runtime.exchange import TUNNEL, Exchange, Request
from motet.runtime.handle import Handle
from motet.runtime.plans import HandleSpec, endpoint_plans
from motet.runtime.replica import Replica, ReplicaSpec
from motet.runtime.router import Router
from motet.secret_sources import ENVIRONMENT, Found, Marks, Sources, Wanted, find
from motet.wire import codec
from motet.wire.failure import Failure, without_secrets
from motet.wire.payload import Payload

log = logging.getLogger("motet.inline")

IGNORED = (
    "resources",
    "replicas",
    "environment",
    "environment.env (it is in Context.environment, not in os.environ)",
    "image",
    "secrets as environment variables (context.secrets has them)",
)


class _App(NamedTuple):
    """An app that runs: the addresses of its nodes, what they were given, and their identities with that."""

    graph: Graph
    addresses: dict[str, str]
    found: Found
    identities: dict[str, str]


class InlineEngine:
    """Runs apps in the event loop that starts it."""

    name = "inline"

    def __init__(self) -> None:
        self._replicas: dict[str, Replica] = {}  # by address
        self._users: dict[str, set[str]] = {}  # apps by address
        self._addresses: dict[str, str] = {}  # by identity of the node
        self._apps: dict[str, _App] = {}
        self._assets = AssetKeeper(log.warning)
        self._salt = os.urandom(32)
        self._started = time.time()
        self._data: Path | None = None

    @property
    def caller(self) -> Caller:
        """What makes calls to the apps."""
        return self._caller

    async def start(self) -> None:
        """Get ready to run apps."""
        loop = asyncio.get_running_loop()
        self._router = Router(loop, owner="inline")
        self._caller = Caller(self._router, loop)

    async def deploy(self, graph: Graph, sources: Sources = ENVIRONMENT) -> HandleSpec:
        """Construct all services of the app that no other app shares, dependencies first."""
        if graph.name in self._apps:
            raise UsageError(f"an app named {graph.name!r} runs already", instead=f"motet.delete({graph.name!r}), or another name")
        refuse_users({node.name: node.definition.cls for node in graph.nodes.values()})
        if ignored := not_acted_on(graph, IGNORED):
            log.warning("inline ignores placement: %s", "; ".join(ignored))
        app = self._apps[graph.name] = self._prepare(graph, sources)
        addresses = app.addresses
        try:
            assets = await self._assets.have([needs_of(node, app.found) for node in graph.nodes.values()])
        except BaseException:
            await self.delete(graph.name)
            raise
        try:
            for node in graph.nodes.values():
                addresses[node.name] = await self._place(node, app, assets.get(node.name, {}))
        except BaseException as error:
            if not isinstance(error, Exception):
                await self.delete(graph.name)
                raise
            failed = list(graph.nodes)[len(addresses)] if len(addresses) < len(graph.nodes) else graph.root
            message = redaction.redact(f"{failed} could not start: {type(error).__name__}: {error}")
            cause = without_secrets(error, endpoint=f"{failed}.__init__", replica=f"{failed}#1")
            await self.delete(graph.name)
            raise StartError(message, where=graph.nodes[failed].place) from cause
        root = graph.nodes[graph.root]
        return handle_spec(root, addresses[root.name])

    def _prepare(self, graph: Graph, sources: Sources) -> _App:
        """Find what the nodes of an app are given; secrets are hidden from here on."""
        nodes = graph.nodes.values()
        found = find(sources, [Wanted(service=n.name, place=n.place, names=names) for n in nodes if (names := n.config.assets.secrets)])
        for warning in found.warnings:
            log.warning("%s", warning)
        if found.variables:
            log.warning("inline sets no environment variables; context.environment has %s", ", ".join(found.variables))
        marks = Marks(found, salt=self._salt)
        identities = {n.name: marks.identity(n.name, n.identity, (d.name for ds in n.dependencies.values() for d in ds)) for n in nodes}
        redaction.hide(found.values)
        return _App(graph, {}, found, identities)

    async def _place(self, node: GraphNode, app: _App, assets: Mapping[str, str]) -> str:
        graph, addresses, identity = app.graph, app.addresses, app.identities[node.name]
        if (shared := self._addresses.get(identity)) is not None:
            self._users[shared].add(graph.name)
            return shared
        address = free_address(node.name, self._replicas)
        arguments = {name: self._argument(node, name, value, graph, addresses) for name, value in node.arguments.items()}
        run_preload(node.definition.cls, node.arguments)
        spec = ReplicaSpec(
            definition=node.definition,
            arguments=arguments,
            config=node.config,
            node=address,
            identity=f"{address}#1",
            context=Context(
                app=graph.name,
                service=node.name,
                replica=f"{address}#1",
                engine=self.name,
                data_dir=self._data_dir(address),
                secrets=app.found.secrets.get(node.name, {}),
                environment={**app.found.variables, **node.config.environment.env},
                assets={text: Path(path) for text, path in assets.items()},
                gpus=visible_cards(os.environ),
            ),
        )
        replica = Replica(spec)
        await replica.start()
        self._replicas[address] = replica
        self._addresses[identity] = address
        self._users[address] = {graph.name}
        self._router.set_links(address, [_InlineLink(replica)])
        return address

    def _argument(self, node: GraphNode, name: str, value: object, graph: Graph, addresses: dict[str, str]) -> object:
        """Return a constructor argument by value, with handles in place of dependencies."""
        if not dependencies_in(value):
            try:
                return codec.decode(codec.encode(value))
            except InvalidOutput as error:
                raise UsageError(
                    f"the argument `{name}` of {node.name} can't be given to another process",
                    where=node.place,
                    found=error.found,
                    instead=error.instead,
                ) from error

        def handle(dependency: Dependency) -> object:
            return Handle(handle_spec(graph.nodes[dependency.name], addresses[dependency.name], dependency), self._caller)

        return map_dependencies(value, handle)

    def _data_dir(self, address: str) -> Path:
        if self._data is None:
            self._data = Path(tempfile.mkdtemp(prefix="motet-"))
        folder = self._data / address
        folder.mkdir(exist_ok=True)
        return folder

    async def delete(self, app: str) -> None:
        """Stop an app, callers before the services that they call."""
        if app not in self._apps:
            raise NotFound(f"no app named {app!r} runs", found=", ".join(self._apps) or "none")
        ended = self._apps.pop(app)
        for address in reversed(list(dict.fromkeys(ended.addresses.values()))):
            self._users[address].discard(app)
            if not self._users[address]:
                replica = self._replicas[address]
                await replica.drain(replica.spec.config.drain)
                await replica.stop()
                self._router.set_links(address, [], broken="it was deleted")
                del self._replicas[address], self._users[address]
                self._addresses = {identity: a for identity, a in self._addresses.items() if a != address}
        redaction.show(ended.found.values)

    async def status(self) -> ServerStatus:
        """Return what runs."""
        apps = tuple(
            AppStatus(
                name=graph.name,
                route=graph.route,
                root=graph.root,
                state="running",
                nodes=tuple(self._node_status(node, addresses[node.name]) for node in graph.nodes.values() if node.name in addresses),
            )
            for graph, addresses, _, _ in self._apps.values()
        )
        return ServerStatus(engine=self.name, pid=os.getpid(), url=None, apps=apps, started=self._started)

    def _node_status(self, node: GraphNode, address: str) -> NodeStatus:
        replica = self._replicas[address]
        state = replica.lifecycle.state
        return NodeStatus(
            name=node.name,
            service=node.definition.name,
            state="running" if state == "ready" else state,
            replicas=(ReplicaStatus(identity=replica.spec.identity, state=state, pid=os.getpid(), busy=replica.busy),),
        )

    async def stop(self) -> None:
        """Stop all apps, the last first."""
        for app in reversed(list(self._apps)):
            await self.delete(app)
        self._router.close()
        self._assets.close()
        if self._data is not None:
            shutil.rmtree(self._data, ignore_errors=True)


def handle_spec(node: GraphNode, address: str, dependency: Dependency | None = None) -> HandleSpec:
    """Return what a handle of a node is made from."""
    return HandleSpec(
        address=address,
        service=node.definition.name,
        endpoints=endpoint_plans(node.definition, node.config),
        timeout=dependency.options.timeout if dependency is not None else None,
        retries=dependency.options.retries if dependency is not None else None,
    )


def free_address(name: str, taken: dict[str, Replica]) -> str:
    """Return `name`, with a number if another app has a different node of that name."""
    number = 1
    while (candidate := name if number == 1 else f"{name}-{number}") in taken:
        number += 1
    return candidate


class _InlineLink:
    """A link to a replica of this process."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._requests: dict[Exchange, Request] = {}
        self.replica = replica.spec.identity
        self.outstanding = 0

    def send(self, exchange: Exchange) -> None:
        request = Request(
            endpoint=exchange.endpoint,
            body=exchange.body,
            format=exchange.format,
            deadline=exchange.deadline,
            request_id=exchange.request_id,
            trace=exchange.trace,
            content_type=exchange.content_type,
            accept=exchange.accept,
            reply=_InlineReply(self, exchange),
        )
        if request.format is TUNNEL:
            request.open_tunnel()
        self._requests[exchange] = request
        self.outstanding += 1
        self._replica.submit(request)

    def cancel(self, exchange: Exchange) -> None:
        if (request := self.forget(exchange)) is not None:
            self._replica.cancel(request)

    def credit(self, exchange: Exchange, items: int) -> None:
        if (request := self._requests.get(exchange)) is not None:
            request.grant(items)

    def item(self, exchange: Exchange, piece: bytes) -> None:
        if (request := self._requests.get(exchange)) is not None and request.inbox is not None:
            request.inbox.put(piece)

    def end(self, exchange: Exchange) -> None:
        if (request := self._requests.get(exchange)) is not None and request.inbox is not None:
            request.inbox.end()

    def forget(self, exchange: Exchange) -> Request | None:
        request = self._requests.pop(exchange, None)
        if request is not None:
            self.outstanding -= 1
        return request


class _InlineReply:
    """Gives a replica's answers to the exchange."""

    __slots__ = ("_exchange", "_link")

    def __init__(self, link: _InlineLink, exchange: Exchange) -> None:
        self._link = link
        self._exchange = exchange

    def result(self, payload: Payload, content_type: str | None) -> None:
        self._link.forget(self._exchange)
        self._exchange.answer(payload, content_type)

    def begin(self, content_type: str | None) -> None:
        self._exchange.on_begin(content_type)

    def item(self, payload: Payload, items: int = 1) -> None:
        self._exchange.on_item(payload, items)

    def end(self) -> None:
        self._link.forget(self._exchange)
        self._exchange.end()

    def failure(self, failure: Failure) -> None:
        self._link.forget(self._exchange)
        self._exchange.fail(failure)

    def credit(self, size: int) -> None:
        self._exchange.on_credit(size)
