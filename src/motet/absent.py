"""Modules that only the environment of another service has: placeholders stand for them where a user's file imports them at its top.

A placeholder may stand wherever a definition names something (base class, decorator, annotation, default, constant), and raises
the original error when it is used. It is given to that import statement alone: to all others the module is missing as it was, so
that a `try: import x` keeps its fallback, and a library that looks for an optional one isn't deceived.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import inspect
import types
import typing
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from pydantic import BaseModel
from pydantic_core import core_schema

from motet.errors import StartError
from motet.identity import is_users_file, named_globals

_place: tuple[str | None, str] = (None, "the service")  # environment and service of this process
_loading = False


def set_place(*, environment: str | None, service: str) -> None:
    """Say for messages which environment this process has, None for the server's own, and which service runs in it."""
    global _place  # noqa: PLW0603  # one environment per process
    _place = (environment, service)


@dataclass(frozen=True)
class Absence:
    """An import statement that failed: what it named, where it is, and how it failed."""

    module: str
    name: str | None  # in `from module import name`
    place: str
    error: ImportError

    def raised(self, service: str | None = None) -> ImportError:
        """Return the error of using what was imported."""
        environment, running = _place
        whose = service or running
        where = f"the environment {environment}" if environment is not None else "the server's own environment"
        text = (
            f"{self.error.msg or self.error}: {self.place} imports it and {whose} uses it, in {where}; "
            f"add it to `Environment(pip=[...])` of {whose}" + (", or install it for the server" if environment is None else "")
        )
        kind = ModuleNotFoundError if isinstance(self.error, ModuleNotFoundError) else ImportError
        error = kind(text, name=self.error.name, path=self.error.path)
        error.__cause__ = self.error
        return error


ABSENCE = "__motet_absence__"  # attribute of whatever stands for something that isn't here


def absence_of(item: object) -> Absence | None:
    """Return what `item` stands for, if it is a placeholder, a class with one as its base, or a function that one decorated."""
    return cast("Absence | None", getattr(item, ABSENCE, None))


_made = False


def are_used() -> bool:
    """Whether there are placeholders in this process."""
    return _made


@contextlib.contextmanager
def defining() -> Generator[None]:
    """Mark that the user's code is being loaded: what is done with placeholders meanwhile is a part of definitions."""
    global _loading  # noqa: PLW0603  # the process does it, whichever thread
    before, _loading = _loading, True
    try:
        yield
    finally:
        _loading = before


class Placeholder:
    """Stands for something that can't be imported here."""

    __slots__ = (ABSENCE, "_attributes", "_base", "_path")
    __motet_absence__: Absence
    _path: str
    _attributes: tuple[str, ...] | None  # below what was imported; None for what a call returned
    _base: type | None

    def __init__(self, absence: Absence, path: str, attributes: tuple[str, ...] | None = ()) -> None:
        global _made  # noqa: PLW0603  # once
        _made = True
        set_attribute = object.__setattr__
        set_attribute(self, ABSENCE, absence)
        set_attribute(self, "_path", path)
        set_attribute(self, "_attributes", attributes)
        set_attribute(self, "_base", None)

    def __repr__(self) -> str:
        """Return what it stands for."""
        return self._path

    def __getattr__(self, name: str) -> Placeholder:
        """Return a placeholder for what is in it; special names would make it something that it isn't."""
        if name.startswith("__") and name.endswith("__") and name != "__version__":
            raise AttributeError(name)
        attributes = self._attributes
        return Placeholder(self.__motet_absence__, f"{self._path}.{name}", None if attributes is None else (*attributes, name))

    def __getitem__(self, item: object) -> Placeholder:
        """Stand for a generic type with its arguments, while definitions are made."""
        return self._only_defined("[...]")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Stand for a decorator, or for what a call at the top of a file returns, while definitions are made."""
        made = self._only_defined("(...)")
        if len(args) == 1 and not kwargs and isinstance(args[0], types.FunctionType | type):
            return _undecorated(args[0], self.__motet_absence__)
        return made

    def __setattr__(self, name: str, value: object) -> None:
        """Take a setting at the top of a file."""
        self._only_defined(name)

    def _only_defined(self, how: str) -> Placeholder:
        if not _loading:
            raise self.__motet_absence__.raised()
        return Placeholder(self.__motet_absence__, f"{self._path}{how}", None)

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type, ...]:
        """Stand for a base class whose subclasses can't be constructed."""
        base = self._base or type(self._path.rpartition(".")[2], (_AbsentBase,), {ABSENCE: self.__motet_absence__})
        object.__setattr__(self, "_base", base)
        return (base,)

    def __instancecheck__(self, value: object) -> bool:
        """Nothing is of a class that isn't there."""
        return False

    def __subclasscheck__(self, cls: type) -> bool:
        """Nothing is a subclass of one that isn't there."""
        return False

    def __or__(self, other: Any) -> Any:
        """Stand in an annotation such as `X | None`."""
        return typing.Union[self, other]  # noqa: UP007  # built at run time

    def __ror__(self, other: Any) -> Any:
        """Stand in an annotation such as `None | X`."""
        return typing.Union[other, self]  # noqa: UP007  # built at run time

    @property
    def __motet_absent_path__(self) -> str | None:
        """What it stands for, if that can be told by name."""
        return None if self._attributes is None else self._path

    def __reduce__(self) -> Any:
        """Travel by name: where it arrives, the module may be there."""
        if self._attributes is None:
            raise self.__motet_absence__.raised()
        absence = self.__motet_absence__
        return _resolve, (absence.module, (absence.name, *self._attributes) if absence.name else self._attributes)

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> core_schema.CoreSchema:
        """Stand for the type of a field; no value fits it."""
        return core_schema.no_info_plain_validator_function(lambda _: _raise(self.__motet_absence__))


