"""The static types of the decorators: what mypy and pyright see of `endpoint` and `batched`. The order of the overloads matters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, overload

from motet.calls import Call
from motet.options import PositiveSeconds
from motet.streams import Stream

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")
X = TypeVar("X")
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

# The overloads of generators overlap the last one on purpose: the first that fits counts, and mypy is told so.


class Failed:
    """Stands in the list that a batched endpoint returns for an item that failed; its caller gets the error.

    Args:
        error: what the caller of this item gets to see.
    """

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __repr__(self) -> str:
        """Return the error."""
        return f"Failed({self.error!r})"


class EndpointDecorator(Protocol):
    """Turns a method into an endpoint: a function into `Call[R]`, a generator into `Stream[T]`."""

    @overload
    def __call__(self, f: Callable[Concatenate[S, P], Coroutine[Any, Any, R]], /) -> Callable[Concatenate[S, P], Call[R]]: ...
    @overload
    def __call__(self, f: Callable[Concatenate[S, P], AsyncIterator[T]], /) -> Callable[Concatenate[S, P], Stream[T]]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, f: Callable[Concatenate[S, P], Iterator[T]], /) -> Callable[Concatenate[S, P], Stream[T]]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, f: Callable[Concatenate[S, P], R], /) -> Callable[Concatenate[S, P], Call[R]]: ...


class EndpointOrFactory(EndpointDecorator, Protocol):
    """`@endpoint` and `@endpoint(timeout=..., idempotent=...)`."""

    @overload
    def __call__(self, f: Callable[Concatenate[S, P], Coroutine[Any, Any, R]], /) -> Callable[Concatenate[S, P], Call[R]]: ...
    @overload
    def __call__(self, f: Callable[Concatenate[S, P], AsyncIterator[T]], /) -> Callable[Concatenate[S, P], Stream[T]]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, f: Callable[Concatenate[S, P], Iterator[T]], /) -> Callable[Concatenate[S, P], Stream[T]]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, f: Callable[Concatenate[S, P], R], /) -> Callable[Concatenate[S, P], Call[R]]: ...
    @overload
    def __call__(
        self, *, timeout: PositiveSeconds | None = ..., idempotent: bool = ..., methods: Sequence[Method] = ..., form: bool = ...
    ) -> EndpointDecorator: ...


class IngressDecorator(Protocol):
    """Leaves the method as it is."""

    def __call__(self, f: Callable[[S], R], /) -> Callable[[S], R]:
        """Mark the method."""
        ...


class IngressOrFactory(IngressDecorator, Protocol):
    """`@ingress` and `@ingress(timeout=...)`."""

    @overload
    def __call__(self, f: Callable[[S], R], /) -> Callable[[S], R]: ...
    @overload
    def __call__(self, *, timeout: PositiveSeconds | None = ...) -> IngressDecorator: ...


class BatchedDecorator(Protocol):
    """Turns a method over lists into an endpoint over single items."""

    @overload
    def __call__(self, f: Callable[[S, list[X]], Coroutine[Any, Any, list[R | Failed]]], /) -> Callable[[S, X], Call[R]]: ...
    @overload
    def __call__(self, f: Callable[[S, list[X]], list[R | Failed]], /) -> Callable[[S, X], Call[R]]: ...
    @overload
    def __call__(self, f: Callable[[S, list[X]], Coroutine[Any, Any, list[R]]], /) -> Callable[[S, X], Call[R]]: ...
    @overload
    def __call__(self, f: Callable[[S, list[X]], list[R]], /) -> Callable[[S, X], Call[R]]: ...


class BatchedOrFactory(BatchedDecorator, Protocol):
    """`@batched` and `@batched(max_size=..., max_wait=...)`."""

    @overload
    def __call__(self, f: Callable[[S, list[X]], Coroutine[Any, Any, list[R | Failed]]], /) -> Callable[[S, X], Call[R]]: ...
    @overload
    def __call__(self, f: Callable[[S, list[X]], list[R | Failed]], /) -> Callable[[S, X], Call[R]]: ...
    @overload
    def __call__(self, f: Callable[[S, list[X]], Coroutine[Any, Any, list[R]]], /) -> Callable[[S, X], Call[R]]: ...
    @overload
    def __call__(self, f: Callable[[S, list[X]], list[R]], /) -> Callable[[S, X], Call[R]]: ...
    @overload
    def __call__(
        self, *, max_size: int = ..., max_wait: float = ..., timeout: PositiveSeconds | None = ..., idempotent: bool = ...
    ) -> BatchedDecorator: ...
