"""The gateway's process: an HTTP server on the supervisor's socket, with a router of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys

import uvloop
from setproctitle import setproctitle

from motet.engines.local.control import Accept, Apps, Drain, Drained, Hello, Ready, Routed, Stop, connect
from motet.engines.local.directory import Directory
from motet.engines.local.logs import LOG_FORMAT
from motet.gateway.limits import Limits
from motet.gateway.server import Gateway
from motet.linux import die_with_parent
from motet.options import HttpOptions
from motet.runtime.router import Router

log = logging.getLogger("motet.gateway")


def main() -> None:
    """Serve HTTP; the arguments are the listening descriptors, the control socket, this gateway's identity, and the options."""
    descriptors, control, identity = [int(each) for each in sys.argv[1].split(",")], sys.argv[2], sys.argv[3]
    http = HttpOptions.model_validate_json(sys.argv[4])
    setproctitle(f"motet {identity}")
    die_with_parent(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    keys = [key for key in os.environ.pop("MOTET_GATEWAY_KEYS", "").split("\n") if key]
    uvloop.run(_main([socket.socket(fileno=each) for each in descriptors], control, identity, keys, http))


async def _main(listening: list[socket.socket], control: str, identity: str, keys: list[str], http: HttpOptions) -> None:
    connection = await connect(control, Hello(role="gateway", identity=identity, pid=os.getpid()))
    router = Router(asyncio.get_running_loop(), owner=identity)
    directory = Directory(router)
    gateway = Gateway(router, limits=Limits(), api_keys=keys, cors=http.cors, gzip=http.gzip)
    tasks: set[asyncio.Task[None]] = set()

    async def drain(timeout: float) -> None:  # noqa: ASYNC109  # a limit that it keeps by itself
        await gateway.drain(timeout)
        connection.send(Drained())

    async for message in connection:
        if isinstance(message, Routed):
            directory.apply(message)
        elif isinstance(message, Apps):
            gateway.set_apps(message.routes, message.not_ready)
        elif isinstance(message, Accept):
            # Comes after the first routes: without them a gateway would answer 404 for what is there. Until then clients wait.
            await gateway.serve_only([listening[number] for number in message.sockets])
            connection.send(Ready())
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
