"""The supervisor's control socket: who connects, what they say, and what they are told."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from motet.engines.local.control import (
    Answer,
    AskStatus,
    Busy,
    ControlConnection,
    ControlMessage,
    Delete,
    Deploy,
    Drained,
    Entrusted,
    Failed,
    Hello,
    Ready,
    Routed,
    Shutdown,
)
from motet.engines.local.processes import Home, Zygote
from motet.wire import failure

if TYPE_CHECKING:
    from motet.engines.local.records import ReplicaRecord
    from motet.engines.local.slots import Slot
    from motet.engines.local.supervisor import Supervisor

log = logging.getLogger("motet.supervisor")


class Reception:
    """Serves the connections of replicas, gateways, clients of `motet.run`, and visitors such as `motet ps`."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._callers: set[ControlConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def publish(self, routed: Routed) -> None:
        """Tell everybody who makes calls of the replicas of a node."""
        for connection in self._callers:
            connection.send(routed)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection to the control socket."""
        connection = ControlConnection(reader, writer)
        hello = await connection.receive() if connection.is_own else None
        if isinstance(hello, Hello):
            await self.attend(connection, hello)
        await connection.close()

    async def attend(self, connection: ControlConnection, hello: Hello) -> None:
        """Serve a connection until it ends."""
        hear = await self._greet(connection, hello)
        if hear is None:
            return
        try:
            async for message in connection:
                hear(message)
        finally:
            self._callers.discard(connection)

    async def _greet(self, connection: ControlConnection, hello: Hello) -> Callable[[ControlMessage], None] | None:
        """Tell a process what it has to know first; returns what takes its messages, or None where it isn't served."""
        gateway = self._supervisor.gateway
        if hello.role == "replica":
            found = self._find(hello.identity)
            if found is None or not await _is_process_of(connection, found[1]):
                return None
            prepared = found[1].prepared
            connection.send(Entrusted(dict(prepared.secrets), dict(prepared.variables)))
            self._add_caller(connection)
            found[1].connection = connection
            return partial(self._hear_replica, *found)
        if hello.role == "gateway" and gateway is not None:
            self._add_caller(connection)
            gateway.connected(hello, connection)
            return partial(gateway.hear, hello)
        if hello.role != "visitor":
            self._add_caller(connection)
        return lambda message: self._keep(self._serve_client(connection, message))

    def _add_caller(self, connection: ControlConnection) -> None:
        self._callers.add(connection)
        for slot in self._supervisor.slots():
            connection.send(slot.routed())

    def _find(self, identity: str) -> tuple[Slot, ReplicaRecord] | None:
        for slot in self._supervisor.slots():
            if (record := slot.record(identity)) is not None:
                return slot, record
        return None

    def _hear_replica(self, slot: Slot, record: ReplicaRecord, message: object) -> None:
        if isinstance(message, Ready) and record.lifecycle.allows("started"):
            slot.on_ready(record)
            self._supervisor.report(f"{record.identity} ready in {time.monotonic() - record.begun:.2f} s (pid {record.pid})")
        elif isinstance(message, Failed):
            record.failure = message.failure
        elif isinstance(message, Busy):
            record.busy = message.count
            record.counted.set()
        elif isinstance(message, Drained):
            record.drained.set()

    async def _serve_client(self, connection: ControlConnection, message: object) -> None:
        supervisor = self._supervisor
        number = getattr(message, "number", 0)
        try:
            if isinstance(message, Deploy):
                zygote = await self._zygote_for(message)
                connection.send(Answer(number, handle=await supervisor.deploy(message.plan, zygote)))
            elif isinstance(message, Delete):
                await supervisor.delete(message.app)
                await supervisor.close_unused_zygotes()
                connection.send(Answer(number))
            elif isinstance(message, AskStatus):
                await supervisor.count_calls()
                connection.send(Answer(number, status=supervisor.status()))
            elif isinstance(message, Shutdown):
                await supervisor.stop()
                connection.send(Answer(number))
        except Exception as error:  # noqa: BLE001  # it is the client's to see
            connection.send(Answer(number, failure=failure.record(error, endpoint="deploy", replica="supervisor")))

    async def _zygote_for(self, message: Deploy) -> Zygote:
        """Return a zygote with the client's code: a new one for each deployment, since the code may have changed in between."""
        zygote = await self._supervisor.new_zygote(Home.of_server(message.sources))
        classes = tuple(dict.fromkeys(node.cls for node in message.plan.nodes if node.cls_by_value is None))
        try:
            await zygote.load(message.recipe, use_main=message.plan.uses_main, classes=classes, secrets=message.plan.secret_names)
        except BaseException:
            await zygote.kill()
            raise
        return zygote

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _is_process_of(connection: ControlConnection, record: ReplicaRecord) -> bool:
    """Whether a connection is that of a replica's own process: others of this user aren't given its secrets."""
    await record.born.wait()  # a process may be here before the zygote has told its id, which nobody else has until it is reaped
    if connection.peer == record.pid and record.connection is None:
        return True
    if not record.gone.is_set():
        log.warning("process %d isn't the replica %s that it says to be", connection.peer, record.identity)
    return False
