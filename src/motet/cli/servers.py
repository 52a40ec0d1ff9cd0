"""This user's servers on this machine: which are alive, and what they say of themselves."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from motet.engines.interface import ServerStatus
from motet.engines.local.control import Answer, AskStatus, Hello, connect
from motet.engines.local.folder import ServerCard, servers

ANSWER_WAIT = 3.0  # s


@dataclass(frozen=True, kw_only=True)
class Server:
    """A living server; `status` is None if it didn't answer."""

    card: ServerCard
    status: ServerStatus | None


async def living_servers() -> list[Server]:
    """Return this user's servers, the oldest first."""
    found = sorted(servers(), key=lambda server: server[1].started)
    return list(await asyncio.gather(*(_ask(folder, card) for folder, card in found)))


async def _ask(folder: Path, card: ServerCard) -> Server:
    try:
        async with asyncio.timeout(ANSWER_WAIT):
            connection = await connect(str(folder / "control"), Hello(role="visitor", identity=f"visitor {os.getpid()}", pid=os.getpid()))
            connection.send(AskStatus(1))
            answer = await connection.receive()
            await connection.close()
    except (OSError, TimeoutError):
        return Server(card=card, status=None)
    return Server(card=card, status=answer.status if isinstance(answer, Answer) else None)
