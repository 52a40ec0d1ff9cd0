"""The process that fetches assets: whoever started it goes on with other work meanwhile, and can end it at any moment."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable

import msgspec
from setproctitle import setproctitle

from motet.assets.downloading import LIMITS, Download
from motet.assets.hub import HubDownload
from motet.assets.tasks import Failed, Note, Order, Progress, Ready, Task, Told, UrlTask
from motet.errors import FetchError
from motet.fetching import Fetcher
from motet.linux import die_with_parent

AT_ONCE = 4  # downloads
TELL_INTERVAL = 0.25  # s between two messages of how far one is

_Tell = Callable[[Told], None]


def main() -> None:
    """Fetch what the parent orders over a socket, and end with it; the arguments are the socket's descriptor and the parent's id."""
    setproctitle("motet assets")
    die_with_parent(int(sys.argv[2]))
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        with connection.makefile("rb") as stream:
            order = msgspec.json.decode(stream.readline(), type=Order)
        asyncio.run(_fetch(order, connection))


async def _fetch(order: Order, connection: socket.socket) -> None:
    def tell(message: Told) -> None:
        connection.sendall(msgspec.json.encode(message) + b"\n")

    slots = asyncio.Semaphore(AT_ONCE)
    running = [asyncio.ensure_future(_one(number, task, slots, tell)) for number, task in enumerate(order.tasks)]
    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
    if any(task.exception() is not None for task in done):
        os._exit(1)  # it has been told; threads that still fetch end here


async def _one(number: int, task: Task, slots: asyncio.Semaphore, tell: _Tell) -> None:
    async with slots:
        try:
            tell(await _run(number, task, tell))
        except FetchError as error:
            tell(Failed(number, error.message, where=error.where, found=error.found, instead=error.instead))
            raise
        except Exception as error:
            tell(Failed(number, f"{type(error).__name__}: {error}"))
            raise


async def _run(number: int, task: Task, tell: _Tell) -> Ready:
    loop = asyncio.get_running_loop()
    told = 0.0

    def progress(done: int, total: int | None) -> None:
        nonlocal told
        if (now := time.monotonic()) - told >= TELL_INTERVAL:
            told = now
            loop.call_soon_threadsafe(tell, Progress(number, done, total))

    def note(text: str) -> None:
        loop.call_soon_threadsafe(tell, Note(number, text))

    if isinstance(task, UrlTask):
        download = Download(task, Fetcher(limits=LIMITS), progress=progress, note=note)
        path = await download.run()
        received = download.received
    else:
        model = HubDownload(task, progress=progress, note=note)
        path = await asyncio.to_thread(model.run)
        received = model.received
    await asyncio.sleep(0)  # what was said from threads comes before the end
    return Ready(number, str(path), received)


if __name__ == "__main__":
    main()
