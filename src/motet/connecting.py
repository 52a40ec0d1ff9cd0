"""The typed face of an app that runs elsewhere, over HTTP: `connect(url, Search)` gives what `run` gives."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Hashable, Mapping, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, get_args

from pydantic import ValidationError

import motet.errors
from motet.arrays import rule_for
from motet.background import background_loop, run_in_background
from motet.calls import Call
from motet.context import Scope
from motet.definitions import EndpointDefinition, ServiceDefinition
from motet.errors import (
    CallCancelled,
    DeadlineExceeded,
    HTTPError,
    InvalidInput,
    MotetError,
    RemoteError,
    ReplicaDied,
    Unavailable,
    UsageError,
)
from motet.media import BYTES, EVENTS, JSON, MSGPACK
from motet.options import CallOptions, user_place
from motet.pending import post, running_loop
from motet.runtime.binary import pack, unpack
from motet.schema import EndpointSchema, hints_of, invalid_input, parameter_annotations, schema_of
from motet.service import Service, definition_of
from motet.streams import Stream
from motet.trace import child, parts

if TYPE_CHECKING:
    import httpx

S = TypeVar("S", bound=Service)

CONNECT_TIMEOUT = 10.0  # s; how long a call itself may take is the server's to say


class Connected(Generic[S]):
    """An app elsewhere: `with` or `async with` gives a handle of its root and closes the connections at the end.

    Where a block doesn't fit, `start()` (sync code) or `await` (async code) gives the handle, and `stop()` or `aclose()` closes.
    """

    def __init__(self, url: str, definition: ServiceDefinition, api_key: str | None) -> None:
        self._url = url.rstrip("/")
        self._definition = definition
        self._key = api_key
        self._client: httpx.AsyncClient | None = None
        self._handle: RemoteHandle | None = None

    def _open(self, loop: asyncio.AbstractEventLoop) -> S:
        import httpx  # noqa: PLC0415  # most programs connect to nothing, and it takes long to import

        headers = {"authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        self._client = httpx.AsyncClient(
            headers=headers, limits=limits, timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT), trust_env=False
        )
        self._handle = RemoteHandle(self._url, self._definition, self._client, loop, options=CallOptions(), running=set())
        return cast("S", self._handle)

    async def aclose(self) -> None:
        """Close the connections; from async code."""
        if self._handle is not None and self._client is not None:
            await self._handle.close()
            await self._client.aclose()

    def start(self) -> S:
        """Return a handle of the app's root; from sync code."""
        if running_loop() is not None:
            raise UsageError("motet.connect(...).start() is for sync code", instead="await motet.connect(...), or async with")
        return self._open(background_loop())

    def stop(self) -> None:
        """Close the connections; from sync code."""
        run_in_background(self.aclose(), what="motet.connect(...).stop()")

    async def _start(self) -> S:
        return self._open(asyncio.get_running_loop())

    def __await__(self) -> Generator[Any, None, S]:
        """Return a handle of the app's root, for the running loop."""
        return self._start().__await__()

    def __enter__(self) -> S:
        """Return a handle of the app's root."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the connections."""
        self.stop()

    async def __aenter__(self) -> S:
        """Return a handle of the app's root, for the running loop."""
        return await self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the connections."""
        await self.aclose()


def connect(url: str, service: type[S], *, api_key: str | None = None) -> Connected[S]:
    """Connect to an app that is served elsewhere: `with motet.connect(url, Search) as search: search.ask(...).result()`.

    Args:
        url: of the app's route, such as `http://127.0.0.1:8000` or `http://host:8000/search`.
        service: class of its root.
        api_key: sent with every request.
    """
    if not url.startswith(("http://", "https://")):
        raise UsageError("connect() takes the URL of an app", found=repr(url), instead="http://127.0.0.1:8000")
    return Connected(url, definition_of(service), api_key)


class RemoteHandle:
    """Stands for a service behind HTTP: each of its endpoints is a method that starts a request."""

    def __init__(
        self,
        url: str,
        definition: ServiceDefinition,
        client: httpx.AsyncClient,
        loop: asyncio.AbstractEventLoop,
        *,
        options: CallOptions,
        running: set[asyncio.Task[None]],
    ) -> None:
        self._definition = definition
        self._url = url
        self._client = client
        self._loop = loop
        self._options = options
        self._running = running  # shared by all handles of a connection

    async def close(self) -> None:
        """Stop what still runs."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def __getattr__(self, name: str) -> Callable[..., Call[Any] | Stream[Any]]:
        """Return an endpoint as a method."""
        definition: ServiceDefinition = self.__dict__["_definition"]
        if name not in definition.endpoints:
            raise AttributeError(f"{definition.name} has no endpoint {name!r}; it has {', '.join(definition.endpoints)}")
        endpoint = definition.endpoints[name]

        def call(*args: object, **kwargs: object) -> Call[Any] | Stream[Any]:
            return self._request(endpoint, args, kwargs)

        return call

    def __call__(self, *args: object, **kwargs: object) -> Call[Any] | Stream[Any]:
        """Call the service's `__call__` endpoint."""
        return self.__getattr__("__call__")(*args, **kwargs)

    def options(self, **changes: Any) -> RemoteHandle:
        """Return a handle whose calls have another `timeout`, in seconds.

        Raises:
            DefinitionError: the option is unknown or its value is wrong.
            UsageError: it is `retries`, which only who knows the replicas can keep.
        """
        options = CallOptions(**changes)
        if options.retries is not None:
            raise UsageError("calls over HTTP are retried by the server", where=user_place(), instead="`timeout=` alone")
        options = options.over(self._options)
        return RemoteHandle(self._url, self._definition, self._client, self._loop, options=options, running=self._running)

    def _request(self, endpoint: EndpointDefinition, args: Sequence[object], kwargs: Mapping[str, object]) -> Call[Any] | Stream[Any]:
        where = f"{self._definition.name}.{endpoint.name}"
        schema = schema_of(endpoint, self._definition.cls)
        if schema.over_http or "POST" not in schema.methods:
            raise UsageError(
                f"{where} can't be called through motet.connect",
                found="it needs a request of its own" if schema.over_http else f"it takes {', '.join(schema.methods)}",
                instead="an HTTP client",
            )
        home = running_loop() or self._loop
        url = self._url if endpoint.name == "__call__" else f"{self._url}/{endpoint.name}"
        pending: Call[Any] | Stream[Any] = Stream(where, home) if endpoint.kind == "stream" else Call(where, home)
        scope = pending.scope
        limit = self._options.timeout
        deadline = scope.deadline if scope is not None else math.inf
        if limit is not None:
            deadline = min(deadline, time.monotonic() + limit)
        try:
            body, media = request_body(schema, endpoint, args, kwargs, where=where)
        except Exception as error:  # noqa: BLE001  # the call is how its maker hears of it
            pending.set_error(error)
            return pending
        headers = {"accept": _accepted(schema, endpoint), "content-type": media, **_headers(scope)}
        request = {"url": url, "content": body, "headers": headers}
        work = self._stream(pending, schema, request) if isinstance(pending, Stream) else self._unary(pending, schema, request)
        post(self._loop, self._start, pending, self._within(pending, work, deadline, url))
        return pending

    async def _within(self, pending: Call[Any] | Stream[Any], work: Coroutine[Any, Any, None], deadline: float, url: str) -> None:
        """Answer a call by its deadline, whatever becomes of it: with its value, the server's error, or one of our own."""
        limit = asyncio.timeout(None if deadline == math.inf else deadline - time.monotonic())
        try:
            async with limit:
                await work
        except asyncio.CancelledError:
            error: Exception = CallCancelled(f"{pending.name} was cancelled: the connection was closed")
        except Exception as raised:  # noqa: BLE001  # the call is how its maker hears of it
            error = _translated(raised, url)
            if limit.expired():
                error = DeadlineExceeded(f"{pending.name} was not answered before its deadline", where=url)
        else:
            return
        post(pending.home, pending.set_error, error)

    def _start(self, pending: Call[Any] | Stream[Any], work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        pending.on_cancel(lambda: post(self._loop, task.cancel))

    async def _unary(self, call: Call[Any], schema: EndpointSchema, request: Mapping[str, Any]) -> None:
        response = await self._client.post(**request)
        if response.is_error:
            raise error_of(response.status_code, response.content, request["url"])
        post(call.home, call.set_value, _value(schema, response))

    async def _stream(self, stream: Stream[Any], schema: EndpointSchema, request: Mapping[str, Any]) -> None:
        taken = asyncio.Event()  # one item waits at most: the rest waits in the connection, and so at the producer
        stream.on_consume(lambda: post(self._loop, taken.set))
        async with self._client.stream("POST", **request) as response:
            if response.is_error:
                raise error_of(response.status_code, await response.aread(), request["url"])
            source = response.aiter_bytes() if schema.returns is bytes else _events(response.aiter_bytes(), schema, request["url"])
            async for item in source:
                post(stream.home, stream.push, item)
                await taken.wait()
                taken.clear()
        post(stream.home, stream.finish)


def _headers(scope: Scope | None) -> dict[str, str]:
    """Return what of the request that a call belongs to goes along with it."""
    if scope is None:
        return {}
    traceparent, tracestate = parts(None if scope.trace is None else child(scope.trace))
    headers = {"x-request-id": scope.request_id, "traceparent": traceparent, "tracestate": tracestate}
    return {name: value for name, value in headers.items() if value is not None}


def _accepted(schema: EndpointSchema, endpoint: EndpointDefinition) -> str:
    if schema.returns is bytes:
        return BYTES
    if endpoint.kind == "stream":
        return EVENTS
    return MSGPACK if _packs(schema.returns) else JSON


def _value(schema: EndpointSchema, response: httpx.Response) -> Any:
    if schema.returns is bytes:
        return response.content
    if _packs(schema.returns):
        return schema.result.validate_python(unpack(response.content, where=str(response.url)))
    return schema.result.validate_json(response.content)


@functools.lru_cache(maxsize=4096)
def _packs(annotation: Any) -> bool:
    """Whether values of a type hold arrays, images or bytes, which msgpack carries as they are."""
    if annotation is bytes or rule_for(annotation) is not None:
        return True
    return any(_packs(inner) for inner in get_args(annotation) if _is_known(inner))


def _is_known(annotation: Any) -> bool:
    return isinstance(annotation, Hashable) and not isinstance(annotation, str)


async def _events(pieces: AsyncIterator[bytes], schema: EndpointSchema, url: str) -> AsyncGenerator[Any, None]:
    """Yield the items of server-sent events. Only events tell an item from an error, and a good end from a cut."""
    rest = bytearray()
    searched = 0  # bytes of it that no event ends in
    async for piece in pieces:
        rest += piece
        while (end := rest.find(b"\n\n", searched)) >= 0:
            kind, _, data = bytes(rest[:end]).partition(b"data: ")
            del rest[: end + 2]
            searched = 0
            if kind.startswith(b"event: error"):
                raise error_of(HTTPStatus.INTERNAL_SERVER_ERROR, data, url)
            if kind.startswith(b"event: end"):
                return
            yield schema.result.validate_json(data)
        searched = max(0, len(rest) - 1)
    raise ReplicaDied("the stream was cut before its end", where=url)


def request_body(
    schema: EndpointSchema, endpoint: EndpointDefinition, args: Sequence[object], kwargs: Mapping[str, object], *, where: str
) -> tuple[bytes, str]:
    """Return the body of a request and its media type: JSON, msgpack where bytes or arrays are in it, or the only argument's bytes.

    Raises:
        InvalidInput: the arguments don't fit the signature.
        UsageError: they can't be sent over HTTP, or the endpoint takes something else than arguments.
    """
    if schema.over_http or "POST" not in schema.methods:
        raise UsageError("the endpoint takes or gives HTTP itself", where=where, instead="an HTTP client")
    try:
        arguments = endpoint.signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        raise InvalidInput(str(error), where=where, instead=f"({', '.join(schema.names)})") from None
    if any(isinstance(value, Call | Stream) or type(value).__name__ == "Ref" for value in arguments.values()):
        raise UsageError("calls, streams and refs can't be sent over HTTP", where=where, instead="await the call and pass its value")
    try:
        if schema.raw is bytes:
            return bytes(schema.arguments.validate_python(arguments)[schema.names[0]]), BYTES
        if schema.only is not None:
            return schema.only.dump_json(schema.only.validate_python(next(iter(arguments.values()), None))), JSON
        validated = schema.arguments.validate_python(arguments)
    except ValidationError as error:
        raise invalid_input(error, where=where) from None
    if any(map(_packs, parameter_annotations(endpoint, hints_of(endpoint.function)).values())):
        return pack(schema.arguments.serializer, validated, where=where), MSGPACK
    return schema.arguments.dump_json(validated), JSON


def error_of(status: int, body: bytes, url: str) -> MotetError:
    """Return the error that an HTTP answer describes: of Motet's own class where it names one."""
    try:
        fields = json.loads(body)["error"]
        kind, message = str(fields["type"]), str(fields["message"])
    except (ValueError, KeyError, TypeError):
        return HTTPError(status, f"{url} answered with status {status}", found=body[:200].decode(errors="replace"))
    cls = getattr(motet.errors, kind, None)
    named = {name: fields.get(name) for name in ("where", "found", "instead")}
    if cls is HTTPError:
        return HTTPError(int(fields.get("status", status)), message, **named)
    if isinstance(cls, type) and issubclass(cls, MotetError):
        taken = inspect.signature(cls).parameters
        own = {name: fields[name] for name in taken if name in fields and name not in (*named, "message")}
        return cls(message, **named, **own)
    return RemoteError(message, kind=kind, **named)


def _translated(error: Exception, url: str) -> Exception:
    import httpx  # noqa: PLC0415  # as above

    if isinstance(error, httpx.HTTPError):
        return Unavailable(f"{url} can't be reached: {type(error).__name__}: {error}", where=url, instead="`motet ps` shows what runs")
    return error
