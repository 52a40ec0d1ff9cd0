"""Keeping gateway processes alive on listening sockets that outlive them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from motet.engines.local.control import Accept, Apps, ControlConnection, Drain, Drained, Hello, Ready, Stop
from motet.engines.local.processes import exit_status, kill, start_process
from motet.gateway.routes import AppRoutes
from motet.linux import exit_text
from motet.options import HttpOptions

BACKOFF = (0.0, 0.1, 0.5, 1.0, 5.0)  # s before a gateway that died is started again, by deaths in a row


class GatewayKeeper:
    """Starts one gateway, starts it anew when it dies, and tells it what to serve.

    Args:
        number: of its listening socket.
        gateways: that it is one of.
    """

    def __init__(self, number: int, gateways: Gateways) -> None:
        self.name = f"gateway {number + 1}" if len(gateways.listening) > 1 else "the gateway"
        self._number = number
        self._gateways = gateways
        self._connection: ControlConnection | None = None
        self.pid = 0
        self._count = 0
        self._deaths = 0
        self._stopping = False
        self._drained = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.ready = asyncio.Event()

    @property
    def identity(self) -> str:
        """Name of the process, different each time that it is started."""
        return f"gateway-{self._number}#{self._count}"

    def start(self) -> None:
        """Start the process and go on keeping it alive."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while not self._stopping:
            self._count += 1
            self._drained.clear()
            try:
                self.pid = self._gateways.start_process(self.identity)
            except OSError as error:  # no memory, or too many processes
                end = f"couldn't be started ({error})"
            else:
                end = f"died ({exit_text(await exit_status(self.pid))})"
            self.pid = 0
            self._connection = None
            self.ready.clear()
            self._drained.set()  # nobody is left who could say so
            if not self._stopping:
                delay = BACKOFF[min(self._deaths, len(BACKOFF) - 1)]
                self._deaths += 1
                self._gateways.report(f"{self.name} {end}; a new one starts in {delay:g} s")
                self._gateways.share_sockets()
                await asyncio.sleep(delay)

    def connected(self, connection: ControlConnection) -> None:
        """Take the connection of the process, which has come up."""
        self._connection = connection
        connection.send(self._gateways.apps)
        connection.send(Accept((self._number,)))

    def hear(self, message: object) -> None:
        """Take a message of the process."""
        if isinstance(message, Ready) and not self.ready.is_set():
            self._deaths = 0
            self.ready.set()
            self._gateways.share_sockets()
        elif isinstance(message, Drained):
            self._drained.set()

    def send(self, message: Apps | Accept) -> None:
        """Tell the process something, if it is there."""
        if self._connection is not None:
            self._connection.send(message)

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109  # a limit that it keeps by itself
        """Have it finish what it has and take nothing new."""
        self._stopping = True
        if self._connection is not None:
            self._connection.send(Drain(timeout))
            try:
                async with asyncio.timeout(timeout + 1):
                    await self._drained.wait()
            except TimeoutError:
                self._gateways.report(f"{self.name} didn't finish draining")

    async def stop(self) -> None:
        """End it."""
        self._stopping = True
        if self._connection is not None:
            self._connection.send(Stop())
        else:
            self.kill()  # it hasn't come up yet: it has nothing to finish
        if self._task is not None:
            try:
                async with asyncio.timeout(5):
                    await asyncio.shield(self._task)
            except TimeoutError:
                self.kill()
                await self._task

    def kill(self) -> None:
        """End it at once."""
        self._stopping = True
        if self.pid:
            kill(self.pid)


class Gateways:
    """All gateways of a server, one for each listening socket.

    Args:
        listening: sockets of one port.
        control: socket of the supervisor.
        api_keys: that clients must send one of.
        http: how HTTP is served.
        report: gets a line for each thing that a person should know.
    """

    def __init__(
        self,
        listening: Sequence[socket.socket],
        control: Path,
        *,
        api_keys: tuple[str, ...],
        http: HttpOptions,
        report: Callable[[str], None],
    ) -> None:
        self.listening = listening
        self.report = report
        self.apps = Apps(routes=(), not_ready={})
        self._control = control
        self._keys = api_keys
        self._http = http
        self._keepers = [GatewayKeeper(number, self) for number in range(len(listening))]

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the gateways that run."""
        return tuple(keeper.pid for keeper in self._keepers if keeper.pid)

    def start(self) -> None:
        """Start the processes and go on keeping them alive."""
        for keeper in self._keepers:
            keeper.start()

    def start_process(self, identity: str) -> int:
        """Start a gateway and return its process id; each has all sockets, to help out."""
        environment = {**os.environ, "MOTET_GATEWAY_KEYS": "\n".join(self._keys)}  # not on a command line, where everybody could read them
        descriptors = tuple(each.fileno() for each in self.listening)
        return start_process(
            "motet.engines.local.gateway_process",
            ",".join(map(str, descriptors)),
            str(self._control),
            identity,
            self._http.model_dump_json(),
            descriptors=descriptors,
            environment=environment,
        )

    def share_sockets(self) -> None:
        """Tell those that are up whose sockets to take connections from: while a gateway is down, the first takes its clients."""
        ready = [number for number, keeper in enumerate(self._keepers) if keeper.ready.is_set()]
        down = tuple(number for number in range(len(self._keepers)) if number not in ready)
        for number in ready:
            self._keepers[number].send(Accept((number, *down) if number == ready[0] else (number,)))

    async def until_ready(self) -> None:
        """Wait until all take requests."""
        await asyncio.gather(*(keeper.ready.wait() for keeper in self._keepers))

    def _keeper(self, hello: Hello) -> GatewayKeeper | None:
        return next((keeper for keeper in self._keepers if keeper.identity == hello.identity), None)

    def connected(self, hello: Hello, connection: ControlConnection) -> None:
        """Take the connection of a gateway that has come up."""
        if (keeper := self._keeper(hello)) is not None:
            keeper.connected(connection)

    def hear(self, hello: Hello, message: object) -> None:
        """Take a message of a gateway."""
        if (keeper := self._keeper(hello)) is not None:
            keeper.hear(message)

    def tell(self, routes: tuple[AppRoutes, ...], not_ready: Mapping[str, str]) -> None:
        """Tell the gateways what to serve."""
        apps = Apps(routes=routes, not_ready=dict(not_ready))
        if apps != self.apps:
            self.apps = apps
            for keeper in self._keepers:
                keeper.send(apps)

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109  # a limit that it keeps by itself
        """Have all finish what they have and take nothing new."""
        await asyncio.gather(*(keeper.drain(timeout) for keeper in self._keepers))

    async def stop(self) -> None:
        """End all."""
        await asyncio.gather(*(keeper.stop() for keeper in self._keepers))
        for each in self.listening:
            each.close()

    def kill(self) -> None:
        """End all at once."""
        for keeper in self._keepers:
            keeper.kill()
