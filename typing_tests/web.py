"""Endpoints with requests, forms, WebSockets and web applications, as both checkers see them."""

from collections.abc import Callable
from typing import assert_type

from starlette.applications import Starlette

import motet


class Web(motet.Service):
    @motet.endpoint(methods=("GET", "POST"), form=True)
    async def find(self, word: str) -> list[str]:
        return [word]

    @motet.endpoint
    async def page(self, request: motet.Request) -> motet.Response:
        return motet.Response(request.headers["a"])

    @motet.endpoint
    async def upload(self, file: motet.UploadFile) -> bytes:
        return await file.read()

    @motet.endpoint
    async def talk(self, socket: motet.WebSocket) -> None:
        await socket.accept()

    @motet.ingress
    def app(self) -> Starlette:
        return Starlette()

    @motet.endpoint(methods=("FETCH",))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async def wrong(self) -> int:
        return 1


async def use(web: Web) -> None:
    assert_type(web.find("a"), motet.Call[list[str]])
    assert_type(await web.find("a"), list[str])
    assert_type(web.app(), Starlette)
    mounted: motet.Mounted = motet.asgi(web, engine="local")
    _: Callable[..., object] = mounted
