"""The supervisor: decides what runs, starts and watches it, and tells callers where it is. It is in no request's path."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from motet.engines.assets import AssetKeeper
from motet.engines.interface import AppStatus, ServerStatus
from motet.engines.local.control import Routed
from motet.engines.local.folder import RuntimeFolder, ServerCard
from motet.engines.local.gateways import Gateways
from motet.engines.local.homes import Homes
from motet.engines.local.plan import AppPlan, NodePlan, plan_handle
from motet.engines.local.preparation import Preparation, Prepared
from motet.engines.local.processes import Home, Zygote
from motet.engines.local.reception import Reception
from motet.engines.local.slots import Slot, Surroundings
from motet.errors import MotetError, NotFound, ShuttingDown, StartError, UsageError
from motet.gateway.routes import AppRoutes, endpoint_routes
from motet.linux import adopt_orphans
from motet.options import HttpOptions
from motet.runtime.plans import HandleSpec

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
        endpoints = endpoint_routes(root.endpoints, address, self.plan.paths)
        return AppRoutes(app=self.plan.name, root=address, endpoints=endpoints, openapi=self.plan.openapi)


class Supervisor:
    """Runs apps as processes of this machine.

    Args:
        target: what is served, for the list of servers.
        listening: sockets for HTTP, bound already, one for each gateway; none for no HTTP.
        url: of those sockets.
        api_keys: that HTTP clients must send one of.
        http: how HTTP is served.
        report: gets a line for each thing that a person should know.
    """

    def __init__(
        self,
        *,
        target: str,
        listening: Sequence[socket.socket] = (),
        url: str | None = None,
        api_keys: tuple[str, ...] = (),
        http: HttpOptions | None = None,
        report: Callable[[str], None] = log.warning,
    ) -> None:
        self.target = target
        self.url = url
        self.apps: dict[str, App] = {}
        self.report = report
        self.reception = Reception(self)
        self._slots: dict[str, Slot] = {}
        self._preparation = Preparation(Homes(self.new_zygote, report), AssetKeeper(report))
        self._zygotes: set[Zygote] = set()  # all that were started
        self._deployed_from: set[Zygote] = set()
        self._numbers = 0
        self._stopping = False
        self._started = time.time()
        self._listening = listening
        self._api_keys = api_keys
        self._http = http or HttpOptions()
        self.gateway: Gateways | None = None
        self._server: asyncio.Server | None = None
        self.ended = asyncio.Event()

    async def start(self) -> None:
        """Open the control socket and start the gateways."""
        adopt_orphans()
        self.folder = RuntimeFolder()
        self._server = await asyncio.start_unix_server(self.reception.accept, str(self.folder.control), limit=2**20)
        self.folder.write_card(ServerCard(pid=os.getpid(), target=self.target, url=self.url, started=self._started))
        if self._listening:
            self.gateway = Gateways(self._listening, self.folder.control, api_keys=self._api_keys, http=self._http, report=self.report)
            self.gateway.start()

    async def new_zygote(self, home: Home | None = None, *, ended: Callable[[], None] = lambda: None) -> Zygote:
        """Start a zygote; it removes the runtime folder should this process be killed.

        Args:
            home: the environment that it is started in; None for the server's own.
            ended: is called when no process will come from it any more.
        """
        zygote = Zygote(self.folder.path, home, ended=ended)
        self._zygotes.add(zygote)
        await zygote.start()
        return zygote

    async def close_unused_zygotes(self) -> None:
        """End the zygotes that something was deployed from and that no replica would be started from any more."""
        unused = self._deployed_from - {slot.prepared.zygote for slot in self._slots.values()}
        self._deployed_from -= unused
        self._zygotes -= unused
        await asyncio.gather(*(zygote.close() for zygote in unused))

    async def gateway_ready(self) -> None:
        """Wait until the gateway answers.

        Raises:
            StartError: it doesn't come up.
        """
        if self.gateway is not None:
            try:
                async with asyncio.timeout(GATEWAY_WAIT):
                    await self.gateway.until_ready()
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
        app = self.apps[plan.name] = App(plan, {})
        try:
            prepared = await self._preparation.prepare(plan, zygote)
        except BaseException:
            if self.apps.get(plan.name) is app:
                del self.apps[plan.name]
            raise
        if self.apps.get(plan.name) is not app:
            message = f"{plan.name} was deleted while it was prepared"
            raise ShuttingDown(message)
        self._deployed_from |= {zygote, *(made.zygote for made in prepared.values())}
        for each in dict.fromkeys(made.zygote for made in prepared.values()):
            if each.hazard is not None:
                whose = "" if each is zygote else " in the environment " + str(each.home.name)
                self.report(f"replicas{whose} are started by spawning, not forking, since {each.hazard}")
        for notice in plan.notices:
            self.report(f"declared, checked, and not yet acted on: {notice}")
        started = [self._place(app, node, prepared[node.name]) for node in plan.nodes]
        self._tell_gateway()
        try:
            await asyncio.gather(*(asyncio.shield(slot.settled) for slot in started))  # hears of the first failure at once
        except BaseException:
            await self.delete(plan.name)
            await self.close_unused_zygotes()
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

    def _place(self, app: App, node: NodePlan, prepared: Prepared) -> Slot:
        """Return the slot of a node: one that runs an equal node, or a new one."""
        for slot in self._slots.values():
            equal = slot.plan.identity == node.identity and slot.prepared.zygote.home.key == prepared.zygote.home.key
            if equal and slot.lifecycle.state in ("starting", "running"):
                slot.users.add(app.plan.name)
                app.addresses[node.name] = slot.address
                return slot
        slot = self._new_slot(app, node, prepared)
        app.addresses[node.name] = slot.address
        slot.start()
        return slot

    def _new_slot(self, app: App, node: NodePlan, prepared: Prepared) -> Slot:
        number = 1
        while (address := node.name if number == 1 else f"{node.name}-{number}") in self._slots:
            number += 1
        around = Surroundings(
            folder=self.folder.path,
            control=self.folder.control,
            next_number=self._next_number,
            publish=self._publish,
            report=self.report,
            changed=self._tell_gateway,
        )
        slot = Slot(address, app.plan.name, node, prepared, self._handles(app, node, app.addresses), surroundings=around)
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
        prepared = await self._preparation.prepare(plan, zygote)
        self._deployed_from |= {zygote, *(made.zygote for made in prepared.values())}
        old, app = self.apps[plan.name], App(plan, {})
        kept: list[tuple[Slot, NodePlan]] = []
        changed: dict[str, Slot] = {}
        added: dict[str, Slot] = {}
        for node in plan.nodes:  # dependencies first, so that their addresses are known
            slot = self._slots.get(old.addresses.get(node.name, ""))
            if slot is None or slot.users != {plan.name}:
                used = {address for address, other in self._slots.items() if plan.name in other.users}
                slot = self._place(app, node, prepared[node.name])
                if slot.address not in used:
                    added[node.name] = slot
                continue
            app.addresses[node.name] = slot.address
            handles = self._handles(app, node, app.addresses)
            same_home = slot.prepared.zygote.home.key == prepared[node.name].zygote.home.key
            if slot.plan.digest == node.digest and dict(slot.handles) == handles and same_home:
                kept.append((slot, node))
            else:
                slot.begin(node, prepared[node.name], handles)
                changed[node.name] = slot
        try:
            await asyncio.gather(*(asyncio.shield(slot.settled) for slot in (*changed.values(), *added.values())))
        except BaseException:
            await asyncio.gather(*(slot.roll_back() for slot in changed.values()))
            for slot in added.values():
                await self._leave(slot.address, plan.name)
            await self.close_unused_zygotes()
            raise
        for slot, node in kept:
            slot.adopt(node, prepared[node.name])
        self.apps[plan.name] = app
        self._tell_gateway()
        await asyncio.gather(*(slot.commit() for slot in changed.values()))
        for address in reversed([a for a in dict.fromkeys(old.addresses.values()) if a not in app.addresses.values()]):
            await self._leave(address, plan.name)
        return [*changed, *added]

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

    def slots(self) -> list[Slot]:
        """Return all slots."""
        return list(self._slots.values())

    # -- telling callers -------------------------------------------------------------------------------------------

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _publish(self, routed: Routed) -> None:
        self.reception.publish(routed)
        self._tell_gateway()

    def _tell_gateway(self) -> None:
        if self.gateway is not None and not self._stopping:  # then its routes answer 503, and 404 would be a lie
            waiting = {
                address: self._slots[address].problem or "it has no replica yet"
                for app in self.apps.values()
                for address in app.addresses.values()
                if address in self._slots and not self._slots[address].ready
            }
            self.gateway.tell(tuple(app.routes() for app in self.apps.values() if app.plan.root in app.addresses), waiting)

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
            gateways=self.gateway.pids if self.gateway is not None else (),
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
        self._preparation.stop()
        drain = max((slot.config.drain for slot in self._slots.values()), default=0.0)
        if self.gateway is not None:
            await self.gateway.drain(drain)
        for name in reversed(list(self.apps)):
            try:
                await self.delete(name)
            except MotetError:
                log.exception("%s didn't stop cleanly", name)
        if self.gateway is not None:
            await self.gateway.stop()
        await asyncio.gather(*(zygote.close() for zygote in self._zygotes))
        if self._server is not None:
            self._server.close()
        self.folder.remove()
        self.ended.set()

    def kill(self) -> None:
        """End everything at once, without draining."""
        for slot in self._slots.values():
            slot.kill()
        if self.gateway is not None:
            self.gateway.kill()
