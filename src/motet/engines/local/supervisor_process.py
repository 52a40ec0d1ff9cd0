"""The supervisor of `motet.run`: a process of its own, so that nothing of the user's runs in it; it ends with its owner."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys

import msgspec
import uvloop
from setproctitle import setproctitle

from motet.engines.hardware import detect
from motet.engines.local.control import Answer, ControlConnection, Hello
from motet.engines.local.descriptors import allow_many_descriptors
from motet.engines.local.listening import listen, url_of
from motet.engines.local.logs import LOG_FORMAT
from motet.engines.local.processes import until_end
from motet.engines.local.supervisor import Supervisor
from motet.errors import MotetError
from motet.options import HttpOptions
from motet.wire import failure

log = logging.getLogger("motet.supervisor")


def main() -> None:
    """Run until the owner closes the socket.

    The arguments are its descriptor, the owner's program, a port or `-`, how HTTP is served, and what the machine is taken to have.
    """
    descriptor, target, port = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    http = HttpOptions.model_validate_json(sys.argv[4])
    resources = msgspec.json.decode(sys.argv[5], type=dict[str, float])
    setproctitle(f"motet supervisor {target}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner's Ctrl-C is the owner's decision
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT)
    uvloop.run(_main(socket.socket(fileno=descriptor), target, None if port == "-" else int(port), http, resources))


async def _main(owner: socket.socket, target: str, port: int | None, http: HttpOptions, resources: dict[str, float]) -> None:
    reader, writer = await asyncio.open_connection(sock=owner)
    connection = ControlConnection(reader, writer)
    hello = await connection.receive()
    if not isinstance(hello, Hello):
        return
    try:
        machine = detect().declared(resources)
        if port is not None:
            allow_many_descriptors()
        listening = listen("127.0.0.1", port, count=http.gateways) if port is not None else ()
        url = url_of(listening[0]) if listening else None
        supervisor = Supervisor(target=target, listening=listening, url=url, http=http, report=_report, machine=machine)
        await supervisor.start()
    except MotetError as error:
        connection.send(Answer(0, failure=failure.record(error, endpoint="start", replica="supervisor")))
        await connection.close()
        return
    connection.send(Answer(0, status=supervisor.status()))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lambda: loop.create_task(supervisor.stop()))
    attending = asyncio.create_task(supervisor.reception.attend(connection, hello))
    ended = asyncio.create_task(supervisor.ended.wait())
    alone = asyncio.create_task(until_end(hello.pid))  # processes that the owner forked may hold its end of the socket open
    await asyncio.wait([attending, ended, alone], return_when=asyncio.FIRST_COMPLETED)
    if not supervisor.ended.is_set():  # the owner died, or left without saying goodbye
        supervisor.kill()
        with contextlib.suppress(Exception):
            await supervisor.stop()
    await connection.close()


def _report(line: str) -> None:
    if " ready in " not in line:
        log.warning("%s", line)


if __name__ == "__main__":
    main()
