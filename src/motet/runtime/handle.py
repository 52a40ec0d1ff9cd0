"""Handles: what one service, or a program, holds of another service; typed statically as the service's class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from motet.calls import Call
from motet.errors import UsageError
from motet.options import CallOptions, user_place
from motet.runtime.caller import Caller
from motet.runtime.plans import HandleSpec, Method
from motet.streams import Stream


class Handle:
    """Stands for a running service: each of its endpoints is a method that starts a call."""

    def __init__(self, spec: HandleSpec, caller: Caller, options: CallOptions | None = None) -> None:
        self._spec = spec
        self._caller = caller
        self._options = spec.options if options is None else options
        for plan in spec.endpoints:
            chosen = Method.of(spec, plan, self._options)
            method = _refusal(chosen) if plan.over_http else _method(caller, chosen)
            if plan.name != "__call__":
                setattr(self, plan.name, method)
            else:
                self._call = method

    def options(self, **changes: Any) -> Handle:
        """Return a handle whose calls have other options: `timeout` in seconds, `retries`.

        Raises:
            DefinitionError: the option is unknown or its value is wrong.
        """
        return Handle(self._spec, self._caller, CallOptions(**changes).over(self._options))

    def __call__(self, *args: object, **kwargs: object) -> Call[Any] | Stream[Any]:
        """Call the service's `__call__` endpoint."""
        call: Callable[..., Call[Any] | Stream[Any]] | None = self.__dict__.get("_call")
        if call is None:
            raise UsageError(f"{self._spec.service} has no endpoint __call__", where=user_place(), instead=self._endpoint_names())
        return call(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Explain what the service offers."""
        if name.startswith("__") or "_spec" not in self.__dict__:
            raise AttributeError(name)
        raise AttributeError(f"{self._spec.service} has no endpoint {name!r}; it has {self._endpoint_names()}")

    def _endpoint_names(self) -> str:
        return ", ".join(plan.name for plan in self._spec.endpoints)

    def __repr__(self) -> str:
        """Return the service's class and address."""
        return f"<Handle of {self._spec.service} at {self._spec.address}>"

    def __reduce__(self) -> str:
        """Refuse: a handle belongs to its process."""
        raise UsageError(f"{self!r} can't be sent to another service", instead="bind the service as a constructor argument there too")


def _method(caller: Caller, method: Method) -> Callable[..., Call[Any] | Stream[Any]]:
    start = caller.call

    def call(*args: object, **kwargs: object) -> Call[Any] | Stream[Any]:
        return start(method, args, kwargs)

    call.__name__ = method.endpoint
    call.__qualname__ = method.name
    return call


def _refusal(method: Method) -> Callable[..., Call[Any] | Stream[Any]]:
    def call(*_: object, **__: object) -> Call[Any] | Stream[Any]:
        raise UsageError(
            f"{method.name} needs an HTTP request, which a call between services isn't",
            where=user_place(),
            instead="an endpoint that takes and gives values, called by both",
        )

    return call
