"""What is wrong with the hooks of a service class: a hook that can't be called as it will be is found when the class is defined."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

from motet.definitions import ServiceDefinition, place_of
from motet.errors import Fault

HOOKS = ("start", "stop", "health", "reconfigure", "preload")

_WANTED = {
    "start": "async def start(self) -> None",
    "stop": "async def stop(self) -> None",
    "health": "def health(self) -> None, or async",
    "reconfigure": "def reconfigure(self, config: ...) -> None",
    "preload": "@classmethod above def preload(cls, ...) -> None",
}
_GIVEN = {"reconfigure": 1}  # arguments, by position


def hook_faults(definition: ServiceDefinition) -> list[Fault]:
    """Return what is wrong with the hooks of a service."""
    faults: list[Fault] = []
    for name in HOOKS:
        member = inspect.getattr_static(definition.cls, name, None)
        if member is None or name in definition.endpoints:
            continue
        function = _function(member)
        problem = "is no method" if function is None else _problem(definition, name, member, function)
        if problem is not None:
            faults.append(
                Fault(
                    place=definition.place if function is None else place_of(function),
                    subject=f"{definition.name}.{name}",
                    message=f"the hook `{name}` {problem}",
                    found=repr(member) if function is None else _written(name, member, function),
                    instead=_WANTED[name],
                )
            )
    return faults


def _function(member: object) -> Callable[..., Any] | None:
    found: object = cast("Any", member).__func__ if isinstance(member, classmethod | staticmethod) else member
    return found if callable(found) and not isinstance(found, type) else None


def _problem(definition: ServiceDefinition, name: str, member: object, function: Callable[..., Any]) -> str | None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "has a `yield`, and nobody would iterate over it"
    if name in ("start", "stop") and not inspect.iscoroutinefunction(function):
        return "isn't async"
    if name == "preload" and not isinstance(member, classmethod | staticmethod):
        return "is no classmethod: it is called before there is an instance"
    if name == "preload" and inspect.iscoroutinefunction(function):
        return "is async: it is called where no event loop runs"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # not every callable tells
        return None
    owner = () if isinstance(member, staticmethod) else (None,)  # self or cls
    return _preload_problem(definition, signature, owner) if name == "preload" else _call_problem(name, signature, owner)


def _call_problem(name: str, signature: inspect.Signature, owner: tuple[None, ...]) -> str | None:
    given = _GIVEN.get(name, 0)
    try:
        signature.bind(*owner, *(None,) * given)
    except TypeError as error:
        with_what = "without arguments" if not given else "with the new configuration"
        return f"can't be called {with_what}: {error}"
    return None


def _preload_problem(definition: ServiceDefinition, signature: inspect.Signature, owner: tuple[None, ...]) -> str | None:
    """It is called with those constructor arguments that it has parameters for, by name."""
    names = [name for name in definition.parameters if name in signature.parameters]
    try:
        signature.bind(*owner, **dict.fromkeys(names))
    except TypeError as error:
        return f"can't be called with the constructor's arguments by name: {error}"
    return None


def _written(name: str, member: object, function: Callable[..., Any]) -> str:
    try:
        signature = str(inspect.signature(function))
    except (TypeError, ValueError):
        signature = "(...)"
    decorator = "@classmethod " if isinstance(member, classmethod) else "@staticmethod " if isinstance(member, staticmethod) else ""
    return f"{decorator}{'async ' if inspect.iscoroutinefunction(function) else ''}def {name}{signature}"
