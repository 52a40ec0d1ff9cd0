"""A graph as data that crosses processes: what the supervisor decides by and what replicas are made from.

The supervisor never loads a user's class: it sees names, options and digests, and passes the rest on as bytes.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from motet import byvalue
from motet.engines.interface import not_acted_on
from motet.errors import InvalidOutput, UsageError
from motet.graph import Graph, GraphNode, endpoint_paths
from motet.openapi import openapi
from motet.options import Config
from motet.runtime.plans import EndpointPlan, HandleSpec, endpoint_plans
from motet.samples import sample_body
from motet.secret_sources import API_KEY, Wanted
from motet.wire import codec, names

# Declared, validated, and acted on by later versions.
NOT_YET = (
    "replicas=Autoscale(...)",
    "image",
)


class Recipe(msgspec.Struct, frozen=True):
    """How a fresh process gets to the user's code: import path, folder, and the script or target to load."""

    sys_path: tuple[str, ...]
    folder: str
    target: str | None = None
    script: str | None = None  # file of `__main__`
    module: str | None = None  # name of `__main__`, if it was started by `python -m`


class NodePlan(msgspec.Struct, frozen=True):
    """One node: its class by name or by value, its encoded arguments, and all that callers and the supervisor need."""

    name: str
    service: str
    cls: str
    cls_by_value: bytes | None
    arguments: tuple[bytes, ...]  # head and buffers
    dependencies: tuple[str, ...]
    config: bytes  # JSON
    endpoints: tuple[EndpointPlan, ...]
    digest: str
    identity: str
    place: str
    folder: str  # of the file that defines the class
    preloads: bool = False

    @property
    def options(self) -> Config:
        """The node's options."""
        return Config.model_validate_json(self.config)

    @property
    def working_dir(self) -> Path | None:
        """The folder that its replicas start in, if it declares one."""
        declared = self.options.environment.working_dir
        return Path(self.folder) / declared if declared is not None else None


class AppPlan(msgspec.Struct, frozen=True):
    """An app: its nodes in dependency order, and what the gateway needs of its root."""

    name: str
    route: str
    root: str
    nodes: tuple[NodePlan, ...]
    openapi: bytes
    paths: dict[str, str]  # HTTP path by endpoint
    examples: dict[str, str]  # a JSON body that each endpoint might get
    notices: tuple[str, ...]

    def node(self, name: str) -> NodePlan:
        """Return a node by name."""
        return next(node for node in self.nodes if node.name == name)

    @property
    def wanted_secrets(self) -> list[Wanted]:
        """The secrets that its services name."""
        return [Wanted(service=node.name, place=node.place, names=names) for node in self.nodes if (names := node.options.assets.secrets)]

    @property
    def secret_names(self) -> tuple[str, ...]:
        """The names of them, each once."""
        return tuple(dict.fromkeys(name for wanted in self.wanted_secrets for name in wanted.names))

    @property
    def uses_main(self) -> bool:
        """Whether a class of it was defined in the program's main module."""
        return any(node.cls.startswith("__main__:") and node.cls_by_value is None for node in self.nodes)


def plan_graph(graph: Graph) -> AppPlan:
    """Turn a graph into data.

    Raises:
        UsageError: a constructor argument can't be sent to another process.
    """
    root = graph.nodes[graph.root]
    document = openapi(graph)
    return AppPlan(
        name=graph.name,
        route=graph.route,
        root=graph.root,
        nodes=tuple(_plan_node(node) for node in graph.nodes.values()),
        openapi=msgspec.json.encode(document),
        paths=endpoint_paths(graph.route, root.definition),
        examples={name: sample_body(root.definition, endpoint) for name, endpoint in root.definition.endpoints.items()},
        notices=tuple(not_acted_on(graph, NOT_YET)),
    )


def _plan_node(node: GraphNode) -> NodePlan:
    cls = node.definition.cls
    try:
        arguments = codec.encode(dict(node.arguments), in_line=True)
    except InvalidOutput as error:
        raise UsageError(
            f"an argument of {node.name} can't be given to another process: {error.message}",
            where=node.place,
            found=error.found,
            instead=error.instead,
        ) from error
    return NodePlan(
        name=node.name,
        service=node.definition.name,
        cls=names.class_name(cls),
        cls_by_value=None if names.is_importable(cls) else byvalue.dumps(cls),
        arguments=(bytes(arguments.head), *(bytes(part) for part in arguments.buffers)),
        dependencies=tuple(dict.fromkeys(d.name for found in node.dependencies.values() for d in found)),
        config=node.config.model_dump_json(exclude_unset=True).encode(),
        endpoints=endpoint_plans(node.definition, node.config),
        digest=node.digest,
        identity=node.identity,
        place=node.place,
        folder=str(node.definition.folder),
        preloads=hasattr(cls, "preload"),
    )


def plan_handle(node: NodePlan, address: str) -> HandleSpec:
    """Return what handles of a node are made from."""
    return HandleSpec(address=address, service=node.service, endpoints=node.endpoints)


def recipe_of_this_process() -> Recipe:
    """Return how another process gets to the code of this one."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return Recipe(
        sys_path=absolute_path(),
        folder=str(Path.cwd()),
        script=names.main_script(),
        module=None if spec is None else spec.name,
    )


def absolute_path() -> tuple[str, ...]:
    """Return the import path with every entry absolute, so that it means the same in another folder."""
    return tuple(str(Path(entry).resolve()) if entry else str(Path.cwd()) for entry in sys.path)


def users_path(path: Iterable[str]) -> tuple[str, ...]:
    """Return the entries of an import path that belong neither to this process's Python nor to packages installed for it."""
    paths = sysconfig.get_paths()
    library = Path(paths["stdlib"])
    own = {str(library), str(library.parent / f"python{sys.version_info.major}{sys.version_info.minor}.zip"), paths["platstdlib"]}
    return tuple(entry for entry in path if entry not in own and Path(entry).name not in ("lib-dynload", "site-packages", "dist-packages"))


def environment_for_children(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a process that is forked from: one thread for numeric libraries, and not the key to the gateway.

    A child of a process that ran a parallel region hangs in its first own one; each replica sets its number afterwards.
    """
    inherited = {name: value for name, value in os.environ.items() if name != API_KEY}
    extra = {name: value for name, value in (extra or {}).items() if name != API_KEY}
    return {**inherited, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **extra}
