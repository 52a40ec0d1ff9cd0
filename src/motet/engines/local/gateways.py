"""Keeping a gateway process alive on a listening socket that outlives it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from motet.engines.local.control import Apps, ControlConnection, Drain, Drained, Hello, Ready, Stop
from motet.engines.local.linux import exit_text
from motet.engines.local.processes import exit_status, kill, start_process
from motet.gateway.routes import AppRoutes

BACKOFF = (0.0, 0.1, 0.5, 1.0, 5.0)  # s before a gateway that died is started again, by deaths in a row


class GatewayKeeper:
    """Starts the gateway, starts it anew when it dies, and tells it what to serve."""

    def __init__(self, listening: socket.socket, control: Path, *, api_keys: tuple[str, ...], report: Callable[[str], None]) -> None:
        self._listening = listening
        self._control = control
        self._keys = api_keys
        self._report = report
        self._connection: ControlConnection | None = None
        self._apps = Apps(routes=(), not_ready={})
        self._pid = 0
        self._count = 0
        self._deaths = 0
        self._stopping = False
        self._drained = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.ready = asyncio.Event()

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the gateways that run."""
        return (self._pid,) if self._pid else ()

    def start(self) -> None:
        """Start the process and go on keeping it alive."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while not self._stopping:
            self._count += 1
            environment = {
                **os.environ,
                "MOTET_GATEWAY_KEYS": "\n".join(self._keys),
            }  # not on a command line, where everybody could read them
            descriptor = self._listening.fileno()
            try:
                self._pid = start_process(
                    "motet.engines.local.gateway_process",
                    str(descriptor),
                    str(self._control),
                    f"gateway#{self._count}",
                    descriptors=(descriptor,),
                    environment=environment,
                )
            except OSError as error:  # no memory, or too many processes
                end = f"couldn't be started ({error})"
            else:
                end = f"died ({exit_text(await exit_status(self._pid))})"
            self._pid = 0
            self._connection = None
            self.ready.clear()
            self._drained.set()  # nobody is left who could say so
            if not self._stopping:
                delay = BACKOFF[min(self._deaths, len(BACKOFF) - 1)]
                self._deaths += 1
                self._report(f"the gateway {end}; a new one starts in {delay:g} s")
                await asyncio.sleep(delay)

    def connected(self, hello: Hello, connection: ControlConnection) -> None:
        """Take the connection of a gateway that has come up."""
        if hello.identity == f"gateway#{self._count}":
            self._connection = connection
            connection.send(self._apps)

    def hear(self, hello: Hello, message: object) -> None:
        """Take a message of a gateway."""
        if hello.identity != f"gateway#{self._count}":
            return
        if isinstance(message, Ready):
            self._deaths = 0
            self.ready.set()
        elif isinstance(message, Drained):
            self._drained.set()

    def tell(self, routes: tuple[AppRoutes, ...], not_ready: Mapping[str, str]) -> None:
        """Tell the gateway what to serve."""
        apps = Apps(routes=routes, not_ready=dict(not_ready))
        if apps != self._apps:
            self._apps = apps
            if self._connection is not None:
                self._connection.send(apps)

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109  # a limit that it keeps by itself
        """Have it finish what it has and take nothing new."""
        self._stopping = True
        if self._connection is not None:
            self._connection.send(Drain(timeout))
            try:
                async with asyncio.timeout(timeout + 1):
                    await self._drained.wait()
            except TimeoutError:
                self._report("the gateway didn't finish draining")

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
        self._listening.close()

    def kill(self) -> None:
        """End it at once."""
        self._stopping = True
        if self._pid:
            kill(self._pid)
