"""The supervisor: decides what runs, starts and watches it, and tells callers where it is. It is in no request's path."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from motet.engines.interface import AppStatus, ServerStatus
from motet.engines.local.control import (
    Answer,
    AskStatus,
    Busy,
    ControlConnection,
    Delete,
    Deploy,
    Drained,
    Failed,
    Hello,
    Ready,
    Routed,
    Shutdown,
)
from motet.engines.local.folder import RuntimeFolder, ServerCard
from motet.engines.local.gateways import GatewayKeeper
from motet.engines.local.linux import adopt_orphans
from motet.engines.local.plan import AppPlan, NodePlan, Recipe, plan_handle
from motet.engines.local.processes import Zygote
from motet.engines.local.slots import ReplicaRecord, Slot, Surroundings
from motet.errors import MotetError, NotFound, ShuttingDown, StartError, UsageError
from motet.gateway.routes import AppRoutes, EndpointRoute
from motet.runtime.plans import HandleSpec
from motet.wire import failure

log = logging.getLogger("motet.supervisor")

GATEWAY_WAIT = 30.0  # s
COUNT_WAIT = 0.5  # s


@dataclass
class App:
    """A deployed app: its plan and the address of each of its nodes."""

    plan: AppPlan
    addresses: dict[str, str]

    def routes(self) -> AppRoutes:
        """Return what the gateway serves of it."""
        root = self.plan.node(self.plan.root)
        address = self.addresses[root.name]
        endpoints = tuple(
            EndpointRoute(
                path=self.plan.paths[e.name], target=address, endpoint=e.name, kind=e.kind, timeout=e.timeout, idempotent=e.idempotent
            )
            for e in root.endpoints
        )
        return AppRoutes(app=self.plan.name, root=address, endpoints=endpoints, openapi=self.plan.openapi)


class Supervisor:
    """Runs apps as processes of this machine.

    Args:
        target: what is served, for the list of servers.
        listening: socket for HTTP, bound already; None for no gateway.
        url: of that socket.
        api_keys: that HTTP clients must send one of.
        report: gets a line for each thing that a person should know.
    """

    def __init__(
        self,
        *,
        target: str,
        listening: socket.socket | None = None,
        url: str | None = None,
        api_keys: tuple[str, ...] = (),
        report: Callable[[str], None] = log.warning,
    ) -> None:
        self.target = target
        self.url = url
        self.apps: dict[str, App] = {}
        self._slots: dict[str, Slot] = {}
        self._report = report
        self._callers: set[ControlConnection] = set()
        self._zygotes: dict[Recipe, Zygote] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = 0
        self._stopping = False
        self._started = time.time()
        self._listening = listening
        self._api_keys = api_keys
        self._gateway: GatewayKeeper | None = None
        self._server: asyncio.Server | None = None
        self.ended = asyncio.Event()

    async def start(self) -> None:
        """Open the control socket and start the gateway."""
        adopt_orphans()
        self.folder = RuntimeFolder()
        self._server = await asyncio.start_unix_server(self._accept, str(self.folder.control), limit=2**20)
        self.folder.write_card(ServerCard(pid=os.getpid(), target=self.target, url=self.url, started=self._started))
        if self._listening is not None:
            self._gateway = GatewayKeeper(self._listening, self.folder.control, api_keys=self._api_keys, report=self._report)
            self._gateway.start()

    async def new_zygote(self) -> Zygote:
        """Start a zygote; it removes the runtime folder should this process be killed."""
        zygote = Zygote(self.folder.path)
        await zygote.start()
        return zygote

    async def gateway_ready(self) -> None:
        """Wait until the gateway answers.

        Raises:
            StartError: it doesn't come up.
        """
        if self._gateway is not None:
            try:
                async with asyncio.timeout(GATEWAY_WAIT):
                    await self._gateway.ready.wait()
            except TimeoutError:
                raise StartError(
                    "the gateway doesn't come up", found=f"not ready after {GATEWAY_WAIT:g} s", instead="see its output above"
                ) from None

    # -- apps ------------------------------------------------------------------------------------------------------

    async def deploy(self, plan: AppPlan, zygote: Zygote) -> HandleSpec:
        """Start an app; nodes that equal those of running apps are shared with them.

        Raises:
            StartError: a service couldn't be started; nothing of the app is left running.
        """
        self._check_new(plan)
        app = App(plan, {})
        self.apps[plan.name] = app
        if zygote.hazard is not None:
            self._report(f"replicas are started by spawning, not forking, since {zygote.hazard}")
        for notice in plan.notices:
            self._report(f"declared, checked, and not yet acted on: {notice}")
        started = [self._place(app, node, zygote) for node in plan.nodes]
        self._tell_gateway()
        try:
            await asyncio.gather(*(asyncio.shield(slot.settled) for slot in started))  # hears of the first failure at once
        except BaseException:
            await self.delete(plan.name)
            raise
        self._tell_gateway()
        root = plan.node(plan.root)
        return plan_handle(root, app.addresses[root.name])

    def _check_new(self, plan: AppPlan) -> None:
        if self._stopping:
            message = "the server is stopping"
            raise ShuttingDown(message)
        if plan.name in self.apps:
            raise UsageError(f"an app named {plan.name!r} runs already", instead="delete it first, or deploy under another name")
        taken = {path: app.plan.name for app in self.apps.values() for path in app.plan.paths.values()}
        if clash := [path for path in plan.paths.values() if path in taken]:
            raise UsageError(f"the path {clash[0]} is taken", found=f"by the app {taken[clash[0]]!r}", instead="another route")

    def _place(self, app: App, node: NodePlan, zygote: Zygote) -> Slot:
        """Return the slot of a node: one that runs an equal node, or a new one."""
        for slot in self._slots.values():
            if slot.plan.identity == node.identity and slot.lifecycle.state in ("starting", "running"):
                slot.users.add(app.plan.name)
                app.addresses[node.name] = slot.address
                return slot
        slot = self._new_slot(app, node, zygote)
        app.addresses[node.name] = slot.address
        slot.start()
        return slot

    def _new_slot(self, app: App, node: NodePlan, zygote: Zygote) -> Slot:
        number = 1
        while (address := node.name if number == 1 else f"{node.name}-{number}") in self._slots:
            number += 1
        around = Surroundings(
            folder=self.folder.path,
            control=self.folder.control,
            next_number=self._next_number,
            publish=self._publish,
            report=self._report,
            changed=self._tell_gateway,
        )
        slot = Slot(address, app.plan.name, node, zygote, self._handles(app, node, app.addresses), surroundings=around)
        self._slots[address] = slot
        return slot

    def _handles(self, app: App, node: NodePlan, addresses: Mapping[str, str]) -> dict[str, HandleSpec]:
        return {name: plan_handle(app.plan.node(name), addresses[name]) for name in node.dependencies}

    async def update(self, plan: AppPlan, zygote: Zygote) -> list[str]:
        """Bring a running app to a new plan: only nodes whose code, arguments or options changed are replaced, all or none.

        Returns:
            The names of the nodes that were replaced or added.

        Raises:
            StartError: the new version of a node can't be started; the old version of the app runs on.
        """
        old, app = self.apps[plan.name], App(plan, {})
        kept: list[tuple[Slot, NodePlan]] = []
        changed: dict[str, Slot] = {}
        added: dict[str, Slot] = {}
        for node in plan.nodes:  # dependencies first, so that their addresses are known
            slot = self._slots.get(old.addresses.get(node.name, ""))
            if slot is None or slot.users != {plan.name}:
                known = set(self._slots)
                slot = self._place(app, node, zygote)
                if slot.address not in known:
                    added[node.name] = slot
                continue
            app.addresses[node.name] = slot.address
            handles = self._handles(app, node, app.addresses)
            if slot.plan.digest == node.digest and dict(slot.handles) == handles:
                kept.append((slot, node))
            else:
                slot.begin(node, zygote, handles)
                changed[node.name] = slot
        try:
            await asyncio.gather(*(asyncio.shield(slot.settled) for slot in (*changed.values(), *added.values())))
        except BaseException:
            await asyncio.gather(*(slot.roll_back() for slot in changed.values()))
            for slot in added.values():
                await self._leave(slot.address, plan.name)
            raise
        for slot, node in kept:
            slot.adopt(node, zygote)
        self.apps[plan.name] = app
        self._tell_gateway()
        await asyncio.gather(*(slot.commit() for slot in changed.values()))
        for address in reversed([a for a in dict.fromkeys(old.addresses.values()) if a not in app.addresses.values()]):
            await self._leave(address, plan.name)
        return [*changed, *added]

    def uses(self, zygote: Zygote) -> bool:
        """Whether replicas would be started from this zygote."""
        return any(slot.zygote is zygote for slot in self._slots.values())

    async def delete(self, name: str) -> None:
        """Stop an app, callers before the services that they call; services that other apps use run on."""
        if name not in self.apps:
            raise NotFound(f"no app named {name!r} runs", found=", ".join(self.apps) or "none")
        app = self.apps.pop(name)
        self._tell_gateway()
        for address in reversed(list(dict.fromkeys(app.addresses.values()))):
            await self._leave(address, name)

    async def _leave(self, address: str, app: str) -> None:
        slot = self._slots.get(address)
        if slot is None:
            return
        slot.users.discard(app)
        if not slot.users:
            await slot.delete("it was deleted")
            self._slots.pop(address, None)

    # -- telling callers -------------------------------------------------------------------------------------------

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _publish(self, routed: Routed) -> None:
        for connection in self._callers:
            connection.send(routed)
        self._tell_gateway()

    def _tell_gateway(self) -> None:
        if self._gateway is not None:
            waiting = {
                address: self._slots[address].problem or "it has no replica yet"
                for app in self.apps.values()
                for address in app.addresses.values()
                if address in self._slots and not self._slots[address].ready
            }
            self._gateway.tell(tuple(app.routes() for app in self.apps.values() if app.plan.root in app.addresses), waiting)

    # -- connections -----------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = ControlConnection(reader, writer)
        hello = await connection.receive() if connection.is_own else None
        if isinstance(hello, Hello):
            await self.attend(connection, hello)
        await connection.close()

    async def attend(self, connection: ControlConnection, hello: Hello) -> None:
        """Serve a connection until it ends."""
        slot_and_record = self._find(hello.identity) if hello.role == "replica" else None
        if hello.role != "visitor":
            self._callers.add(connection)
            for slot in self._slots.values():
                connection.send(slot.routed())
        if hello.role == "gateway" and self._gateway is not None:
            self._gateway.connected(hello, connection)
        if slot_and_record is not None:
            slot_and_record[1].connection = connection
        try:
            async for message in connection:
                if slot_and_record is not None:
                    self._hear_replica(*slot_and_record, message)
                elif hello.role == "gateway" and self._gateway is not None:
                    self._gateway.hear(hello, message)
                else:
                    self._keep(self._serve_client(connection, message))
        finally:
            self._callers.discard(connection)

    def _find(self, identity: str) -> tuple[Slot, ReplicaRecord] | None:
        for slot in self._slots.values():
            if (record := slot.record(identity)) is not None:
                return slot, record
        return None

    def _hear_replica(self, slot: Slot, record: ReplicaRecord, message: object) -> None:
        if isinstance(message, Ready) and record.lifecycle.allows("started"):
            slot.on_ready(record)
            self._report(f"{record.identity} ready in {time.monotonic() - record.begun:.2f} s (pid {record.pid})")
        elif isinstance(message, Failed):
            record.failure = message.failure
        elif isinstance(message, Busy):
            record.busy = message.count
            record.counted.set()
        elif isinstance(message, Drained):
            record.drained.set()

    async def _serve_client(self, connection: ControlConnection, message: object) -> None:
        number = getattr(message, "number", 0)
        try:
            if isinstance(message, Deploy):
                zygote = await self._zygote_for(message)
                connection.send(Answer(number, handle=await self.deploy(message.plan, zygote)))
            elif isinstance(message, Delete):
                await self.delete(message.app)
                connection.send(Answer(number))
            elif isinstance(message, AskStatus):
                await self.count_calls()
                connection.send(Answer(number, status=self.status()))
            elif isinstance(message, Shutdown):
                await self.stop()
                connection.send(Answer(number))
        except Exception as error:  # noqa: BLE001  # it is the client's to see
            connection.send(Answer(number, failure=failure.record(error, endpoint="deploy", replica="supervisor")))

    async def _zygote_for(self, message: Deploy) -> Zygote:
        """Return a zygote with the client's code: a new one for each deployment, since the code may have changed in between."""
        old = self._zygotes.pop(message.recipe, None)
        zygote = await self.new_zygote()
        try:
            classes = tuple(dict.fromkeys(node.cls for node in message.plan.nodes if node.cls_by_value is None))
            await zygote.load(message.recipe, use_main=message.plan.uses_main, classes=classes)
        except BaseException:
            await zygote.close()
            raise
        if old is not None and not self.uses(old):
            await old.close()
        self._zygotes[message.recipe] = zygote
        return zygote

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- the whole -------------------------------------------------------------------------------------------------

    async def count_calls(self) -> int:
        """Bring the numbers of running calls up to date, and return how many the roots of the apps have."""
        with contextlib.suppress(TimeoutError):  # a hung replica keeps the number that it told last
            async with asyncio.timeout(COUNT_WAIT):
                await asyncio.gather(*(slot.count() for slot in self._slots.values()))
        roots = dict.fromkeys(app.addresses[app.plan.root] for app in self.apps.values() if app.plan.root in app.addresses)
        return sum(replica.busy for address in roots for replica in self._slots[address].status().replicas)

    def status(self) -> ServerStatus:
        """Return what runs."""
        apps = tuple(
            AppStatus(
                name=app.plan.name,
                route=app.plan.route,
                root=app.plan.root,
                state=self._state(app),
                nodes=tuple(self._slots[a].status() for a in dict.fromkeys(app.addresses.values()) if a in self._slots),
            )
            for app in self.apps.values()
        )
        return ServerStatus(
            engine="local",
            pid=os.getpid(),
            url=self.url,
            apps=apps,
            started=self._started,
            gateways=self._gateway.pids if self._gateway is not None else (),
        )

    def _state(self, app: App) -> str:
        states = {self._slots[a].lifecycle.state for a in app.addresses.values() if a in self._slots}
        return next((state for state in ("failed", "starting", "deleting") if state in states), "running")

    async def stop(self) -> None:
        """Drain and stop everything, the gateway first; leaves no process and no socket."""
        if self._stopping:
            await self.ended.wait()
            return
        self._stopping = True
        drain = max((slot.config.drain for slot in self._slots.values()), default=0.0)
        if self._gateway is not None:
            await self._gateway.drain(drain)
        for name in reversed(list(self.apps)):
            try:
                await self.delete(name)
            except MotetError:
                log.exception("%s didn't stop cleanly", name)
        if self._gateway is not None:
            await self._gateway.stop()
        zygotes = {id(z): z for z in (*self._zygotes.values(), *(slot.zygote for slot in self._slots.values()))}
        await asyncio.gather(*(zygote.close() for zygote in zygotes.values()))
        if self._server is not None:
            self._server.close()
        self.folder.remove()
        self.ended.set()

    def kill(self) -> None:
        """End everything at once, without draining."""
        for slot in self._slots.values():
            slot.kill()
        if self._gateway is not None:
            self._gateway.kill()
