"""What travels with a request (deadline, trace, request id) and what a constructor may ask for (`Context`)."""

from __future__ import annotations

import asyncio
import contextvars
import math
import os
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from motet import trace as traces


class Unfinished(Protocol):
    """What a scope knows of a call or stream that was made in it."""

    name: str

    def cancel(self) -> bool:
        """Stop it; returns False if it had ended already."""
        ...


class Scope(msgspec.Struct, eq=False, kw_only=True):
    """One running endpoint: the deadline, identifiers and calls that belong to it.

    Every call made while the scope is current is registered in it; calls that still run when it closes are cancelled.

    Attributes:
        endpoint: full name of what runs.
        request_id: of the request that it belongs to.
        trace: context of a distributed trace.
        deadline: `time.monotonic()` seconds; inf means none.
        loop: of the replica: threads that run sync endpoints make their calls there.
        calls: those that it has made.
        streams: those that it has made, by `id`. A dict, since the loop forgets streams while the thread of a sync endpoint looks
            through them: a `WeakSet` is no match for that.
        open: whether it still runs.
        failed: whether it ended with an error.
    """

    endpoint: str
    request_id: str
    trace: str | None
    deadline: float
    loop: asyncio.AbstractEventLoop
    calls: set[Unfinished] = set()  # each gets its own
    streams: dict[int, weakref.ref[Unfinished]] | None = None
    open: bool = True
    failed: bool = False

    def add_stream(self, stream: Unfinished) -> None:
        """Register a stream, without keeping one alive that nobody reads any more: its producer's slot is free at once."""
        streams = self.streams = self.streams if self.streams is not None else {}
        key = id(stream)
        streams[key] = weakref.ref(stream, lambda _: streams.pop(key, None))

    def remove_stream(self, stream: Unfinished) -> None:
        """Forget a stream that has ended."""
        if self.streams is not None:
            self.streams.pop(id(stream), None)

    def running(self) -> list[Unfinished]:
        """Return the calls and streams that haven't ended."""
        streams = [reference() for reference in list((self.streams or {}).values())]
        return [*self.calls, *(stream for stream in streams if stream is not None)]

    def left(self) -> float:
        """Return the seconds until the deadline; inf if there is none."""
        return self.deadline - time.monotonic() if self.deadline != math.inf else math.inf


_current: contextvars.ContextVar[Scope | None] = contextvars.ContextVar("motet_scope", default=None)
current_scope = _current.get
enter_scope = _current.set


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentRequest:
    """The request that the running code belongs to, the same through all services that it passes.

    Attributes:
        request_id: the client's `X-Request-ID`, or one that was made where the request came in.
        endpoint: name of the node and its endpoint, such as `Search.ask`.
        deadline: when it has to be answered, as `time.monotonic()` counts, in seconds; inf if never.
        traceparent: W3C trace context with the span of this hop, to be passed to other systems; None if the client sent none.
        tracestate: the rest of that, or None.
    """

    request_id: str
    endpoint: str
    deadline: float
    traceparent: str | None
    tracestate: str | None


def current_request() -> CurrentRequest | None:
    """Return the request that the running endpoint answers; None outside of one. A batch has that of its first item."""
    if (scope := current_scope()) is None:
        return None
    parent, state = traces.parts(scope.trace)
    return CurrentRequest(
        request_id=scope.request_id, endpoint=scope.endpoint, deadline=scope.deadline, traceparent=parent, tracestate=state
    )


def new_request_id() -> str:
    """Return 16 random hexadecimal characters."""
    return os.urandom(8).hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a service's constructor may know of where it runs; ask for it by `context: motet.Context = motet.injected`.

    Attributes:
        app: name of the app that was deployed.
        service: name of the node.
        replica: identity of this replica, unique among those of the server.
        engine: `"inline"`, `"local"` or `"ray"`.
        data_dir: a folder that this service may write to; it exists.
        secrets: the secrets that the service names in its `Assets`.
        environment: the environment variables that the service declares, and those of the server's `.env` files.
        assets: where the models and data that the service names in its `Assets` are.
        gpus: ids of the GPUs that this replica was given or, if the service declares none, that it sees; empty for logical ones.
    """

    app: str
    service: str
    replica: str
    engine: str
    data_dir: Path
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    assets: Mapping[str, Path] = field(default_factory=dict[str, Path])
    gpus: tuple[str, ...] = ()

    @property
    def device(self) -> str:
        """Where a model belongs: `"cuda"` if there is a GPU for this replica, else `"cpu"`; torch isn't asked."""
        return "cuda" if self.gpus else "cpu"


class _Injected:
    """The default that marks a constructor parameter which Motet fills."""

    def __repr__(self) -> str:
        return "motet.injected"

    def __reduce__(self) -> str:
        return "injected"


injected: Any = _Injected()