def _raise(absence: Absence) -> NoReturn:
    raise absence.raised()


def _resolve(module: str, attributes: tuple[str, ...]) -> object:
    found: Any = importlib.import_module(module)
    for name in attributes:
        found = getattr(found, name)
    return found


def _refuses(self: Placeholder, *_: object, **__: object) -> NoReturn:
    raise self.__motet_absence__.raised()


# Python looks these up in the class, so that a placeholder can't refuse them in `__getattr__`.
_USES = """bool len iter next contains setitem delitem int float index complex enter exit aenter aexit await aiter anext lt le gt ge
    add radd sub rsub mul rmul matmul rmatmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow neg pos invert abs and rand xor rxor
    lshift rshift array"""
for _name in _USES.split():
    setattr(Placeholder, f"__{_name}__", _refuses)


class _AbsentBase:
    """Base of classes whose real base isn't here."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Take what the real base may take."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        """Refuse to be constructed."""
        raise getattr(cls, ABSENCE).raised()


def _undecorated(item: Any, absence: Absence) -> Any:
    """Return what stands for a function that a decorator should have changed: it looks the same and raises. A class stays."""
    if isinstance(item, type):
        return item

    async def async_stream(*_: Any, **__: Any) -> Any:
        yield _raise(absence)

    async def coroutine(*_: Any, **__: Any) -> Any:
        _raise(absence)

    def stream(*_: Any, **__: Any) -> Any:
        yield _raise(absence)

    def plain(*_: Any, **__: Any) -> Any:
        _raise(absence)

    kinds = (
        (inspect.isasyncgenfunction, async_stream),
        (inspect.iscoroutinefunction, coroutine),
        (inspect.isgeneratorfunction, stream),
        (callable, plain),
    )
    twin: Any = next(twin for is_kind, twin in kinds if is_kind(item))
    functools.update_wrapper(twin, item)
    setattr(twin, ABSENCE, absence)
    return twin


# -- what uses a placeholder -------------------------------------------------------------------------------------------


def absent_from(annotation: Any) -> Absence | None:
    """Return why an annotation can't be validated here, if it, or a field of a model in it, names what can't be imported."""
    return next(_absences_of_annotation(annotation, set()), None)


def _absences_of_annotation(annotation: Any, seen: set[int]) -> Iterator[Absence]:
    if id(annotation) in seen:
        return
    seen.add(id(annotation))
    if (absence := absence_of(annotation)) is not None:
        yield absence
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for field in annotation.model_fields.values():
            yield from _absences_of_annotation(field.annotation, seen)
    elif isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        for each in dataclasses.fields(annotation):
            yield from _absences_of_annotation(each.type, seen)
    for argument in typing.get_args(annotation):
        yield from _absences_of_annotation(argument, seen)


def refuse_users(services: Mapping[str, type]) -> None:
    """Refuse services, by name, that use what can't be imported in this process, before any request meets it.

    Raises:
        StartError: with the first that does.
    """
    for service, cls in services.items() if are_used() else ():
        if (absence := used_by(cls)) is not None:
            raise StartError(str(absence.raised(service)), where=absence.place) from absence.error


def used_by(cls: type) -> Absence | None:
    """Return what can't be imported here and the methods of a service class name, or functions of the user's that they call.

    What other classes name doesn't count: they may be services of other environments.
    """
    if (absence := absence_of(cls)) is not None:
        return absence
    seen: set[int] = set()
    stack: list[Any] = [getattr(member, "__func__", member) for base in cls.__mro__ for member in vars(base).values()]
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Placeholder | types.FunctionType) and (absence := absence_of(item)) is not None:
            return absence
        if isinstance(item, types.FunctionType):
            stack.append(inspect.unwrap(item))
            if is_users_file(item.__code__.co_filename):
                stack += [value for _, value in named_globals(item)]
    return None
