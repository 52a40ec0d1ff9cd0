"""Definitions: what a service class and its endpoints are, as data, read off the class once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from motet.context import injected
from motet.options import Config

Kind = Literal["unary", "stream"]
# How its requests come over HTTP: as a whole body, in pieces with all that a request has, as a WebSocket, or to an ASGI app.
Surface = Literal["call", "http", "websocket", "ingress"]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ENDPOINT_MARK = "__motet_endpoint__"


class _Inherit:
    """An endpoint option that was not given: the service's own counts. One in each process, so that a copy is it as well."""

    def __reduce__(self) -> str:
        return "INHERIT"


INHERIT: Any = _Inherit()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """How single calls are joined: at most `max_size` in one batch, waiting `max_wait` seconds for more at most."""

    max_size: int
    max_wait: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointDefinition:
    """One endpoint: the function that the user wrote and what is declared about it."""

    name: str
    function: Callable[..., Any]
    kind: Kind
    is_async: bool
    batching: Batching | None
    timeout: float | None
    idempotent: bool
    place: str  # file:line
    unknown: tuple[tuple[str, object], ...] = ()  # options that don't exist, as given
    methods: tuple[str, ...] | None = None  # of HTTP; None for what fits
    form: bool = False  # whether the arguments may come as the fields of a form
    ingress: bool = False  # whether it returns an ASGI app instead of answering requests

    @property
    def signature(self) -> inspect.Signature:
        """The signature without self, annotations unresolved."""
        full = inspect.signature(self.function)
        return full.replace(parameters=list(full.parameters.values())[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDefinition:
    """One service class: its endpoints, its constructor's parameters and its declared options."""

    cls: type
    name: str
    endpoints: Mapping[str, EndpointDefinition]
    config: Config
    place: str
    parameters: Mapping[str, inspect.Parameter] = field(default_factory=dict[str, inspect.Parameter])

    @property
    def folder(self) -> Path:
        """The folder of the file that defines the class, which relative paths of its options are relative to.

        The current one, if the class has no file.
        """
        file = Path(self.place.rpartition(":")[0])
        return file.absolute().parent if file.is_file() else Path.cwd()

    def timeout_of(self, endpoint: EndpointDefinition, config: Config) -> float | None:
        """Return the seconds that a call of `endpoint` may take under `config`."""
        if endpoint.timeout is INHERIT:
            return None if endpoint.ingress else config.timeout
        return endpoint.timeout

    def is_idempotent(self, endpoint: EndpointDefinition, config: Config) -> bool:
        """Return whether calls of `endpoint` may be repeated."""
        return config.idempotent if endpoint.idempotent is INHERIT else endpoint.idempotent


def define_endpoint(
    function: Callable[..., Any],
    *,
    batching: Batching | None,
    timeout: float | None,
    idempotent: bool,
    unknown: Mapping[str, object],
    methods: Iterable[str] | None = None,
    form: bool = False,
    ingress: bool = False,
) -> EndpointDefinition:
    """Read an endpoint off the function that a decorator got."""
    generates = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    return EndpointDefinition(
        name=function.__name__,
        function=function,
        kind="stream" if generates else "unary",
        is_async=inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function),
        batching=batching,
        timeout=timeout,
        idempotent=idempotent,
        place=place_of(function),
        unknown=tuple(unknown.items()),
        methods=None if methods is None else (methods,) if isinstance(methods, str) else tuple(methods),
        form=form,
        ingress=ingress,
    )


def place_of(function: Callable[..., Any]) -> str:
    """Return `file:line` of a function, as far as Python knows it."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else f"{function.__module__}:0"


def read_service(cls: type, place: str) -> ServiceDefinition:
    """Read a service class. Overridden endpoints count as their last version; a base's other endpoints are inherited."""
    endpoints: dict[str, EndpointDefinition] = {}
    for base in reversed(cls.__mro__):
        for name, member in vars(base).items():
            if name in endpoints and not hasattr(member, ENDPOINT_MARK):
                del endpoints[name]
            if hasattr(member, ENDPOINT_MARK):
                endpoints[name] = getattr(member, ENDPOINT_MARK)
    parameters: dict[str, inspect.Parameter] = {}
    if cls.__init__ is not object.__init__:  # type: ignore[misc]  # `cls` is exactly the class that is bound
        parameters = dict(list(inspect.signature(cls.__init__).parameters.items())[1:])  # type: ignore[misc]  # the same
    config = getattr(cls, "config", None)
    return ServiceDefinition(
        cls=cls,
        name=cls.__name__,
        endpoints=endpoints,
        parameters=parameters,
        place=place,
        config=config if isinstance(config, Config) else Config(),
    )


def bindable_parameters(definition: ServiceDefinition) -> dict[str, inspect.Parameter]:
    """Return the constructor's parameters that `bind` takes: all but injected ones."""
    return {name: p for name, p in definition.parameters.items() if p.default is not injected}
