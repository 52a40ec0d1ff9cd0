"""Nodes: service classes bound to constructor arguments and options, not yet running."""

from __future__ import annotations

import functools
import inspect
import types
from collections import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Union, cast, get_args, get_origin

from pydantic import ValidationError

from motet import check, schema
from motet.definitions import ServiceDefinition, bindable_parameters
from motet.errors import DefinitionError, Fault, UsageError
from motet.options import CallOptions, Config, user_place

_SPREAD = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_CONTAINERS: tuple[object, ...] = (list, tuple, dict, abc.Sequence, abc.Mapping, abc.Collection, abc.Iterable)
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A service bound to its constructor arguments and options. Statically it has the type of the service's class."""

    definition: ServiceDefinition
    arguments: Mapping[str, object]
    config: Config
    name: str | None
    place: str

    def options(self, **changes: Any) -> Node:
        """Return a copy with other options; `name=` names the node.

        Raises:
            DefinitionError: an option is unknown or its value is wrong.
        """
        place = user_place()
        name = changes.pop("name", self.name)
        faults: list[Fault] = []
        if name is not None and not (isinstance(name, str) and name and set(name) <= _NAME_CHARACTERS):
            faults.append(
                Fault(
                    place=place,
                    subject=self.definition.name,
                    message="a node can't have this name",
                    found=repr(name),
                    instead="letters, digits, '-' and '_'",
                )
            )
        if "retries" in changes:
            faults.append(
                Fault(
                    place=place,
                    subject=self.definition.name,
                    message="`retries` belongs to a call or an edge",
                    found=repr(changes.pop("retries")),
                    instead="motet.depends(node, retries=...)",
                )
            )
        config = self.config
        try:
            config = config.override(changes, place=place)
        except DefinitionError as error:
            faults += error.faults
        if faults:
            raise DefinitionError(faults)
        return replace(self, config=config, name=name)

    def __getattr__(self, name: str) -> Any:
        """Explain that endpoints can be called only once the app runs."""
        if not name.startswith("__") and name in self.definition.endpoints:
            raise UsageError(
                f"{self.definition.name}.{name} was called on a node that is bound but not running",
                where=user_place(),
                instead="with motet.run(app) as service: service." + name + "(...)",
            )
        raise AttributeError(f"{self.definition.name} has no endpoint {name!r}")

    def __repr__(self) -> str:
        """Return the class and, if given, the name."""
        return f"<Node {self.definition.name}{f' named {self.name}' if self.name else ''}>"


@dataclass(frozen=True, slots=True)
class Edge:
    """A dependency with options of its own, made by `depends`."""

    node: Node
    options: CallOptions


def map_nodes(value: object, change: Callable[[Node, CallOptions], object]) -> object:
    """Return `value` with each node in it, also in lists, tuples and dicts, replaced by what `change` returns."""

    def changed(item: object) -> object:
        if isinstance(item, Node):
            return change(item, CallOptions())
        if isinstance(item, Edge):
            return change(item.node, item.options)
        return item

    return map_items(value, changed)


def map_items(value: object, change: Callable[[object], object]) -> object:
    """Return `value`, or if it is a list, tuple or dict its items at any depth, replaced by what `change` returns."""
    if type(value) is list:
        return [map_items(item, change) for item in cast("list[object]", value)]
    if type(value) is tuple:
        return tuple(map_items(item, change) for item in cast("tuple[object, ...]", value))
    if type(value) is dict:
        return {key: map_items(item, change) for key, item in cast("dict[object, object]", value).items()}
    return change(value)


def has_nodes(value: object) -> bool:
    """Whether a node is somewhere in `value`."""
    found = False

    def note(node: Node, _: CallOptions) -> object:
        nonlocal found
        found = True
        return node

    map_nodes(value, note)
    return found


def bind_node(definition: ServiceDefinition, args: Sequence[object], kwargs: Mapping[str, object], *, place: str) -> Node:
    """Bind a class to arguments, after checking both.

    Raises:
        DefinitionError: with all faults of the class and of the arguments.
    """
    faults = check.service_faults(definition, final=True)
    parameters = bindable_parameters(definition)
    bound, problems = _fit(inspect.Signature(list(parameters.values())), args, kwargs)
    if problems:
        faults.append(
            Fault(
                place=place,
                subject=f"{definition.name}.bind",
                message=f"the arguments don't fit the constructor: {', '.join(problems)}",
                found=_call_text(args, kwargs),
                instead=f"{definition.name}.bind{_signature_text(parameters)}",
            )
        )
    given = set(bound.arguments)
    bound.apply_defaults()
    maker = functools.partial(Fault, place=place, subject=f"{definition.name}.bind")
    default_maker = functools.partial(Fault, place=definition.place, subject=f"{definition.name}.__init__")
    for name, value in bound.arguments.items():
        if parameters[name].kind not in _SPREAD:
            faults += _argument_faults(definition, name, value, maker if name in given else default_maker)
    check.report(faults)
    return Node(definition=definition, arguments=dict(bound.arguments), config=definition.config, name=None, place=place)


