"""Annotations as validators: what an endpoint accepts and returns, from Python values and from JSON."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import reprlib
import sys
import types
import typing
from collections import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin

import typing_extensions
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from motet.arrays import ArrayRule, rule_for
from motet.definitions import EndpointDefinition, Surface
from motet.errors import InvalidInput
from motet.media import ALL_LINES, ALL_MSGPACK, BYTES, EVENTS, JSON, NPY, TEXT
from motet.shared import is_shared
from motet.web import Role, UploadRule, mentions, role_of

CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")
ITERATORS: tuple[object, ...] = (abc.Iterator, abc.Iterable, abc.Generator, abc.AsyncIterator, abc.AsyncIterable, abc.AsyncGenerator)
PLAIN: tuple[object, ...] = (int, float, str, bool, bytes)  # whose exact instances pydantic takes as they are
MAX_SHOWN = 120  # characters of a wrong value that an error repeats

BodyShape = Literal["empty", "model", "object"]


class UnresolvedAnnotation(Exception):
    """An annotation names something that doesn't exist (yet)."""


def hints_of(function: Callable[..., Any], owner: type | None = None) -> dict[str, Any]:
    """Return the resolved annotations of a function, string annotations included.

    Raises:
        UnresolvedAnnotation: a name in them isn't defined.
    """
    local = dict(vars(sys.modules[owner.__module__])) if owner is not None and owner.__module__ in sys.modules else {}
    if owner is not None:
        local[owner.__name__] = owner
    try:
        return typing.get_type_hints(function, localns=_closure(function) | local, include_extras=True)
    except (NameError, AttributeError) as error:
        raise UnresolvedAnnotation(str(error)) from None


