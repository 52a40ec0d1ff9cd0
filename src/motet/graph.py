"""The graph: nodes joined by their dependencies, checked, named, in dependency order; pure data that engines run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from motet.binding import Edge, Node, map_items, map_nodes
from motet.definitions import ServiceDefinition
from motet.errors import DefinitionError, Fault, UsageError
from motet.identity import node_digest
from motet.options import CallOptions, Config, user_place
from motet.schema import schema_of
from motet.service import Service, definition_of

S = TypeVar("S", bound=Service)

RESERVED_ROUTES = ("docs", "openapi.json", "jobs", "metrics", "healthz", "readyz", "startupz", "v1")


@dataclass(frozen=True, slots=True)
class Dependency:
    """Stands in a node's arguments for the handle of another node."""

    name: str
    options: CallOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphNode:
    """A node of a graph: named, with its arguments' nodes replaced by `Dependency`."""

    name: str
    definition: ServiceDefinition
    arguments: Mapping[str, object]
    config: Config
    place: str
    digest: str  # of its own code, arguments and options
    identity: str  # the digest and those of all that it depends on

    @property
    def dependencies(self) -> Mapping[str, Sequence[Dependency]]:
        """The dependencies by constructor parameter."""
        return {name: found for name, value in self.arguments.items() if (found := dependencies_in(value))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """An app: a name, a route, and nodes in dependency order; the root is the last."""

    name: str
    route: str
    root: str
    nodes: Mapping[str, GraphNode]


def dependencies_in(value: object) -> list[Dependency]:
    """Return the dependencies in an argument, also those in lists, tuples and dicts."""
    if isinstance(value, Dependency):
        return [value]
    if isinstance(value, list | tuple):
        return [found for item in cast("Sequence[object]", value) for found in dependencies_in(item)]
    if isinstance(value, dict):
        return [found for item in cast("dict[object, object]", value).values() for found in dependencies_in(item)]
    return []


def map_dependencies(value: object, change: Callable[[Dependency], object]) -> object:
    """Return an argument with each dependency in it replaced by what `change` returns."""
    return map_items(value, lambda item: change(item) if isinstance(item, Dependency) else item)


def reachable(root: Node) -> list[Node]:
    """Return the node and all that it depends on, each once; a cycle is no obstacle."""
    found: dict[int, Node] = {}

    def note(node: Node, _: CallOptions) -> object:
        if id(node) not in found:
            found[id(node)] = node
            for value in node.arguments.values():
                map_nodes(value, note)
        return node

    note(root, CallOptions())
    return list(found.values())


class _Compiler:
    """Walks a bound node depth first, merging equal nodes and naming the others."""

    def __init__(self, root: Node) -> None:
        self.faults: list[Fault] = []
        self.nodes: dict[str, GraphNode] = {}
        self._by_identity: dict[str, str] = {}
        self._done: dict[int, str] = {}
        self._path: list[Node] = []
        self._explicit: dict[str, str] = {}
        self._taken = {node.name for node in reachable(root)}

    def visit(self, node: Node) -> str:
        if node in self._path:
            cycle = [n.definition.name for n in self._path[self._path.index(node) :]] + [node.definition.name]
            self.faults.append(
                Fault(
                    place=node.place,
                    subject=node.definition.name,
                    message="the dependencies form a cycle",
                    found=" -> ".join(cycle),
                    instead="services that call each other in one direction",
                )
            )
            return ""
        if id(node) in self._done:
            return self._done[id(node)]
        self._path.append(node)
        arguments = {
            name: map_nodes(value, lambda inner, options: Dependency(self.visit(inner), options)) for name, value in node.arguments.items()
        }
        self._path.pop()
        name = self._add(node, arguments)
        self._done[id(node)] = name
        return name

    def _add(self, node: Node, arguments: dict[str, object]) -> str:
        identities: list[str] = []

        def without_name(dependency: Dependency) -> object:
            identities.append(self.nodes[dependency.name].identity if dependency.name in self.nodes else "")
            return ("motet dependency", dependency.options.model_dump_json())

        plain = {name: map_dependencies(value, without_name) for name, value in arguments.items()}
        digest = node_digest(node.definition.cls, plain, node.config)
        # A name that the user gave keeps nodes apart that are equal otherwise.
        identity = hashlib.sha256("\n".join([digest, node.name or "", *identities]).encode()).hexdigest()
        if identity in self._by_identity:
            return self._by_identity[identity]
        name = self._name(node)
        self._by_identity[identity] = name
        self.nodes[name] = GraphNode(
            name=name,
            definition=node.definition,
            arguments=arguments,
            config=node.config,
            place=node.place,
            digest=digest,
            identity=identity,
        )
        return name

    def _name(self, node: Node) -> str:
        if node.name is not None:
            if node.name in self._explicit:
                self.faults.append(
                    Fault(
                        place=node.place,
                        subject=node.definition.name,
                        message=f"two unequal nodes are named {node.name!r}",
                        found=f"the other at {self._explicit[node.name]}",
                        instead=f".options(name={node.name + '-2'!r})",
                    )
                )
            self._explicit[node.name] = node.place
            return node.name
        base = node.definition.name
        number = 1
        while (candidate := base if number == 1 else f"{base}-{number}") in self.nodes or candidate in self._taken:
            number += 1
        return candidate


def compile_graph(app: object, *, name: str = "default", route: str = "/") -> Graph:
    """Compile a bound node and all that it depends on into a graph.

    Args:
        app: the root, from `bind`.
        name: of the app.
        route: path under which its endpoints are reached over HTTP.

    Raises:
        UsageError: `app` is no bound node.
        DefinitionError: a cycle, a name given twice, or a route that is reserved; lists all faults.
    """
    if not isinstance(app, Node):
        found = f"the class {app.__name__}" if isinstance(app, type) else type(app).__name__
        raise UsageError("an app is a bound node", where=user_place(), found=found, instead="app = MyService.bind(...)")
    compiler = _Compiler(app)
    root = compiler.visit(app)
    faults = compiler.faults + route_faults(route, app) + _uncallable(compiler.nodes, root)
    if faults:
        raise DefinitionError(faults)
    return Graph(name=name, route=route, root=root, nodes=compiler.nodes)


def _uncallable(nodes: Mapping[str, GraphNode], root: str) -> list[Fault]:
    """Return a fault for each node that nobody can reach: no root, so without HTTP, and with endpoints that need HTTP only."""
    return [
        Fault(
            place=node.place,
            subject=node.definition.name,
            message="all endpoints of this dependency need an HTTP request, so no service can call it",
            found=", ".join(node.definition.endpoints),
            instead="an endpoint that takes and gives values, or this service as the root of an app of its own",
        )
        for name, node in nodes.items()
        if name != root and all(schema_of(endpoint, node.definition.cls).over_http for endpoint in node.definition.endpoints.values())
    ]


def route_faults(route: str, app: Node) -> list[Fault]:
    """Return what is wrong with a route, and with the paths that the root's endpoints get under it."""
    subject = app.definition.name
    if not route.startswith("/") or (route != "/" and route.endswith("/")) or "//" in route or any(c in route for c in "?#% "):
        return [Fault(place=app.place, subject=subject, message="the route is malformed", found=repr(route), instead="'/' or '/name'")]
    if route != "/":
        head = route.split("/")[1]
        if head not in RESERVED_ROUTES:
            return []
        return [
            Fault(
                place=app.place,
                subject=subject,
                message=f"the path /{head} is reserved",
                found=f"route {route!r}",
                instead=f"another route, such as '/my-{head}'",
            )
        ]
    return [
        Fault(
            place=endpoint.place,
            subject=f"{subject}.{name}",
            message=f"the path /{name} is reserved",
            found=f"an endpoint {name!r} of the root, at the route '/'",
            instead="another name of the endpoint, or a route such as '/app'",
        )
        for name, endpoint in app.definition.endpoints.items()
        if name in RESERVED_ROUTES and not endpoint.ingress
    ]


def endpoint_paths(route: str, definition: ServiceDefinition) -> dict[str, str]:
    """Return the HTTP path of each endpoint of a root: `<route>/<endpoint>`, and the route itself for `__call__` and an ingress."""
    base = "" if route == "/" else route
    endpoints = definition.endpoints
    return {name: (route if name == "__call__" or endpoints[name].ingress else f"{base}/{name}") for name in endpoints}


def replace_service(app: S, cls: type[Service], fake: Service) -> S:
    """Return the app with every node of the class `cls` replaced by the node `fake`; for tests.

    Raises:
        UsageError: no node has this class, or the fake lacks one of its endpoints.
    """
    root: object = app  # statically nodes have the types of their classes
    stand_in: object = fake
    if not isinstance(root, Node) or not isinstance(stand_in, Node):
        raise UsageError("replace() takes bound nodes", where=user_place(), instead="motet.replace(app, Embedder, FakeEmbedder.bind())")
    missing = set(definition_of(cls).endpoints) - set(stand_in.definition.endpoints)
    if missing:
        raise UsageError(
            f"{stand_in.definition.name} can't stand for {cls.__name__}",
            found="no endpoint " + ", ".join(sorted(missing)),
            instead="a service with the same endpoints",
        )
    count = 0

    def swap(node: Node, options: CallOptions) -> object:
        nonlocal count
        if issubclass(node.definition.cls, cls):
            count += 1
            changed = stand_in
        else:
            changed = replace(node, arguments={name: map_nodes(value, swap) for name, value in node.arguments.items()})
        return Edge(node=changed, options=options) if options != CallOptions() else changed

    result = swap(root, CallOptions())
    if count == 0:
        raise UsageError(f"the app has no node of {cls.__name__}", where=user_place())
    return cast("S", result)