def _fit(signature: inspect.Signature, args: Sequence[object], kwargs: Mapping[str, object]) -> tuple[inspect.BoundArguments, list[str]]:
    """Bind what fits, and return it with everything that doesn't; Python tells of the first problem only."""
    parameters = signature.parameters.values()
    spreads = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    known = {name: value for name, value in kwargs.items() if spreads or name in named}
    problems = [f"got an unexpected keyword argument {name!r}" for name in kwargs if name not in known]
    try:
        bound = signature.bind_partial(*args, **known)
    except TypeError as error:
        return signature.bind_partial(), [str(error), *problems]
    required = [p.name for p in parameters if p.default is p.empty and p.kind not in _SPREAD]
    return bound, [f"missing a required argument: {name!r}" for name in required if name not in bound.arguments] + problems


def _argument_faults(definition: ServiceDefinition, name: str, value: object, fault: Callable[..., Fault]) -> list[Fault]:
    """Return what is wrong with a constructor argument, which may be a default."""
    annotation = check.constructor_hints(definition).get(name)
    if annotation is None:
        return []
    if has_nodes(value) or check.unserializable(annotation) is not None:
        # What pydantic doesn't know, within containers or not, is the constructor's own business, but for services.
        return _dependency_faults(annotation, value, name, fault)
    try:
        schema.adapter(annotation).validate_python(value)
    except ValidationError as error:
        return [
            fault(
                message=f"`{'.'.join([name, *map(str, p['loc'])])}`: {p['msg']}",
                found=schema.shown(p["input"]),
                instead=f"{name}: {check.type_name(annotation)}",
            )
            for p in error.errors()
        ]
    return []


def _dependency_faults(annotation: Any, value: object, name: str, fault: Callable[..., Fault]) -> list[Fault]:
    """Return what is wrong with nodes, or with what stands where there should be some, also in lists, tuples and dicts."""
    origin: Any = get_origin(annotation)
    if origin is Annotated:
        return _dependency_faults(get_args(annotation)[0], value, name, fault)
    if origin in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if value is None or member is not type(None)]
        return min((_dependency_faults(member, value, name, fault) for member in members), key=len)
    node = value.node if isinstance(value, Edge) else value
    if isinstance(node, Node):
        return _node_faults(annotation, origin, node, name, fault)
    if isinstance(annotation, type) and "__motet_definition__" in vars(annotation):
        instead = f"{annotation.__name__}.bind(...)"
        return [fault(message=f"`{name}` must be a bound {annotation.__name__}", found=schema.shown(value), instead=f"{name}={instead}")]
    return [
        each
        for item, wanted, label in _items(origin, get_args(annotation), value)
        for each in _dependency_faults(wanted, item, name + label, fault)
    ]


def _items(origin: Any, arguments: tuple[Any, ...], value: object) -> Iterator[tuple[object, Any, str]]:
    """Yield the items of a container, each with what the container's annotation says of it, and how it is written."""
    if origin not in _CONTAINERS or not isinstance(value, origin):
        return
    if isinstance(value, dict) and len(arguments) == 2:  # noqa: PLR2004  # key and value
        yield from ((item, arguments[1], f"[{key!r}]") for key, item in cast("dict[object, object]", value).items())
    elif isinstance(value, tuple) and origin is tuple and arguments[-1:] != (...,):
        items = cast("tuple[object, ...]", value)
        yield from ((item, wanted, f"[{index}]") for index, (item, wanted) in enumerate(zip(items, arguments, strict=False)))
    elif isinstance(value, list | tuple) and arguments:
        yield from ((item, arguments[0], f"[{index}]") for index, item in enumerate(cast("Sequence[object]", value)))


def _node_faults(annotation: Any, origin: Any, node: Node, name: str, fault: Callable[..., Fault]) -> list[Fault]:
    cls = node.definition.cls
    found = f"{cls.__name__}.bind(...)"
    if origin in _CONTAINERS:
        return [fault(message=f"`{name}` must be a {check.type_name(annotation)}", found=found, instead="the same inside of one")]
    if check.is_protocol(annotation):
        if missing := [m for m in dir(annotation) if not m.startswith("_") and m not in node.definition.endpoints]:
            return [
                fault(
                    message=f"`{name}` must offer {annotation.__name__}",
                    found=f"{cls.__name__} without " + ", ".join(missing),
                    instead="a service with these endpoints",
                )
            ]
    elif isinstance(annotation, type) and annotation not in (object, Any) and not issubclass(cls, annotation):
        return [fault(message=f"`{name}` must be a {annotation.__name__}", found=found, instead=f"{annotation.__name__}.bind(...)")]
    return []


def _signature_text(parameters: Mapping[str, inspect.Parameter]) -> str:
    return str(inspect.Signature(list(parameters.values())))


def _call_text(args: Sequence[object], kwargs: Mapping[str, object]) -> str:
    return "bind(" + ", ".join([schema.shown(a) for a in args] + [f"{k}={schema.shown(v)}" for k, v in kwargs.items()]) + ")"
