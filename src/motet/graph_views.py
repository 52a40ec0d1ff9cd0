"""Graphs as text: a tree, a Mermaid diagram, JSON."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Sequence
from typing import Any

from motet.check import type_name
from motet.definitions import EndpointDefinition, Surface
from motet.graph import Graph, GraphNode, dependencies_in, endpoint_paths
from motet.options import Autoscale, Config
from motet.schema import schema_of


def tree(graph: Graph) -> str:
    """Return the nodes as a tree of who calls whom; a node that was shown above is shown without its own dependencies."""
    root = graph.nodes[graph.root]
    shown: set[str] = set()
    return "\n".join([f"app {graph.name} at {graph.route}", _title(root), *_branches(graph, root, "", shown)])


def _branches(graph: Graph, node: GraphNode, indent: str, shown: set[str]) -> Iterator[str]:
    shown.add(node.name)
    edges = _edges(node)
    for number, (parameter, name) in enumerate(edges):
        last = number == len(edges) - 1
        child = graph.nodes[name]
        repeated = name in shown and bool(_edges(child))
        yield f"{indent}{'└── ' if last else '├── '}{parameter}: {_title(child)}{'  (see above)' if repeated else ''}"
        if not repeated:
            yield from _branches(graph, child, indent + ("    " if last else "│   "), shown)


def _title(node: GraphNode) -> str:
    kind = f" ({node.definition.name})" if node.name != node.definition.name else ""
    count = replicas_text(node.config)
    return f"{node.name}{kind}{f'  x{count}' if count != '1' else ''}  [{', '.join(node.definition.endpoints)}]"


def replicas_text(config: Config) -> str:
    """Return how many replicas are wanted: `2`, or `1-4` for a range."""
    if isinstance(config.replicas, Autoscale):
        low, high = config.replicas.min, config.replicas.max
        return str(high) if low == high else f"{low}-{high}"
    return str(config.replicas)


def _edges(node: GraphNode) -> list[tuple[str, str]]:
    """Return parameter and name of each dependency, each once."""
    return list(dict.fromkeys((parameter, d.name) for parameter, found in node.dependencies.items() for d in found))


def mermaid(graph: Graph) -> str:
    """Return the graph as a Mermaid flowchart, the gateway first."""
    identifiers = {name: f"n{number}" for number, name in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for name, node in graph.nodes.items():
        kind = f"<br/>{node.definition.name}" if name != node.definition.name else ""
        count = replicas_text(node.config)
        lines.append(f'    {identifiers[name]}["{name}{kind}{f"<br/>x{count}" if count != "1" else ""}"]')
    lines.append(f'    http(("HTTP {graph.route}")) --> {identifiers[graph.root]}')
    for name, node in graph.nodes.items():
        lines += [f"    {identifiers[name]} -->|{parameter}| {identifiers[to]}" for parameter, to in _edges(node)]
    return "\n".join(lines)


def as_json(graph: Graph) -> str:
    """Return everything about the graph as indented JSON."""
    paths = endpoint_paths(graph.route, graph.nodes[graph.root].definition)
    document = {
        "app": graph.name,
        "route": graph.route,
        "root": graph.root,
        "paths": paths,
        "nodes": [_node_fields(node) for node in graph.nodes.values()],
    }
    return json.dumps(document, indent=2)


def _node_fields(node: GraphNode) -> dict[str, Any]:
    definition = node.definition
    return {
        "name": node.name,
        "service": definition.name,
        "place": node.place,
        "endpoints": [_endpoint_fields(endpoint, node) for endpoint in definition.endpoints.values()],
        "dependencies": {parameter: _dependency_fields(node.arguments[parameter]) for parameter in node.dependencies},
        "config": node.config.model_dump(mode="json", exclude_defaults=True),
        "digest": node.digest,
        "identity": node.identity,
    }


def _endpoint_fields(endpoint: EndpointDefinition, node: GraphNode) -> dict[str, Any]:
    batching = endpoint.batching
    return {
        "name": endpoint.name,
        "signature": signature_text(endpoint),
        "kind": endpoint.kind,
        "async": endpoint.is_async,
        "batched": None if batching is None else {"max_size": batching.max_size, "max_wait": batching.max_wait},
        "timeout": node.definition.timeout_of(endpoint, node.config),
        "idempotent": node.definition.is_idempotent(endpoint, node.config),
        "place": endpoint.place,
    }


def _dependency_fields(value: object) -> list[dict[str, Any]]:
    return [{"node": d.name, **d.options.model_dump(exclude_none=True)} for d in dependencies_in(value)]


def signature_text(endpoint: EndpointDefinition) -> str:
    """Return the signature as its author wrote it: `(text: str, top: int = 3) -> list[str]`."""
    signature = endpoint.signature
    parameters = [_parameter_text(parameter) for parameter in signature.parameters.values()]
    return f"({', '.join(parameters)}) -> {type_name(signature.return_annotation)}"


def _parameter_text(parameter: inspect.Parameter) -> str:
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{parameter.name}: {type_name(parameter.annotation)}{default}"


def routes(graph: Graph) -> Sequence[str]:
    """Return one line for each HTTP route: method, path, and what is behind it."""
    definition = graph.nodes[graph.root].definition
    paths = endpoint_paths(graph.route, definition)
    schemas = {name: schema_of(endpoint, definition.cls) for name, endpoint in definition.endpoints.items()}
    ways = {name: route_text(schema.surface, schema.methods, paths[name]) for name, schema in schemas.items()}
    width = max(map(len, ways.values()), default=0)
    return [f"{ways[name]:<{width}}  {definition.name}.{name}{signature_text(e)}" for name, e in definition.endpoints.items()]


def route_text(surface: Surface, methods: Sequence[str], path: str) -> str:
    """Return how an endpoint is reached over HTTP: `POST /ask`, `GET|POST /page`, `WS /talk`, and `ANY /*` for an ASGI app."""
    if surface == "ingress":
        return f"ANY {path.rstrip('/')}/*"
    return f"{'WS' if surface == 'websocket' else '|'.join(methods)} {path}"
