"""What an engine is, and what it tells about what it runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from motet.graph import Graph, GraphNode, dependencies_in
from motet.options import Autoscale, Config, Environment, Image, Resources
from motet.runtime.caller import Caller
from motet.runtime.plans import HandleSpec
from motet.secret_sources import ENVIRONMENT, Sources


class Placement(msgspec.Struct, frozen=True):
    """What one replica was given of the machine; None where its service declares nothing and shares what there is.

    Attributes:
        cpus: cores' worth of time.
        cores: numbers of those that it is kept on.
        gpus: whole ones, or a fraction of one.
        cards: ids of its GPUs; logical ones, where there is no card, have a name that begins with `logical`.
        memory: limit in bytes.
        custom: amounts by name.
    """

    cpus: float | None = None
    cores: tuple[int, ...] = ()
    gpus: float | None = None
    cards: tuple[str, ...] = ()
    memory: int | None = None
    custom: dict[str, float] = {}

    @property
    def real_cards(self) -> tuple[str, ...]:
        """The ids of those of its GPUs that there are."""
        return tuple(card for card in self.cards if not card.startswith(LOGICAL))


LOGICAL = "logical"


class ResourceStatus(msgspec.Struct, frozen=True):
    """One resource of the machine: how much there is and how much of it is reserved, and the ids of GPUs. Memory is in bytes."""

    name: str
    total: float
    reserved: float
    ids: tuple[str, ...] = ()


class ReplicaStatus(msgspec.Struct, frozen=True):
    """One replica: its identity, state (as in the lifecycle table), process id, and calls that run or wait.

    `placement` is what it was given of the machine, `memory` the bytes that it used a moment ago, if it has a limit.
    """

    identity: str
    state: str
    pid: int
    busy: int = 0
    restarts: int = 0
    placement: Placement = Placement()
    memory: int | None = None


class NodeStatus(msgspec.Struct, frozen=True):
    """One node: its name, class, state, replicas, what went wrong if it failed, how a replica of it ended last, and where it runs.

    `environment` is None for the server's own.
    """

    name: str
    service: str
    state: str
    replicas: tuple[ReplicaStatus, ...]
    problem: str | None = None
    last_death: str | None = None
    environment: str | None = None


class AppStatus(msgspec.Struct, frozen=True):
    """One app: its name, route, root and nodes."""

    name: str
    route: str
    root: str
    state: str
    nodes: tuple[NodeStatus, ...]


class ServerStatus(msgspec.Struct, frozen=True):
    """Everything that an engine runs."""

    engine: str
    pid: int
    url: str | None
    apps: tuple[AppStatus, ...]
    started: float = 0.0  # seconds since the epoch
    gateways: tuple[int, ...] = ()  # process ids
    resources: tuple[ResourceStatus, ...] = ()


class Engine(Protocol):
    """Runs apps. `start` before anything else, `stop` at the end; both in the loop that the engine lives in."""

    name: str

    @property
    def caller(self) -> Caller:
        """What makes calls to the apps."""
        ...

    async def start(self) -> None:
        """Get ready to run apps."""
        ...

    async def deploy(self, graph: Graph, sources: Sources = ENVIRONMENT) -> HandleSpec:
        """Run an app and return what a handle of its root is made from.

        Args:
            graph: of the app.
            sources: where its secrets and variables come from.

        Raises:
            StartError: it can't be started; the message has the cause. Nothing of it is left running.
        """
        ...

    async def delete(self, app: str) -> None:
        """Stop an app; services that others share run on."""
        ...

    async def status(self) -> ServerStatus:
        """Return what runs."""
        ...

    async def stop(self) -> None:
        """Stop everything; running calls finish within their drain time."""
        ...


def run_preload(cls: type, arguments: Mapping[str, object]) -> None:
    """Run a class's hook `preload`, if it has one, with the constructor arguments that it asks for by name.

    Dependencies aren't among them: no handle exists yet.
    """
    if (preload := getattr(cls, "preload", None)) is not None:
        wanted = inspect.signature(preload).parameters
        preload(**{name: value for name, value in arguments.items() if name in wanted and not dependencies_in(value)})


# What a node may declare, by the name that a notice uses for it.
_DECLARED: Mapping[str, Callable[[Config], bool]] = {
    "resources": lambda config: config.resources != Resources(),
    "replicas": lambda config: config.replicas != Config().replicas,
    "replicas=Autoscale(...)": lambda config: isinstance(config.replicas, Autoscale) and config.replicas.max > config.replicas.min,
    "environment": lambda config: config.environment != Environment(env=config.environment.env),
    "environment.env (it is in Context.environment, not in os.environ)": lambda config: bool(config.environment.env),
    "image": lambda config: config.image != Image(),
    "secrets as environment variables (context.secrets has them)": lambda config: bool(config.assets.secrets),
}


def declared(node: GraphNode, names: tuple[str, ...]) -> list[str]:
    """Return which of the options `names` a node sets to something else than the default."""
    return [name for name in names if _DECLARED[name](node.config)]


def not_acted_on(graph: Graph, names: tuple[str, ...]) -> list[str]:
    """Return one line for each node that declares options which the engine doesn't act on."""
    return [f"{node.name}: {', '.join(found)}" for node in graph.nodes.values() if (found := declared(node, names))]
