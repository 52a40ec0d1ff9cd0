"""Running endpoints that see the HTTP request itself, WebSockets and ASGI apps: one task each, over a tunnel."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any

from pydantic import ValidationError
from starlette.datastructures import FormData, ImmutableMultiDict
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as WebRequest
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from motet.calls import Ref
from motet.context import enter_scope
from motet.errors import HTTPError, InvalidInput, MalformedRequest, MotetError, UnsupportedMediaType
from motet.media import BYTES, EVENTS
from motet.runtime import formats
from motet.runtime.exchange import TUNNEL, Request
from motet.runtime.execution import NO_CALLS_OWN, Done, Runner, as_cancelled, close_scope
from motet.runtime.tunnel import Tunnel
from motet.schema import invalid_input

log = logging.getLogger("motet.replica")

MAX_PARTS = 1000  # files, and fields, of one form
MAX_FIELD = 1 << 20  # bytes of one field that is no file
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
BODILESS = ("GET", "HEAD", "DELETE")  # methods whose arguments come from the query


class WebRunner(Runner):
    """Runs an endpoint that has more of HTTP than a body: calls of services, which bring arguments only, run as any other."""

    _app: ASGIApp | None = None  # of an ingress, once it is made
    _state: Mapping[str, Any] | None = None

    def serve(self, app: ASGIApp, state: Mapping[str, Any]) -> None:
        """Give requests to an ASGI app; `state` is that of its lifespan."""
        self._app = app
        self._state = state

    def start(self, request: Request, done: Done) -> None:
        """Run a request; `done` is called in the loop once its slot is free."""
        if request.format is not TUNNEL:
            super().start(request, done)
            return
        request.abort = self._start_task(self._run(request, done), done)

    async def _run(self, request: Request, done: Callable[[], None]) -> None:
        scope = self._scope(request)
        enter_scope(scope)
        tunnel: Tunnel | None = None
        try:
            tunnel = request.tunnel = Tunnel(request, self._state)
            if self._app is not None:
                await self._app(tunnel.scope, tunnel.receive, tunnel.send)
            elif tunnel.scope["type"] == "websocket":
                await self._converse(tunnel)
            else:
                await self._answer(tunnel, request)
            tunnel.finish()
        except asyncio.CancelledError as error:
            scope.failed = True
            if not request.cancelled and not (tunnel is not None and tunnel.left):  # the endpoint awaited something that was cancelled
                self._failed(request, tunnel, as_cancelled(error, self.where))
        except NO_CALLS_OWN:
            raise
        except BaseException as error:  # noqa: BLE001  # it belongs to the client
            scope.failed = True
            self._failed(request, tunnel, _told(error))
        finally:
            if tunnel is not None:
                tunnel.close()
            close_scope(scope)
            request.abort = None
            request.tunnel = None
            done()

    def _failed(self, request: Request, tunnel: Tunnel | None, error: BaseException) -> None:
        if tunnel is not None and tunnel.complete:  # nobody waits for it any more
            log.error("%s raised after its answer (request %s)", self.where, request.request_id, exc_info=error)
        else:
            self.fail(request, error)

    # -- WebSockets ------------------------------------------------------------------------------------------------

    async def _converse(self, tunnel: Tunnel) -> None:
        socket = WebSocket(tunnel.scope, tunnel.receive, tunnel.send)
        arguments = self._validated(socket.query_params)
        for name in self.schema.given:
            arguments[name] = socket
        try:
            await self._function(self._instance, **arguments)
        except WebSocketDisconnect:
            if not tunnel.left:
                raise

    # -- requests --------------------------------------------------------------------------------------------------

    async def _answer(self, tunnel: Tunnel, request: Request) -> None:
        web = WebRequest(tunnel.scope, tunnel.receive, tunnel.send)
        form: FormData | None = None
        try:
            if web.method in BODILESS:
                arguments = self._validated(web.query_params)
            elif not self.schema.names:
                arguments = {}
            elif self.schema.form and _media(web) in FORMS:
                form = await web.form(max_files=MAX_PARTS, max_fields=MAX_PARTS, max_part_size=MAX_FIELD)
                arguments = self._validated(form)
            else:
                arguments = await self._from_body(web)
            arguments |= dict.fromkeys(self.schema.given, web)
            response = await self._respond(web, request, arguments)
            if "x-request-id" not in response.headers:
                response.headers["x-request-id"] = request.request_id
            await response(tunnel.scope, tunnel.receive, tunnel.send)
        finally:
            if form is not None:
                await form.close()

    async def _from_body(self, web: WebRequest) -> dict[str, Any]:
        media = _media(web)
        if self.schema.files:
            raise UnsupportedMediaType("the body's type can't be read", where=self.where, found=media or "none", instead=FORMS[0])
        body = await web.body()
        return formats.http_arguments(self.schema, body, web.headers.get("content-type"), where=self.where)

    def _fields(self, given: ImmutableMultiDict[str, Any]) -> dict[str, Any]:
        """Return the fields of a form or query by name, each as its annotation needs it."""
        schema = self.schema
        fields: dict[str, Any] = {}
        for name in given:
            values = given.getlist(name)
            fields[name] = values if name in schema.repeated else values[-1]
            if name in schema.nested and isinstance(fields[name], str):
                try:
                    fields[name] = json.loads(fields[name])
                except ValueError as error:
                    problem = {"at": name, "problem": f"the field is no JSON: {error}", "found": fields[name][:100]}
                    raise InvalidInput("1 problem with the arguments", problems=[problem], where=self.where) from None
        return fields

    def _validated(self, given: ImmutableMultiDict[str, Any]) -> dict[str, Any]:
        """Return the arguments; what no parameter has is left to an endpoint that can look at the request itself."""
        schema = self.schema
        fields = self._fields(given)
        try:
            if schema.only is not None and schema.names[0] not in fields:
                return {schema.names[0]: schema.only.validator.validate_python(dict(fields))}
            if schema.given:
                fields = {name: value for name, value in fields.items() if name in schema.names}
            validated: dict[str, Any] = schema.arguments.validator.validate_python(dict(fields))
        except ValidationError as error:
            raise invalid_input(error, where=self.where) from None
        return validated

    async def _respond(self, web: WebRequest, request: Request, arguments: dict[str, Any]) -> Response:
        accept = web.headers.get("accept")
        if self.endpoint.kind == "stream":
            media = formats.chosen(self.schema, accept, where=self.where)
            source = self._function(self._instance, **arguments)
            return await self._started(source, media)
        if self.endpoint.is_async:
            value = await self._function(self._instance, **arguments)
        else:
            context = contextvars.copy_context()
            value = await self._in_thread(lambda: context.run(self._function, self._instance, **arguments))
        if type(value) is Ref:
            value = await value.call
        if isinstance(value, Response):
            if not self.schema.responds:
                raise MotetError("the endpoint returned a Response, which its annotation doesn't promise", where=self.where)
            return value
        request.accept = accept
        answer = formats.answer(self.schema, request, value, where=self.where)
        return Response(bytes(answer.payload.whole()), headers={"content-type": answer.content_type or BYTES})

    async def _started(self, source: Any, media: str) -> Response:
        """Return the answer of a stream once its first item is there, so that an error before it has a status of its own."""
        items = source if self.endpoint.is_async else self._in_threads(source)
        encode = formats.item_encoder(self.schema, media, where=self.where)

        async def encoded() -> AsyncGenerator[bytes]:
            async for value in items:
                item = encode(value)
                yield item if isinstance(item, bytes) else bytes(item.whole())
            if media == EVENTS:
                yield b"event: end\ndata: {}\n\n"

        pieces = encoded()
        first = await anext(pieces, b"")

        async def body() -> AsyncIterator[bytes]:
            try:
                yield first
                async for piece in pieces:
                    yield piece
            finally:
                await pieces.aclose()

        return StreamingResponse(body(), headers={"content-type": media})

    async def _in_threads(self, source: Any) -> AsyncIterator[Any]:
        context = contextvars.copy_context()
        ended = object()
        try:
            while (value := await self._in_thread(lambda: context.run(next, source, ended))) is not ended:
                yield value
        finally:
            await self._in_thread(source.close)

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        """Return what a function gives that runs in a thread; cancelled, it waits for the thread, whose slot isn't free before."""
        outcome = asyncio.ensure_future(self._threads.call(function))
        try:
            return await asyncio.shield(outcome)
        except asyncio.CancelledError:
            await asyncio.wait([outcome])
            raise


def _media(web: WebRequest) -> str:
    return web.headers.get("content-type", "").partition(";")[0].strip().lower()


def _told(error: BaseException) -> BaseException:
    """Return the error that a client hears for one of Starlette's."""
    if isinstance(error, MultiPartException):
        return MalformedRequest("the form can't be read", found=error.message, instead=f"up to {MAX_PARTS} fields and {MAX_PARTS} files")
    if isinstance(error, HTTPException):
        return HTTPError(error.status_code, error.detail, headers=error.headers)
    if isinstance(error, ClientDisconnect | WebSocketDisconnect):
        return MotetError("the client has gone")
    return error
