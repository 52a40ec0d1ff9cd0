"""The gateway's process: an HTTP server on the supervisor's socket, with a router of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys

import uvloop

from motet.engines.local.control import Apps, Drain, Drained, Hello, Ready, Routed, Stop, connect
from motet.engines.local.directory import Directory
from motet.engines.local.linux import die_with_parent
from motet.engines.local.replica_process import LOG_FORMAT
from motet.gateway.limits import Limits
from motet.gateway.server import Gateway
from motet.runtime.router import Router

log = logging.getLogger("motet.gateway")


def main() -> None:
    """Serve HTTP; the arguments are the listening descriptor, the control socket, and this gateway's identity."""
    descriptor, control, identity = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    die_with_parent(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    keys = [key for key in os.environ.pop("MOTET_GATEWAY_KEYS", "").split("\n") if key]
    uvloop.run(_main(socket.socket(fileno=descriptor), control, identity, keys))


async def _main(listening: socket.socket, control: str, identity: str, keys: list[str]) -> None:
    connection = await connect(control, Hello(role="gateway", identity=identity, pid=os.getpid()))
    router = Router(asyncio.get_running_loop(), owner=identity)
    directory = Directory(router)
    gateway = Gateway(router, limits=Limits(), api_keys=keys)
    serves = False
    tasks: set[asyncio.Task[None]] = set()

    async def drain(timeout: float) -> None:  # noqa: ASYNC109  # a limit that it keeps by itself
        await gateway.drain(timeout)
        connection.send(Drained())

    async for message in connection:
        if isinstance(message, Routed):
            directory.apply(message)
        elif isinstance(message, Apps):
            gateway.set_apps(message.routes, message.not_ready)
            if not serves:  # a gateway without routes would answer 404 for what is there; until then clients wait in the backlog
                await gateway.serve(listening)
                connection.send(Ready())
                serves = True
        elif isinstance(message, Drain):
            task = asyncio.create_task(drain(message.timeout))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        elif isinstance(message, Stop):
            break
    await gateway.close()
    directory.close()


if __name__ == "__main__":
    main()
