"""The local engine as `motet.run` uses it: a client of a supervisor that it starts."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import sys
from collections.abc import Mapping

import msgspec

from motet.engines.interface import ServerStatus
from motet.engines.local.control import Answer, AskStatus, ControlConnection, Delete, Deploy, Hello, Routed, Shutdown
from motet.engines.local.directory import Directory
from motet.engines.local.plan import plan_graph, recipe_of_this_process
from motet.engines.local.processes import end_of, start_process
from motet.errors import StartError, Unavailable
from motet.graph import Graph
from motet.options import HttpOptions
from motet.runtime.caller import Caller
from motet.runtime.plans import HandleSpec
from motet.runtime.router import Router
from motet.secret_sources import ENVIRONMENT, Sources
from motet.wire import failure
from motet.wire.memory import open_pool


class LocalEngine:
    """Runs apps as supervised processes of this machine.

    Args:
        port: of the loopback interface to serve HTTP on; 0 for any free one, None for no HTTP.
        http: how it is served.
        resources: what the machine is taken to have, in the place of what is found.
    """

    name = "local"

    def __init__(self, *, port: int | None = None, http: HttpOptions | None = None, resources: Mapping[str, float] | None = None) -> None:
        self._resources = dict(resources or {})
        self._port = port
        self._http = http or HttpOptions()
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._abandoned: dict[str, asyncio.Task[None]] = {}  # starts of apps that nobody waits for any more
        self._ended = False
        self._pid = 0

    @property
    def caller(self) -> Caller:
        """What makes calls to the apps."""
        return self._caller

    async def start(self) -> None:
        """Start the supervisor.

        Raises:
            StartError: it can't be started: the port is taken, say.
        """
        loop = asyncio.get_running_loop()
        open_pool()
        sys.modules.setdefault("__mp_main__", sys.modules["__main__"])  # the name that replicas know a script by
        self._router = Router(loop, owner=f"pid {os.getpid()}")
        self._directory = Directory(self._router)
        self._caller = Caller(self._router, loop)
        ours, theirs = socket.socketpair()
        target = sys.argv[0] or "python"
        self._pid = start_process(
            "motet.engines.local.supervisor_process",
            str(theirs.fileno()),
            target,
            str(self._port) if self._port is not None else "-",
            self._http.model_dump_json(),
            msgspec.json.encode(self._resources).decode(),
            descriptors=(theirs.fileno(),),
        )
        theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=2**20)
        self._connection = ControlConnection(reader, writer)
        started = self._expect(0)
        self._connection.send(Hello(role="client", identity=f"client {os.getpid()}", pid=os.getpid()))
        self._listening = loop.create_task(self._listen())
        try:
            await self._result(started)
        except BaseException as error:
            await self._close()
            if isinstance(error, Unavailable):
                raise StartError(error.message, instead=error.instead) from None
            raise

    async def _listen(self) -> None:
        async for message in self._connection:
            if isinstance(message, Routed):
                self._directory.apply(message)
            elif isinstance(message, Answer) and (future := self._answers.pop(message.number, None)) is not None and not future.done():
                future.set_result(message)
        self._router.close()
        self._ended = True
        for future in self._answers.values():
            if not future.done():
                future.set_exception(_supervisor_died())
        self._answers.clear()

    def _expect(self, number: int) -> asyncio.Future[Answer]:
        if self._ended:
            raise _supervisor_died()
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answers[number] = future
        return future

    async def _result(self, future: asyncio.Future[Answer]) -> Answer:
        answer = await future
        if answer.failure is not None:
            raise failure.rebuild(answer.failure)
        return answer

    async def deploy(self, graph: Graph, sources: Sources = ENVIRONMENT) -> HandleSpec:
        """Start an app; services start in parallel."""
        plan = plan_graph(graph)
        sources = sources.with_environment(plan.secret_names)
        if (abandoned := self._abandoned.get(graph.name)) is not None:
            await asyncio.wait([abandoned])
        number = next(self._numbers)
        future = self._expect(number)
        self._connection.send(Deploy(number, plan, recipe_of_this_process(), sources))
        try:
            answer = await self._result(asyncio.shield(future))
        except asyncio.CancelledError:
            self._abandoned[graph.name] = asyncio.get_running_loop().create_task(self._abandon(graph.name, future))
            raise
        if answer.handle is None:
            message = "the supervisor sent no handle"
            raise Unavailable(message)
        return answer.handle

    async def _abandon(self, app: str, started: asyncio.Future[Answer]) -> None:
        """Stop an app whose start was cancelled, whatever that is doing; what can't be stopped yet is as soon as it stands."""
        try:
            with contextlib.suppress(Exception):  # its code is still being loaded
                await self.delete(app)
            with contextlib.suppress(Exception):  # it isn't there, then
                await self._result(started)
                await self.delete(app)
        finally:
            del self._abandoned[app]

    async def delete(self, app: str) -> None:
        """Stop an app; one whose supervisor has died has ended with it."""
        number = next(self._numbers)
        with contextlib.suppress(Unavailable):
            future = self._expect(number)
            self._connection.send(Delete(number, app))
            await self._result(future)

    async def status(self) -> ServerStatus:
        """Return what runs."""
        number = next(self._numbers)
        future = self._expect(number)
        self._connection.send(AskStatus(number))
        answer = await self._result(future)
        if answer.status is None:
            message = "the supervisor sent no status"
            raise Unavailable(message)
        return answer.status

    async def stop(self) -> None:
        """Stop everything, the supervisor last."""
        number = next(self._numbers)
        with contextlib.suppress(Unavailable):  # it has died already: everything that it had started has, too
            future = self._expect(number)
            self._connection.send(Shutdown(number))
            await self._result(future)
        await self._close()

    async def _close(self) -> None:
        self._directory.close()
        self._router.close()
        await self._connection.close()
        await self._listening
        await end_of(self._pid)


def _supervisor_died() -> Unavailable:
    return Unavailable("the supervisor died", instead="see its output above")
