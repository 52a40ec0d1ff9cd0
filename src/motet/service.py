"""`Service`, and the decorators that make endpoints of its methods."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar, cast

from motet import check
from motet.binding import Edge, Node, bind_node
from motet.definitions import ENDPOINT_MARK, INHERIT, Batching, EndpointDefinition, ServiceDefinition, define_endpoint, read_service
from motet.errors import DefinitionError, Fault, UsageError
from motet.options import Assets, Autoscale, CallOptions, Config, Environment, Image, Resources, user_place
from motet.own import own_call

if TYPE_CHECKING:
    from typing import Self

    from motet.faces import BatchedOrFactory, EndpointOrFactory, IngressOrFactory

P = ParamSpec("P")
S = TypeVar("S")
N = TypeVar("N", bound="Service")
_UNSET: Any = object()
_NO_METHODS: tuple[type, ...] = (staticmethod, classmethod, property)


def _endpoint(
    f: Callable[..., Any] | None = None,
    /,
    *,
    timeout: float | None = INHERIT,
    idempotent: bool = INHERIT,
    methods: Iterable[str] | None = None,
    form: bool = False,
    **unknown: object,
) -> Any:
    """Make an endpoint of a method of a service.

    A function (sync or async) becomes something that returns a `Call` at once, a generator (sync or async) a `Stream`.

    Args:
        f: the method, when used without parentheses.
        timeout: seconds that a call may take, streams included; None for no limit. Without it the service's `Config` counts.
        idempotent: whether a call may be repeated on another replica when one dies. Without it the `Config` counts.
        methods: of HTTP that it answers to, instead of POST only; with GET and DELETE its arguments come from the query.
        form: whether its arguments may come as the fields of an HTML form too; a parameter `motet.UploadFile` implies it.
        **unknown: there are no other options; each is a fault of the class.
    """
    if f is None:
        return functools.partial(_endpoint, timeout=timeout, idempotent=idempotent, methods=methods, form=form, **unknown)
    _require_method(f, "endpoint")
    definition = define_endpoint(f, batching=None, timeout=timeout, idempotent=idempotent, methods=methods, form=form, unknown=unknown)
    return _mark(f, definition)


def _ingress(f: Callable[..., Any] | None = None, /, *, timeout: float | None = INHERIT, **unknown: object) -> Any:
    """Make the ASGI app that a method returns answer everything under the service's route that no endpoint has.

    The method is called once in each replica, after `start`; `self` has its handles by then. The app's lifespan is run.

    Args:
        f: the method `(self) -> ASGI app`, when used without parentheses.
        timeout: seconds that one request or WebSocket may take; no limit without it.
        **unknown: as for `endpoint`.
    """
    if f is None:
        return functools.partial(_ingress, timeout=timeout, **unknown)
    _require_method(f, "ingress")
    setattr(f, ENDPOINT_MARK, define_endpoint(f, batching=None, timeout=timeout, idempotent=False, unknown=unknown, ingress=True))
    return f


def _batched(
    f: Callable[..., Any] | None = None,
    /,
    *,
    max_size: int = 32,
    max_wait: float = 0.005,
    timeout: float | None = INHERIT,
    idempotent: bool = INHERIT,
    **unknown: object,
) -> Any:
    """Make an endpoint over single items of a method that works on a list of them.

    Args:
        f: the method `(self, items: list[X]) -> list[R]` (or `list[R | Failed]`), when used without parentheses.
        max_size: items in one batch at most.
        max_wait: seconds that an item waits at most for others to join while the replica is idle.
        timeout: as for `endpoint`.
        idempotent: as for `endpoint`.
        **unknown: as for `endpoint`.
    """
    if f is None:
        return functools.partial(_batched, max_size=max_size, max_wait=max_wait, timeout=timeout, idempotent=idempotent, **unknown)
    _require_method(f, "batched")
    batching = Batching(max_size=max_size, max_wait=max_wait)
    return _mark(f, define_endpoint(f, batching=batching, timeout=timeout, idempotent=idempotent, unknown=unknown))


def _require_method(f: object, decorator: str) -> None:
    """Refuse what is no plain method: a static or class method, a property, an option without its name."""
    if isinstance(f, _NO_METHODS) or not (callable(f) and hasattr(f, "__name__")):
        fault = Fault(
            place=user_place(),
            subject=f"@motet.{decorator}",
            message="only a plain method can be an endpoint",
            found=type(f).__name__ if isinstance(f, _NO_METHODS) else repr(f),
            instead=f"@motet.{decorator} directly above `def f(self, ...)`, and options by name",
        )
        raise DefinitionError([fault])


def _mark(f: Callable[..., Any], definition: EndpointDefinition) -> Callable[..., Any]:
    @functools.wraps(f)
    def own(self: object, *args: object, **kwargs: object) -> object:
        return own_call(self, definition, args, kwargs)

    setattr(own, ENDPOINT_MARK, definition)
    return own


endpoint = cast("EndpointOrFactory", _endpoint)
batched = cast("BatchedOrFactory", _batched)
ingress = cast("IngressOrFactory", _ingress)


class Service:
    """Base class of services: a class that holds state, usually a model, and offers endpoints.

    Define `__init__` with annotated parameters, decorate methods with `@motet.endpoint` or `@motet.batched`, and
    `bind` the class into a graph. Optional hooks: `async start()`, `async stop()`, `health()` (sync or async; raises when
    the replica is sick), `reconfigure(config)` and `@classmethod preload(cls, ...)`.
    """

    config: ClassVar[Config] = Config()
    __motet_definition__: ClassVar[ServiceDefinition]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the class as far as its annotations can be resolved now; the rest follows when it is bound."""
        super().__init_subclass__(**kwargs)
        check.report(check.service_faults(definition_of(cls), final=False))

    @classmethod
    def bind(cls: Callable[P, S], *args: P.args, **kwargs: P.kwargs) -> S:
        """Bind the class to constructor arguments; nothing is constructed yet.

        Arguments may be bound nodes, also inside lists, tuples and dicts: the constructor gets handles for them.

        Returns:
            A node, typed as the class: a part of a graph.

        Raises:
            DefinitionError: the class is defined wrongly or the arguments don't fit the constructor; lists all faults.
        """
        return cast("S", bind_node(definition_of(cls), args, kwargs, place=user_place()))

    def options(  # the fields of Config, spelled out so that editors complete them
        self,
        *,
        name: str = _UNSET,
        resources: Resources = _UNSET,
        replicas: int | Autoscale = _UNSET,
        concurrency: int | None = _UNSET,
        queue: int = _UNSET,
        environment: Environment = _UNSET,
        image: Image = _UNSET,
        assets: Assets = _UNSET,
        timeout: float | None = _UNSET,
        retries: int = _UNSET,
        idempotent: bool = _UNSET,
        drain: float = _UNSET,
    ) -> Self:
        """Return a copy with other options: of a node, any field of `Config` and `name`; of a handle, `timeout` and `retries`."""
        raise UsageError(
            f"{type(self).__name__}.options() is for nodes and handles, not for instances",
            where=user_place(),
            instead=f"{type(self).__name__}.bind(...).options(...)",
        )


def definition_of(cls: object) -> ServiceDefinition:
    """Return the definition of a service class.

    Raises:
        UsageError: it is no service class.
    """
    if not (isinstance(cls, type) and issubclass(cls, Service)):
        raise UsageError(f"{cls!r} is no service", instead="a subclass of motet.Service")
    if "__motet_definition__" not in vars(cls):  # a base's is another one
        cls.__motet_definition__ = read_service(cls, check.class_place(cls))
    return cls.__motet_definition__


def depends(node: N, /, *, timeout: float | None = None, retries: int | None = None) -> N:
    """Make an edge of the graph with options of its own: as the default of a constructor parameter, or inside `bind`.

    Args:
        node: a bound node.
        timeout: seconds that each call over this edge may take.
        retries: how often an idempotent call is tried again when its replica dies.
    """
    bound: object = node  # statically it has the type of its class
    if not isinstance(bound, Node):
        raise UsageError(f"depends() got {type(node).__name__}", where=user_place(), instead="depends(Embedder.bind(...))")
    return cast("N", Edge(node=bound, options=CallOptions(timeout=timeout, retries=retries)))
