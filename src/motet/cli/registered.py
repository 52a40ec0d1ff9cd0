"""Letting `motet ps` and `motet call` find a server that has no supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator

import msgspec

from motet.engines.interface import Engine
from motet.engines.local.control import Answer, AskStatus, ControlConnection, Hello
from motet.engines.local.folder import RuntimeFolder, ServerCard


@contextlib.asynccontextmanager
async def registered(engine: Engine, *, target: str, url: str) -> AsyncGenerator[None]:
    """Have this process listed among the user's servers, and answer those who ask for its status."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = ControlConnection(reader, writer)
        if connection.is_own and isinstance(await connection.receive(), Hello):
            async for message in connection:
                if isinstance(message, AskStatus):
                    status = msgspec.structs.replace(await engine.status(), url=url)
                    connection.send(Answer(message.number, status=status))
        await connection.close()

    folder = RuntimeFolder()
    try:
        server = await asyncio.start_unix_server(answer, str(folder.control))
        folder.write_card(ServerCard(pid=os.getpid(), target=target, url=url, started=time.time()))
        yield
        server.close()
    finally:
        folder.remove()
