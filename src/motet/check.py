"""What is wrong with a service class: all faults at once, each with its place, what was found and what to write instead."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
import typing
from collections import abc
from collections.abc import Callable, Generator
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic.errors import PydanticUserError

from motet import schema
from motet.absent import Absence, absent_from, are_used
from motet.context import Context, injected
from motet.definitions import INHERIT, METHODS, EndpointDefinition, ServiceDefinition, bindable_parameters
from motet.errors import DefinitionError, Fault
from motet.hooks import HOOKS, hook_faults
from motet.options import Config, unknown_option, user_place
from motet.web import Role, mentions

RESERVED = (*HOOKS, "bind", "options", "config")
_ASYNC_ITERATORS: tuple[object, ...] = (abc.AsyncIterator, abc.AsyncIterable, abc.AsyncGenerator)

_collector: contextvars.ContextVar[list[Fault] | None] = contextvars.ContextVar("motet_faults", default=None)


@contextlib.contextmanager
def collecting() -> Generator[None]:
    """Collect faults instead of raising at the first faulty class, so that a whole file is reported at once.

    Raises:
        DefinitionError: with all faults, at the end. They come before any other error, which may only follow from them.
    """
    faults: list[Fault] = []
    token = _collector.set(faults)
    try:
        yield
    except DefinitionError as error:
        report(list(error.faults))
        raise DefinitionError(faults) from None
    except Exception as error:
        if faults:
            raise DefinitionError(faults) from error
        raise
    finally:
        _collector.reset(token)
    if faults:
        raise DefinitionError(faults)


@contextlib.contextmanager
def apart(faults: list[Fault]) -> Generator[None]:
    """Collect faults in a list of their own, which whoever calls this reports or drops."""
    token = _collector.set(faults)
    try:
        yield
    finally:
        _collector.reset(token)


def report(faults: list[Fault]) -> None:
    """Raise the faults together, or hand them to whoever is `collecting`."""
    if not faults:
        return
    collected = _collector.get()
    if collected is None:
        raise DefinitionError(faults)
    collected.extend(fault for fault in faults if fault not in collected)


def class_place(cls: type) -> str:
    """Return `file:line` of the class statement that is being executed."""
    place = user_place()
    file = getattr(inspect.getmodule(cls), "__file__", None)
    return place if file is None or place.startswith(file) else f"{file}:{getattr(cls, '__firstlineno__', 0)}"


def service_faults(definition: ServiceDefinition, *, final: bool) -> list[Fault]:
    """Return everything wrong with a service class.

    Args:
        definition: the class as read.
        final: whether annotations must resolve now (when the class is bound) or may still wait (when it is defined).
    """
    faults = _config_faults(definition) + hook_faults(definition) + _constructor_faults(definition)
    for endpoint in definition.endpoints.values():
        faults += endpoint_faults(definition, endpoint, final=final)
    if final and not definition.endpoints:
        faults.append(
            Fault(
                place=definition.place,
                subject=definition.name,
                message="the service has no endpoint",
                instead="decorate a method with @motet.endpoint",
            )
        )
    return faults


def _config_faults(definition: ServiceDefinition) -> list[Fault]:
    config = getattr(definition.cls, "config", None)
    if isinstance(config, Config):
        return []
    return [
        Fault(
            place=definition.place,
            subject=definition.name,
            message="`config` is no motet.Config",
            found=schema.shown(config),
            instead="config = motet.Config(...)",
        )
    ]


def _constructor_faults(definition: ServiceDefinition) -> list[Fault]:
    faults: list[Fault] = []
    place = definition.place
    hints = constructor_hints(definition) if are_used() else {}
    for name, parameter in definition.parameters.items():
        subject = f"{definition.name}.__init__"
        if parameter.annotation is parameter.empty:
            faults.append(
                Fault(
                    place=place,
                    subject=subject,
                    message=f"parameter `{name}` has no annotation",
                    found=str(parameter),
                    instead=f"{name}: <type>",
                )
            )
        elif (absence := absent_from(hints.get(name, parameter.annotation))) is not None:
            maker = functools.partial(Fault, place=place, subject=subject)
            faults.append(_absence_fault(f"parameter `{name}`", parameter.annotation, absence, maker))
        elif parameter.default is injected and parameter.annotation not in (Context, "Context", "motet.Context"):
            faults.append(
                Fault(
                    place=place,
                    subject=subject,
                    message=f"parameter `{name}` is injected but no Context",
                    found=str(parameter),
                    instead=f"{name}: motet.Context = motet.injected",
                )
            )
    return faults


def endpoint_faults(definition: ServiceDefinition, endpoint: EndpointDefinition, *, final: bool) -> list[Fault]:
    """Return everything wrong with one endpoint."""
    subject = f"{definition.name}.{endpoint.name}"

    def fault(message: str, found: str | None = None, instead: str | None = None) -> Fault:
        return Fault(place=endpoint.place, subject=subject, message=message, found=found, instead=instead)

    faults: list[Fault] = []
    if endpoint.name in RESERVED or (endpoint.name.startswith("_") and endpoint.name != "__call__"):
        faults.append(fault(f"`{endpoint.name}` can't be the name of an endpoint", instead="another name; hooks aren't endpoints"))
    faults += _option_faults(endpoint, fault)
    if not _takes_self(endpoint):
        return [*faults, fault("the method has no `self`", found=f"def {endpoint.name}(...)", instead=f"def {endpoint.name}(self, ...)")]
    unannotated = _annotation_faults(endpoint, fault)
    if unannotated:
        return faults + unannotated
    try:
        hints = schema.hints_of(endpoint.function, definition.cls)
    except schema.UnresolvedAnnotation as error:
        if final:
            faults.append(fault(f"an annotation can't be resolved: {error}", instead="a name that is defined or imported in the module"))
        return faults
    if endpoint.ingress:
        return faults + _ingress_faults(definition, endpoint, fault)
    shape = _return_faults(endpoint, hints, fault) + (_batch_faults(endpoint, hints, fault) if endpoint.batching else [])
    shape += _web_faults(endpoint, hints, fault)
    return faults + shape + ([] if shape else _type_faults(endpoint, hints, fault))


_FaultMaker = Callable[..., Fault]
_ALONE: dict[Role, str] = {"request": "Request", "websocket": "WebSocket", "response": "Response"}  # never inside another type


def _takes_self(endpoint: EndpointDefinition) -> bool:
    first = next(iter(inspect.signature(endpoint.function).parameters.values()), None)
    return first is not None and first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD, first.VAR_POSITIONAL)


def _is_number(value: object, kind: type = float) -> bool:
    return isinstance(value, int | kind)


def _option_faults(endpoint: EndpointDefinition, fault: _FaultMaker) -> list[Fault]:
    faults: list[Fault] = []
    timeout, idempotent = endpoint.timeout, endpoint.idempotent
    if timeout is not INHERIT and timeout is not None and not (_is_number(timeout) and timeout > 0):
        faults.append(fault("`timeout` must be over 0 seconds", found=repr(timeout), instead="timeout=60, or None for no limit"))
    if idempotent not in (INHERIT, True, False):
        faults.append(fault("`idempotent` must be True or False", found=repr(idempotent), instead="idempotent=True"))
    known = ["timeout", "idempotent"]
    if endpoint.ingress:
        known = ["timeout"]
    elif endpoint.batching is None:
        known += ["methods", "form"]
        wrong = endpoint.methods is not None and (not endpoint.methods or any(method not in METHODS for method in endpoint.methods))
        if wrong:
            faults.append(
                fault(
                    "`methods` must name methods of HTTP", found=repr(endpoint.methods), instead=f"some of {', '.join(METHODS)}, in a tuple"
                )
            )
    else:
        known += ["max_size", "max_wait"]
        size, wait = endpoint.batching.max_size, endpoint.batching.max_wait
        if not (_is_number(size, int) and size >= 1):
            faults.append(fault("`max_size` must be 1 or more", found=repr(size), instead="max_size=32"))
        if not (_is_number(wait) and wait >= 0):
            faults.append(fault("`max_wait` must be 0 seconds or more", found=repr(wait), instead="max_wait=0.005"))
    decorator = "@motet.ingress" if endpoint.ingress else "@motet.endpoint" if endpoint.batching is None else "@motet.batched"
    for name, value in endpoint.unknown:
        message, instead = unknown_option(name, decorator, known)
        faults.append(fault(message, found=repr(value), instead=instead))
    return faults


def _annotation_faults(endpoint: EndpointDefinition, fault: _FaultMaker) -> list[Fault]:
    faults: list[Fault] = []
    for name, parameter in endpoint.signature.parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            faults.append(
                fault(
                    f"parameter `{parameter}` takes any number of arguments",
                    found=str(parameter),
                    instead="one annotated parameter for each argument, or a list or model",
                )
            )
        elif parameter.kind is parameter.POSITIONAL_ONLY and endpoint.batching is None:
            faults.append(
                fault(
                    f"parameter `{name}` can't be given by name, as HTTP does",
                    found=f"def {endpoint.name}{endpoint.signature}",
                    instead="the same without `/`",
                )
            )
        elif parameter.annotation is parameter.empty:
            faults.append(fault(f"parameter `{name}` has no annotation", found=str(parameter), instead=f"{name}: <type>"))
    if endpoint.signature.return_annotation is inspect.Signature.empty:
        faults.append(
            fault("the return value has no annotation", found=f"def {endpoint.name}{endpoint.signature}", instead="-> <type>, or -> None")
        )
    return faults


def _return_faults(endpoint: EndpointDefinition, hints: dict[str, Any], fault: _FaultMaker) -> list[Fault]:
    returns = hints.get("return")
    origin: object = get_origin(returns) or returns
    iterates = origin in schema.ITERATORS
    found = f"-> {type_name(returns)}"
    if endpoint.kind == "unary":
        if iterates and origin is not abc.Iterable:
            return [
                fault(
                    "the annotation promises a stream, but the body has no `yield`",
                    found=found,
                    instead="`yield` the items, or return a list",
                )
            ]
        return []
    wanted = "AsyncIterator" if endpoint.is_async else "Iterator"
    if endpoint.batching is not None:
        return [fault("a batched endpoint can't be a generator", found=found, instead="return a list with one result for each item")]
    if not iterates or (origin in _ASYNC_ITERATORS) is not endpoint.is_async:
        item = type_name(returns) if not iterates else type_name((get_args(returns) or (Any,))[0])
        return [fault("the body yields, but the annotation is no matching iterator", found=found, instead=f"-> {wanted}[{item}]")]
    if not get_args(returns):
        return [fault("the annotation doesn't say what the stream yields", found=found, instead=f"-> {wanted}[<type>]")]
    return []


def _ingress_faults(definition: ServiceDefinition, endpoint: EndpointDefinition, fault: _FaultMaker) -> list[Fault]:
    faults: list[Fault] = []
    found = f"def {endpoint.name}{endpoint.signature}"
    if endpoint.is_async or endpoint.kind == "stream" or endpoint.signature.parameters:
        faults.append(fault("an ingress takes nothing and returns an ASGI app", found=found, instead="def app(self) -> FastAPI"))
    others = [other.name for other in definition.endpoints.values() if other.ingress or other.name == "__call__"]
    if len(others) > 1:
        faults.append(fault("the ingress shares its path with another", found=", ".join(others), instead="one of them"))
    return faults


def _web_faults(endpoint: EndpointDefinition, hints: dict[str, Any], fault: _FaultMaker) -> list[Fault]:
    """Return what is wrong with how an endpoint takes the request, the WebSocket or files."""
    faults: list[Fault] = []
    annotations = {name: hints.get(name, Any) for name in endpoint.signature.parameters}
    given = schema.given_parameters(annotations)
    web = given or any(mentions(hint, "upload") or mentions(hint, "response") for hint in hints.values())
    for name, annotation in annotations.items():
        for role, cls in _ALONE.items():
            if mentions(annotation, role) and (name not in given):
                instead = f"return a motet.{cls}" if role == "response" else f"{name}: motet.{cls}"
                faults.append(fault(f"parameter `{name}` can't be that", found=type_name(annotation), instead=instead))
    if endpoint.batching is not None:
        return [fault("a batched endpoint takes and gives values only", instead="@motet.endpoint")] if web else []
    if "websocket" in given.values():
        wanted = f"async def {endpoint.name}(self, {next(iter(given))}: motet.WebSocket) -> None"
        if len(given) > 1 or not endpoint.is_async or endpoint.kind == "stream" or hints.get("return") is not type(None):
            faults.append(fault("an endpoint over a WebSocket is async, takes one of it, and returns None", instead=wanted))
        if endpoint.methods is not None or endpoint.form:
            faults.append(fault("a WebSocket has neither methods nor forms", instead="@motet.endpoint"))
    return faults


def _batch_faults(endpoint: EndpointDefinition, hints: dict[str, Any], fault: _FaultMaker) -> list[Fault]:
    faults: list[Fault] = []
    names = list(endpoint.signature.parameters)
    if len(names) != 1:
        return [
            fault(
                f"a batched endpoint takes exactly one list, this takes {len(names)} parameters",
                found=f"def {endpoint.name}{endpoint.signature}",
                instead=f"def {endpoint.name}(self, items: list[X]) -> list[R]",
            )
        ]
    for label, annotation, example in (
        (f"parameter `{names[0]}`", hints[names[0]], f"{names[0]}: list[X]"),
        ("the return value", hints["return"], "-> list[R]"),
    ):
        if get_origin(annotation) is not list:
            faults.append(fault(f"{label} of a batched endpoint must be a list", found=type_name(annotation), instead=example))
    return faults


def _absence_fault(label: str, annotation: Any, absence: Absence, fault: _FaultMaker) -> Fault:
    return fault(
        message=f"{label} has a type of `{absence.module}`, which can't be imported where the service is described: {absence.error}",
        found=type_name(annotation),
        instead=f"install `{absence.module.partition('.')[0]}` where the server runs, or take and give plain data, a model or an array",
    )


def _type_faults(endpoint: EndpointDefinition, hints: dict[str, Any], fault: _FaultMaker) -> list[Fault]:
    faults: list[Fault] = []
    taken = schema.parameter_annotations(endpoint, hints)
    given = schema.given_parameters(taken)
    checked = {f"parameter `{name}`": annotation for name, annotation in taken.items() if name not in given}
    defaults = {f"parameter `{name}`": p.default for name, p in endpoint.signature.parameters.items() if p.default is not p.empty}
    checked["the return value"] = schema.without_response(schema.item_annotation(endpoint, hints["return"]))[0]
    for label, annotation in checked.items():
        if (absence := absent_from(annotation)) is not None:
            faults.append(_absence_fault(label, annotation, absence, fault))
        elif (reason := unserializable(annotation)) is not None:
            faults.append(
                fault(
                    f"{label} can't be sent to another process: {reason}",
                    found=type_name(annotation),
                    instead="a type that pydantic validates (str, list, BaseModel, dataclass, ...), bytes, array, tensor or image",
                )
            )
        elif label in defaults:
            faults += _default_faults(label, annotation, defaults[label], fault)
    return faults


def _default_faults(label: str, annotation: Any, default: object, fault: _FaultMaker) -> list[Fault]:
    try:
        schema.adapter(annotation).validate_python(default)
    except ValidationError as error:
        told = error.errors()[0]["msg"]
        instead = f"{type_name(annotation)} | None" if default is None else "a default of that type"
        return [fault(f"the default of {label} is no {type_name(annotation)}: {told}", found=schema.shown(default), instead=instead)]
    except Exception as error:  # noqa: BLE001  # whatever a user's own validator raises
        return [fault(f"the default of {label} can't be validated: {type(error).__name__}: {error}", found=schema.shown(default))]
    return []


def unserializable(annotation: Any) -> str | None:
    """Return why values of the type can't be sent, or None if they can."""
    origin = get_origin(annotation) or annotation
    if origin is Callable or origin in schema.ITERATORS:
        return "functions and iterators stay in their process"
    if isinstance(origin, type) and "__motet_definition__" in vars(origin):
        return "a service is no value; take it in the constructor"
    try:
        schema.adapter(annotation)
    except PydanticUserError as error:
        # pydantic's advice after the first sentence is about models of one's own, where the type isn't.
        return str(error).split("\n", maxsplit=1)[0].partition(". Set `arbitrary_types_allowed")[0].removesuffix(".")
    except Exception as error:  # noqa: BLE001  # whatever a user's own schema hook raises
        return f"{type(error).__name__}: {error}"
    return None


def type_name(annotation: Any) -> str:
    """Return an annotation as its author would write it."""
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")


def constructor_hints(definition: ServiceDefinition) -> dict[str, Any]:
    """Return the resolved annotations of the constructor's parameters; those that can't be resolved are left out."""
    if not bindable_parameters(definition):
        return {}
    try:
        return schema.hints_of(definition.cls.__init__, definition.cls)  # type: ignore[misc]  # exactly this class
    except schema.UnresolvedAnnotation:
        return {n: p.annotation for n, p in definition.parameters.items() if not isinstance(p.annotation, str)}


def is_protocol(annotation: Any) -> bool:
    """Whether the annotation is a Protocol class."""
    return isinstance(annotation, type) and typing.Protocol in annotation.__mro__ and getattr(annotation, "_is_protocol", False)
