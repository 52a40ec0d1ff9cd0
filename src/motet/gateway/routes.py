"""Which path leads to which endpoint: pure data, made where the graph is and used where the requests are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from motet.definitions import Kind
from motet.graph import Graph, endpoint_paths
from motet.openapi import openapi


class EndpointRoute(msgspec.Struct, frozen=True):
    """One endpoint behind a path.

    Attributes:
        path: as clients write it, percent-encoding undone.
        target: address of the node.
        endpoint: its name.
        kind: whether it answers once or with a stream.
        timeout: seconds that a request may take, or None.
        idempotent: whether a request may be repeated on another replica.
    """

    path: str
    target: str
    endpoint: str
    kind: Kind
    timeout: float | None
    idempotent: bool


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
        endpoints=tuple(
            EndpointRoute(
                path=paths[endpoint.name],
                target=addresses[graph.root],
                endpoint=endpoint.name,
                kind=endpoint.kind,
                timeout=definition.timeout_of(endpoint, root.config),
                idempotent=definition.is_idempotent(endpoint, root.config),
            )
            for endpoint in definition.endpoints.values()
        ),
        openapi=msgspec.json.encode(openapi(graph)),
    )


def route_table(apps: Iterable[AppRoutes]) -> dict[bytes, EndpointRoute]:
    """Return the endpoints of all apps by path."""
    return {route.path.encode(): route for app in apps for route in app.endpoints}
