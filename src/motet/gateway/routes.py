"""Which path leads to which endpoint: pure data, made where the graph is and used where the requests are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from motet.definitions import Kind, Surface
from motet.graph import RESERVED_ROUTES, Graph, endpoint_paths
from motet.openapi import openapi
from motet.runtime.plans import EndpointPlan, endpoint_plans


class EndpointRoute(msgspec.Struct, frozen=True):
    """One endpoint behind a path.

    Attributes:
        path: as clients write it, percent-encoding undone.
        target: address of the node.
        endpoint: its name.
        kind: whether it answers once or with a stream.
        timeout: seconds that a request may take, or None.
        idempotent: whether a request may be repeated on another replica.
        surface: how its requests are handed over: whole, or in pieces as they come.
        methods: of HTTP that it answers to.
        whole: whether `surface` is "call".
    """

    path: str
    target: str
    endpoint: str
    kind: Kind
    timeout: float | None
    idempotent: bool
    surface: Surface = "call"
    methods: tuple[str, ...] = ("POST",)
    whole: bool = True


class AppRoutes(msgspec.Struct, frozen=True):
    """An app as the gateway knows it: its name, the address of its root, its endpoints and their description as JSON."""

    app: str
    root: str
    endpoints: tuple[EndpointRoute, ...]
    openapi: bytes


def app_routes(graph: Graph, addresses: Mapping[str, str]) -> AppRoutes:
    """Return the routes of an app.

    Args:
        graph: the app.
        addresses: address by name of the node.
    """
    root = graph.nodes[graph.root]
    definition = root.definition
    paths = endpoint_paths(graph.route, definition)
    return AppRoutes(
        app=graph.name,
        root=addresses[graph.root],
        endpoints=endpoint_routes(endpoint_plans(definition, root.config), addresses[graph.root], paths),
        openapi=msgspec.json.encode(openapi(graph)),
    )


def endpoint_routes(plans: Iterable[EndpointPlan], address: str, paths: Mapping[str, str]) -> tuple[EndpointRoute, ...]:
    """Return the routes of a root's endpoints.

    Args:
        plans: of the endpoints.
        address: of the root.
        paths: by name of the endpoint.
    """
    return tuple(
        EndpointRoute(
            path=paths[plan.name],
            target=address,
            endpoint=plan.name,
            kind=plan.kind,
            timeout=plan.timeout,
            idempotent=plan.idempotent,
            surface=plan.surface,
            methods=plan.methods,
            whole=plan.surface == "call",
        )
        for plan in plans
    )


def route_table(apps: Iterable[AppRoutes]) -> dict[bytes, EndpointRoute]:
    """Return the endpoints of all apps by path."""
    return {route.path.encode(): route for app in apps for route in app.endpoints if route.surface != "ingress"}


class Mounts:
    """The ASGI apps that answer all paths under theirs which no endpoint has; an app with the longer path comes first."""

    def __init__(self, apps: Iterable[AppRoutes]) -> None:
        found = [route for app in apps for route in app.endpoints if route.surface == "ingress"]
        self._routes = sorted(((route.path.rstrip("/").encode(), route) for route in found), key=lambda entry: -len(entry[0]))

    def find(self, path: bytes) -> EndpointRoute | None:
        """Return the app for a path, or None; paths that belong to the server are no app's."""
        for prefix, route in self._routes:
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in (b"/", b""):
                return None if not prefix and path.split(b"/", 2)[1] in _RESERVED else route
        return None


_RESERVED = frozenset(name.encode() for name in RESERVED_ROUTES)
