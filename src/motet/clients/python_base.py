"""What every generated client in Python begins with; the generator copies this file, so it imports nothing of Motet."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, cast

import httpx
import pydantic_core
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

# -- copied from here --

CONNECT_TIMEOUT = 10.0  # s
JSON = "application/json"
BYTES = "application/octet-stream"
EVENTS = "text/event-stream"


class ApiError(Exception):
    """The server answered with an error.

    Attributes:
        status: of HTTP.
        type: class of the error at the server.
        message: one sentence.
        where: which endpoint or part of the request.
        found: what was there.
        instead: what to send or do.
        problems: each wrong place of the arguments: `at`, `problem`, `found`.
        request_id: stands in the server's log, too.
    """

    def __init__(self, status: int, body: bytes, request_id: str | None = None) -> None:
        try:
            fields: dict[str, Any] = json.loads(body)["error"]
            self.message = str(fields["message"])
        except (ValueError, KeyError, TypeError):
            fields = {}
            self.message = body[:200].decode(errors="replace")
        self.status = status
        self.type = str(fields.get("type", "HTTPError"))
        self.where: str | None = fields.get("where")
        self.found: str | None = fields.get("found")
        self.instead: str | None = fields.get("instead")
        self.problems: list[dict[str, Any]] = list(fields.get("problems", ()))
        self.request_id: str | None = fields.get("request_id", request_id)
        super().__init__(f"{self.type} ({status}): {self.message}")


class Model(BaseModel):
    """A JSON object; fields that weren't given and have no default here are left to the server."""

    model_config = ConfigDict(
        populate_by_name=True, protected_namespaces=(), ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants"
    )

    @model_serializer(mode="wrap")
    def _leave_out(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        given, fields = self.model_fields_set, type(self).model_fields
        left_out = {name for name, field in fields.items() if name not in given and not field.is_required() and field.default is None}
        left_out |= {alias for name in left_out if (alias := fields[name].serialization_alias) is not None}
        return {name: value for name, value in cast("dict[str, Any]", handler(self)).items() if name not in left_out}


def _json(value: object) -> bytes:
    return pydantic_core.to_json(value, by_alias=True, bytes_mode="base64", inf_nan_mode="constants")


def _query(values: Mapping[str, object]) -> dict[str, Any]:
    """Return query parameters: texts as they are, several for a list, JSON for what has parts."""

    def text(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value)

    plain: dict[str, Any] = pydantic_core.to_jsonable_python(values, by_alias=True, bytes_mode="base64", inf_nan_mode="constants")
    return {
        name: [text(each) for each in cast("Sequence[Any]", value)] if isinstance(value, list) else text(value)
        for name, value in plain.items()
        if value is not None
    }


def _cut(url: str) -> ApiError:
    return ApiError(502, _json({"error": {"type": "ReplicaDied", "message": "the stream was cut before its end", "where": url}}))


class _Events:
    """Takes server-sent events apart."""

    def __init__(self) -> None:
        self.ended = False
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield the data of each event that is complete."""
        *events, self._rest = (self._rest + piece).split(b"\n\n")
        for event in events:
            kind, _, data = event.rpartition(b"data: ")
            if kind.startswith(b"event: error"):
                raise ApiError(500, data)
            if kind.startswith(b"event: end"):
                self.ended = True
                return
            yield data


class _Options:
    """Where the server is, and what goes along with each request."""

    def __init__(self, url: str, api_key: str | None, timeout: float | None) -> None:
        self._url = url.rstrip("/")
        self._headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        self._timeout = timeout

    def options(self, *, timeout: float | None = None, request_id: str | None = None, headers: Mapping[str, str] | None = None) -> Self:
        """Return a client whose requests have other options, with the same connections."""
        changed = copy.copy(self)
        changed._change(timeout, request_id, headers)  # noqa: SLF001  # a copy of itself
        return changed

    def _change(self, timeout: float | None, request_id: str | None, headers: Mapping[str, str] | None) -> None:
        self._timeout = self._timeout if timeout is None else timeout
        self._headers = {**self._headers, **(headers or {}), **({} if request_id is None else {"x-request-id": request_id})}

    def _request(self, path: str, content: bytes, kind: str, accept: str, *, verb: str, query: Mapping[str, Any] | None) -> dict[str, Any]:
        headers = {**self._headers, **({"content-type": kind} if query is None else {}), "accept": accept}
        timeout = httpx.Timeout(self._timeout, connect=CONNECT_TIMEOUT)
        params = None if query is None else _query(query)
        return {"method": verb, "url": self._url + path, "content": content, "params": params, "headers": headers, "timeout": timeout}


class Client(_Options):
    """Calls endpoints from sync code; `with` closes its connections.

    Args:
        url: of the app's route.
        api_key: sent with every request.
        timeout: seconds to wait for the server to send anything; None waits for ever.
        http: an `httpx.Client` to use instead of one of its own; whoever made it closes it.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout: float | None = 60.0,
        http: httpx.Client | None = None,
    ) -> None:
        super().__init__(url, api_key, timeout)
        self._http = httpx.Client() if http is None else http
        self._owned = http is None

    def close(self) -> None:
        """Close the connections."""
        if self._owned:
            self._http.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the connections."""
        self.close()

    def _post(
        self,
        path: str,
        content: bytes = b"",
        kind: str = JSON,
        accept: str = JSON,
        *,
        verb: str = "POST",
        query: Mapping[str, Any] | None = None,
    ) -> bytes:
        response = self._http.request(**self._request(path, content, kind, accept, verb=verb, query=query))
        if response.is_error:
            raise ApiError(response.status_code, response.content, response.headers.get("x-request-id"))
        return response.content

    def _pieces(
        self,
        path: str,
        content: bytes = b"",
        kind: str = JSON,
        accept: str = BYTES,
        *,
        verb: str = "POST",
        query: Mapping[str, Any] | None = None,
    ) -> Iterator[bytes]:
        with self._http.stream(**self._request(path, content, kind, accept, verb=verb, query=query)) as response:
            if response.is_error:
                raise ApiError(response.status_code, response.read(), response.headers.get("x-request-id"))
            yield from response.iter_bytes()

    def _events(
        self, path: str, content: bytes = b"", kind: str = JSON, *, verb: str = "POST", query: Mapping[str, Any] | None = None
    ) -> Iterator[bytes]:
        events = _Events()
        for piece in self._pieces(path, content, kind, EVENTS, verb=verb, query=query):
            yield from events.feed(piece)
        if not events.ended:
            raise _cut(self._url + path)


class AsyncClient(_Options):
    """Calls endpoints from async code; `async with` closes its connections.

    Args:
        url: of the app's route.
        api_key: sent with every request.
        timeout: seconds to wait for the server to send anything; None waits for ever.
        http: an `httpx.AsyncClient` to use instead of one of its own; whoever made it closes it.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout: float | None = 60.0,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        super().__init__(url, api_key, timeout)
        self._http = httpx.AsyncClient() if http is None else http
        self._owned = http is None

    async def close(self) -> None:
        """Close the connections."""
        if self._owned:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the connections."""
        await self.close()

    async def _post(
        self,
        path: str,
        content: bytes = b"",
        kind: str = JSON,
        accept: str = JSON,
        *,
        verb: str = "POST",
        query: Mapping[str, Any] | None = None,
    ) -> bytes:
        response = await self._http.request(**self._request(path, content, kind, accept, verb=verb, query=query))
        if response.is_error:
            raise ApiError(response.status_code, response.content, response.headers.get("x-request-id"))
        return response.content

    async def _pieces(
        self,
        path: str,
        content: bytes = b"",
        kind: str = JSON,
        accept: str = BYTES,
        *,
        verb: str = "POST",
        query: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[bytes]:
        async with self._http.stream(**self._request(path, content, kind, accept, verb=verb, query=query)) as response:
            if response.is_error:
                raise ApiError(response.status_code, await response.aread(), response.headers.get("x-request-id"))
            async for piece in response.aiter_bytes():
                yield piece

    async def _events(
        self, path: str, content: bytes = b"", kind: str = JSON, *, verb: str = "POST", query: Mapping[str, Any] | None = None
    ) -> AsyncIterator[bytes]:
        events = _Events()
        async for piece in self._pieces(path, content, kind, EVENTS, verb=verb, query=query):
            for data in events.feed(piece):
                yield data
        if not events.ended:
            raise _cut(self._url + path)
