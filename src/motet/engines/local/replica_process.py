"""A replica's process: constructs the service, listens for callers, and does as the supervisor says."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import uvloop
from setproctitle import setproctitle

from motet import redaction
from motet.absent import set_place
from motet.context import Context
from motet.engines.hardware import visible_cards
from motet.engines.local.control import (
    Busy,
    ControlConnection,
    Count,
    Drain,
    Drained,
    Entrusted,
    Failed,
    Hello,
    Ready,
    Routed,
    Spawn,
    Stop,
    connect,
)
from motet.engines.local.directory import Directory
from motet.engines.local.given import Threads, take_what_was_given
from motet.engines.local.listener import Listener
from motet.engines.local.logs import log_as_replica
from motet.engines.local.plan import NodePlan
from motet.graph import Dependency, map_dependencies
from motet.options import CallOptions
from motet.runtime.caller import Caller
from motet.runtime.handle import Handle
from motet.runtime.replica import Replica, ReplicaSpec
from motet.runtime.router import Router
from motet.runtime.watch import LoopWatch
from motet.service import definition_of
from motet.wire import codec, failure, names
from motet.wire.memory import open_pool
from motet.wire.payload import Payload

BUSY_INTERVAL = 1.0  # s between reports of how much runs


def run_replica(message: Spawn) -> None:
    """Be a replica until told to stop; ends the process."""
    setproctitle(f"motet replica {message.identity}")
    set_place(environment=message.environment, service=message.node.name)
    _fresh_process(message)
    threads = take_what_was_given(message.placement, message.node.options)
    code = 1
    try:
        code = uvloop.run(_main(message, threads))
    except KeyboardInterrupt:
        code = 130
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # threads of the user's own don't keep a stopped replica alive


def _fresh_process(message: Spawn) -> None:
    """Undo what a fork shares and shouldn't: process group, signal handling, random state; and go to the service's folder."""
    if message.working_dir is not None:
        os.chdir(message.working_dir)
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)  # what this process leaves behind ends with it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the supervisor stops replicas over their connection, after draining
    log_as_replica()
    random.seed()
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        numpy.random.seed()
    if torch is not None:
        torch.seed()


def node_class(node: NodePlan) -> type:
    """Return a node's class: imported, or made from its bytes."""
    loaded: Any = cloudpickle.loads(node.cls_by_value) if node.cls_by_value is not None else names.load_class(node.cls)
    if not isinstance(loaded, type):
        message = f"{node.cls} is no class"
        raise TypeError(message)
    return loaded


def node_arguments(node: NodePlan) -> dict[str, object]:
    """Return a node's constructor arguments, with `Dependency` for what it depends on."""
    arguments: dict[str, object] = codec.decode(Payload(node.arguments[0], node.arguments[1:]))
    return arguments


async def _main(message: Spawn, threads: Threads) -> int:
    loop = asyncio.get_running_loop()
    threads.prepare_executor(loop)
    connection = await connect(message.control, Hello(role="replica", identity=message.identity, pid=os.getpid()))
    entrusted = await connection.receive()
    if not isinstance(entrusted, Entrusted):  # the supervisor died, or wants this replica no more
        return 1
    redaction.hide(entrusted.secrets.values())
    router = Router(loop, owner=message.identity)
    directory = Directory(router)
    host = _Host(message, connection, directory, Caller(router, loop), threads=threads, entrusted=entrusted)
    watch = LoopWatch(owner=message.identity, busy=lambda: host.busy > 0)
    listening = asyncio.create_task(host.listen_to_supervisor())
    try:
        await host.start()
    except Exception as error:  # noqa: BLE001  # whatever the constructor raises
        connection.send(Failed(failure.record(error, endpoint=f"{message.address}.__init__", replica=message.identity)))
        await connection.close()
        return 1
    await listening
    watch.close()
    router.close()
    directory.close()
    return 0


class _Host:
    """One replica with its server socket and its supervisor."""

    def __init__(
        self, message: Spawn, connection: ControlConnection, directory: Directory, caller: Caller, *, threads: Threads, entrusted: Entrusted
    ) -> None:
        self._message = message
        self._threads = threads
        self._entrusted = entrusted
        self._connection = connection
        self._directory = directory
        self._caller = caller
        self._replica: Replica | None = None
        self._listener: Listener | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._called = {spec.address for spec in message.handles.values()}  # connections to all others would be of no use

    @property
    def busy(self) -> int:
        """Requests that run or wait."""
        return self._replica.busy if self._replica is not None else 0

    async def start(self) -> None:
        """Construct the service and listen for callers."""
        message = self._message
        definition = definition_of(node_class(message.node))
        arguments = {name: map_dependencies(value, self._handle) for name, value in node_arguments(message.node).items()}
        config = message.node.options
        os.environ.update(self._entrusted.secrets)
        open_pool()
        Path(message.data).mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  # nothing is served yet
        context = Context(
            app=message.app,
            service=message.node.name,
            replica=message.identity,
            engine="local",
            data_dir=Path(message.data),
            secrets=self._entrusted.secrets,
            environment={**self._entrusted.variables, **config.environment.env},
            assets={name: Path(path) for name, path in message.assets.items()},
            gpus=visible_cards(os.environ),
        )
        replica = Replica(
            ReplicaSpec(
                definition=definition,
                arguments=arguments,
                config=config,
                node=message.address,
                identity=message.identity,
                context=context,
                prepare_thread=self._threads.prepare,
            )
        )
        await replica.start()
        self._replica = replica
        self._listener = Listener(replica, message.socket)
        self._connection.send(Ready())
        self._keep(self._report(replica))

    def _handle(self, dependency: Dependency) -> object:
        spec = self._message.handles[dependency.name]
        return Handle(spec, self._caller, dependency.options.over(CallOptions()))

    def _keep(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _report(self, replica: Replica) -> None:
        told = 0
        while True:
            await asyncio.sleep(BUSY_INTERVAL)
            if replica.busy != told:
                told = replica.busy
                self._connection.send(Busy(told))

    async def listen_to_supervisor(self) -> None:
        """Follow the supervisor's messages until it says stop, or is gone."""
        async for message in self._connection:
            if isinstance(message, Routed):
                if message.address in self._called:
                    self._directory.apply(message)
            elif isinstance(message, Count):
                self._connection.send(Busy(self.busy))
            elif isinstance(message, Drain):
                self._keep(self._drain(message.timeout))
            elif isinstance(message, Stop):
                break
        else:
            os._exit(1)  # the supervisor died
        if self._replica is None:
            os._exit(0)  # stopped while it was being constructed
        if self._listener is not None:
            self._listener.close()
        await self._replica.stop()

    async def _drain(self, timeout: float) -> None:  # noqa: ASYNC109  # a limit that it keeps by itself
        if self._replica is not None:
            await self._replica.drain(timeout)
        self._connection.send(Drained())