def _closure(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the names that a function closes over: classes that were defined in the same function body."""
    cells = inspect.unwrap(function).__closure__ or ()
    names = inspect.unwrap(function).__code__.co_freevars
    return {name: cell.cell_contents for name, cell in zip(names, cells, strict=True) if _is_filled(cell)}


def _is_filled(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def with_rules(annotation: Any) -> Any:
    """Return the annotation with arrays, tensors and images replaced by types that pydantic can handle."""
    if (rule := rule_for(annotation)) is not None:
        return Annotated[Any, rule]
    if role_of(annotation) == "upload":
        return Annotated[Any, UploadRule()]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is None or origin is Literal or not arguments:
        return annotation
    if origin is Annotated:
        return Annotated[(with_rules(arguments[0]), *arguments[1:])]
    if origin in (Union, types.UnionType):
        return Union[tuple(with_rules(argument) for argument in arguments)]  # noqa: UP007  # built at run time
    replaced = tuple(with_rules(argument) for argument in arguments)
    return annotation if replaced == arguments else origin[replaced]


def adapter(annotation: Any) -> TypeAdapter[Any]:
    """Return pydantic's adapter for an annotation; its own configuration wins where the type has one."""
    ruled = with_rules(annotation)
    try:
        return TypeAdapter(ruled, config=CONFIG)
    except Exception as error:
        if getattr(error, "code", None) != "type-adapter-config-unused":
            raise
        return TypeAdapter(ruled)


def is_model(annotation: Any) -> bool:
    """Whether values of the type are JSON objects of their own: models, dataclasses, typed dicts, msgspec structs."""
    bare = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    if get_origin(bare) in (Union, types.UnionType):
        return all(is_model(argument) for argument in get_args(bare) if argument is not type(None))
    bare = get_origin(bare) or bare
    if not inspect.isclass(bare):
        return False
    return issubclass(bare, BaseModel) or dataclasses.is_dataclass(bare) or typing_extensions.is_typeddict(bare)


@dataclass(frozen=True, slots=True)
class EndpointSchema:
    """What an endpoint takes and gives, ready to validate.

    Attributes:
        names: parameter names in order.
        positional: those that may be given by position.
        body: whether the JSON body is nothing, the only parameter itself, or an object of all parameters.
        arguments: validates a dict of arguments.
        only: validates the body itself, if `body` is "model".
        result: validates and writes the value, or one item of a stream.
        shared: names and positions of the parameters whose tensors are shared.
        shares_result: whether those of the result are.
        raw: the type of the only parameter if that is `bytes` or `str`, which bodies that aren't JSON fill.
        array: whether the only parameter is an array or a tensor.
        offers: media types that a value, or a stream of them, can have over HTTP; the favourite first.
        plain: the types of the parameters if all are scalars and positional: exact instances of them need no validation.
        plain_result: that of the result, in the same way.
        surface: how its requests come over HTTP.
        methods: of HTTP that it answers to.
        given: parameters that get the request or the WebSocket itself, by name; they are none of `names`.
        repeated: parameters, or fields of the only one, that take all values of a form field or query parameter, not only the last.
        nested: those whose value in a form field is JSON.
        form: whether forms are read.
        files: whether one of them is a file.
        responds: whether the value may be a `Response`.
        over_http: whether services can't call it.
    """

    names: tuple[str, ...]
    positional: tuple[str, ...]
    body: BodyShape
    arguments: TypeAdapter[dict[str, Any]]
    only: TypeAdapter[Any] | None
    result: TypeAdapter[Any]
    returns: Any
    shared: frozenset[int | str]
    shares_result: bool
    raw: type[bytes | str] | None
    array: bool
    offers: tuple[str, ...]
    plain: tuple[type, ...] | None = None
    plain_result: type | None = None
    surface: Surface = "call"
    methods: tuple[str, ...] = ("POST",)
    given: Mapping[str, Role] = field(default_factory=dict[str, Role])
    repeated: frozenset[str] = frozenset()
    nested: frozenset[str] = frozenset()
    form: bool = False
    files: bool = False
    responds: bool = False
    over_http: bool = False


def given_parameters(annotations: Mapping[str, Any]) -> dict[str, Role]:
    """Return the parameters that get the request or the WebSocket itself, by name."""
    found = {name: role_of(annotation) for name, annotation in annotations.items()}
    return {name: role for name, role in found.items() if role in ("request", "websocket")}


def item_annotation(endpoint: EndpointDefinition, annotation: Any) -> Any:
    """Return the type of one result: of a stream's item, of a batch's element, or of the value."""
    if endpoint.kind == "stream":
        return (get_args(annotation) or (Any,))[0]
    if endpoint.batching is not None:
        inner = (get_args(annotation) or (Any,))[0]
        if get_origin(inner) in (Union, types.UnionType):
            kept = tuple(a for a in get_args(inner) if getattr(a, "__name__", "") != "Failed")
            return Union[kept] if kept else Any  # noqa: UP007  # built at run time
        return inner
    return annotation


def parameter_annotations(endpoint: EndpointDefinition, hints: Mapping[str, Any]) -> dict[str, Any]:
    """Return each parameter's type as a caller sees it: a batched endpoint takes one item, not the list."""
    found = {name: hints.get(name, Any) for name in endpoint.signature.parameters}
    if endpoint.batching is not None:
        return {name: (get_args(annotation) or (Any,))[0] for name, annotation in found.items()}
    return found


def build_schema(endpoint: EndpointDefinition, owner: type) -> EndpointSchema:
    """Return the validators of an endpoint.

    Raises:
        UnresolvedAnnotation: an annotation names something undefined.
        Exception: pydantic has no schema for an annotation (its message says which).
    """
    hints = hints_of(endpoint.function, owner)
    every = parameter_annotations(endpoint, hints)
    given = given_parameters(every)
    annotations = {name: annotation for name, annotation in every.items() if name not in given}
    fields: dict[str, Any] = {}
    for name, annotation in annotations.items():
        parameter = endpoint.signature.parameters[name]
        ruled = with_rules(annotation)
        fields[name] = ruled if parameter.default is parameter.empty else NotRequired[ruled]
    make_typed_dict: Any = typing_extensions.TypedDict  # pydantic takes this one on every version of Python
    record = make_typed_dict(f"{endpoint.name}_arguments", fields)
    record.__pydantic_config__ = CONFIG | ConfigDict(extra="forbid")
    returns, responds = without_response(Any if endpoint.ingress else item_annotation(endpoint, hints.get("return", Any)))
    single = next(iter(annotations.values())) if len(annotations) == 1 else None
    shape: BodyShape = "empty" if not annotations else "model" if single is not None and is_model(single) else "object"
    raw = single if single in (bytes, str) else None
    positional = tuple(n for n, p in endpoint.signature.parameters.items() if p.kind is not p.KEYWORD_ONLY and n not in given)
    plain = all(annotation in PLAIN for annotation in annotations.values()) and len(positional) == len(annotations)
    return EndpointSchema(
        names=tuple(annotations),
        positional=positional,
        body=shape,
        arguments=TypeAdapter(record),
        only=adapter(single) if shape == "model" else None,
        result=adapter(returns),
        returns=returns,
        shared=frozenset(key for i, name in enumerate(annotations) if is_shared(annotations[name]) for key in (i, name)),
        shares_result=is_shared(returns),
        raw=raw,
        array=single is not None and _is_array(single),
        offers=_offers(endpoint, returns),
        plain=tuple(annotations.values()) if plain else None,
        plain_result=returns if returns in PLAIN else None,
        **_surface(endpoint, annotations, given, responds=responds),
    )


def _offers(endpoint: EndpointDefinition, returns: Any) -> tuple[str, ...]:
    """Return the media types of results, the favourite first."""
    text = (TEXT,) if returns is str else ()
    if returns is bytes:
        return (BYTES, *ALL_MSGPACK)
    if endpoint.kind == "stream":
        return (EVENTS, *ALL_LINES, *text, *ALL_MSGPACK)
    return (JSON, *text, *ALL_MSGPACK, *((NPY,) if _is_array(returns) else ()))


def _is_array(annotation: Any) -> bool:
    bare = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return isinstance(rule_for(bare), ArrayRule)


def without_response(annotation: Any) -> tuple[Any, bool]:
    """Return the annotation of values that aren't a `Response`, and whether there may be one."""
    if role_of(annotation) == "response":
        return Any, True
    if get_origin(annotation) in (Union, types.UnionType) and mentions(annotation, "response"):
        kept = tuple(argument for argument in get_args(annotation) if role_of(argument) != "response")
        return Union[kept] if kept else Any, True  # noqa: UP007  # built at run time
    return annotation, False


def _surface(endpoint: EndpointDefinition, annotations: Mapping[str, Any], given: Mapping[str, Role], *, responds: bool) -> dict[str, Any]:
    """Return the fields of a schema that say what the endpoint is over HTTP."""
    files = any(mentions(annotation, "upload") for annotation in annotations.values())
    surface: Surface = "call"
    if endpoint.ingress:
        surface = "ingress"
    elif "websocket" in given.values():
        surface = "websocket"
    elif given or responds or files or endpoint.form or endpoint.methods is not None:
        surface = "http"
    fields = dict(annotations)
    for annotation in annotations.values():
        fields |= _model_fields(annotation) if len(annotations) == 1 else {}
    return {
        "surface": surface,
        "methods": ("GET",) if surface == "websocket" else endpoint.methods or ("POST",),
        "given": given,
        "repeated": frozenset(name for name, annotation in fields.items() if _takes_several(annotation)),
        "nested": frozenset(name for name, annotation in fields.items() if _is_nested(annotation)),
        "form": files or endpoint.form,
        "files": files,
        "responds": responds,
        "over_http": endpoint.ingress or bool(given) or responds or files,
    }


def _model_fields(annotation: Any) -> dict[str, Any]:
    """Return the fields of a model by name: a form or query that is for the model alone names them."""
    if not is_model(annotation) or get_origin(annotation) is not None:
        return {}
    if issubclass(annotation, BaseModel):
        return {name: field.annotation for name, field in annotation.model_fields.items()}
    return typing.get_type_hints(annotation)


_SEVERAL: tuple[object, ...] = (list, tuple, set, frozenset, abc.Sequence, abc.Iterable)


def _takes_several(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Annotated or origin in (Union, types.UnionType):
        return any(_takes_several(argument) for argument in get_args(annotation))
    return (origin or annotation) in _SEVERAL


def _is_nested(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return any(_is_nested(argument) for argument in get_args(annotation))
    return is_model(annotation) or (origin or annotation) is dict


@functools.lru_cache(maxsize=4096)
def schema_of(endpoint: EndpointDefinition, owner: type) -> EndpointSchema:
    """Return the validators of an endpoint, built once."""
    return build_schema(endpoint, owner)


def invalid_input(error: ValidationError, *, where: str, prefix: str = "") -> InvalidInput:
    """Turn pydantic's error into ours: each problem with its location, what is wrong and what was found."""
    problems: list[Mapping[str, object]] = []
    for problem in error.errors(include_url=False, include_context=False):
        path = ".".join([prefix] * bool(prefix) + [str(part) for part in problem["loc"]]) or "body"
        problems.append({"at": path, "problem": problem["msg"], "found": shown(problem.get("input"))})
    count = len(problems)
    return InvalidInput(f"{count} problem{'s' if count != 1 else ''} with the arguments", problems=problems, where=where)


class _Brief(reprlib.Repr):
    """Looks at the beginning of a value only: the whole of a large one can take more memory as text than the value itself."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = self.maxdict = self.maxarray = MAX_SHOWN // 3
        self.maxstring = self.maxlong = self.maxother = 10 * MAX_SHOWN

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """Write a dict in its own order."""
        pieces = [f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}" for key, value in islice(x.items(), self.maxdict)]
        return "{" + ", ".join(pieces if level > 0 or not x else ["..."]) + "}"

    def repr_bytes(self, x: bytes, _: int) -> str:
        """Write the beginning of a byte string."""
        return repr(x[:MAX_SHOWN])


_BRIEF = _Brief()


def shown(value: object) -> str:
    """Return a short form of a value for an error message."""
    text = _BRIEF.repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
