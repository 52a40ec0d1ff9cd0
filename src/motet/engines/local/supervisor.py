"""The supervisor: decides what runs, starts and watches it, and tells callers where it is. It is in no request's path."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence

from motet.engines.assets import AssetKeeper
from motet.engines.hardware import Machine, detect
from motet.engines.interface import AppStatus, ServerStatus
from motet.engines.local.control import Routed
from motet.engines.local.folder import RuntimeFolder, ServerCard
from motet.engines.local.gateways import Gateways
from motet.engines.local.homes import Homes
from motet.engines.local.ledger import Ledger
from motet.engines.local.memory import watch_memory
from motet.engines.local.plan import AppPlan, plan_handle
from motet.engines.local.preparation import Preparation, Prepared
from motet.engines.local.processes import Home, Stem, Zygote
from motet.engines.local.reception import Reception
from motet.engines.local.slots import Slot, Surroundings
from motet.engines.local.table import App, SlotTable
from motet.errors import MotetError, NotFound, ShuttingDown, StartError, UsageError
from motet.linux import adopt_orphans
from motet.options import HttpOptions
from motet.runtime.plans import HandleSpec

log = logging.getLogger("motet.supervisor")

GATEWAY_WAIT = 30.0  # s
COUNT_WAIT = 0.5  # s


class Supervisor:
    """Runs apps as processes of this machine.

    Args:
        target: what is served, for the list of servers.
        listening: sockets for HTTP, bound already, one for each gateway; none for no HTTP.
        url: of those sockets.
        api_keys: that HTTP clients must send one of.
        http: how HTTP is served.
        report: gets a line for each thing that a person should know.
        machine: what there is to give out; None to look.
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
        machine: Machine | None = None,
    ) -> None:
        self.target = target
        self.url = url
        self.apps: dict[str, App] = {}
        self.report = report
        self.reception = Reception(self)
        self._preparation = Preparation(Homes(self.new_zygote, report), AssetKeeper(report), report)
        self._ledger = Ledger(machine if machine is not None else detect())
        self._stem = Stem()
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
        self._stem.start()
        self.folder = RuntimeFolder()
        self._table = SlotTable(
            Surroundings(
                folder=self.folder.path,
                control=self.folder.control,
                ledger=self._ledger,
                next_number=self._next_number,
                publish=self._publish,
                report=self.report,
                changed=self._tell_gateway,
            )
        )
        self._server = await asyncio.start_unix_server(self.reception.accept, str(self.folder.control), limit=2**20)
        self._watching = asyncio.create_task(watch_memory(self.slots))
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
        zygote = Zygote(self.folder.path, self._stem, home, ended=ended)
        try:
            await zygote.start()
        except BaseException:
            await zygote.kill()
            raise
        self._zygotes.add(zygote)
        return zygote

    async def close_unused_zygotes(self) -> None:
        """End the zygotes that something was deployed from and that no replica would be started from any more."""
        unused = self._deployed_from - {slot.prepared.zygote for slot in self._table.slots.values()}
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
        app, prepared = App(plan, {}), dict[str, Prepared]()
        self.apps[plan.name] = app
        try:
            app.plan, prepared = await self._preparation.prepare(plan, zygote, self._table.check_room)
            self._check_wanted(app)
        except BaseException:
            if self.apps.get(plan.name) is app:
                del self.apps[plan.name]
            self._use(zygote, prepared)
            await self.close_unused_zygotes()
            raise
        self._use(zygote, prepared)
        for each in dict.fromkeys(made.zygote for made in prepared.values()):
            if each.hazard is not None:
                whose = "" if each is zygote else " in the environment " + str(each.home.name)
                self.report(f"replicas{whose} are started by spawning, not forking, since {each.hazard}")
        for notice in plan.notices:
            self.report(f"declared, checked, and not yet acted on: {notice}")
        started = [self._table.place(app, node, prepared[node.name]) for node in app.plan.nodes]
        self._tell_gateway()
        try:
            new = [slot for slot in started if slot.reservation is None]
            for address, reservation in self._table.reserve(plan.name, [(slot, slot.plan) for slot in new]).items():
                self._table.slots[address].start(reservation)
            await asyncio.gather(*(asyncio.shield(slot.settled) for slot in started))  # hears of the first failure at once
        except BaseException:
            if self.apps.get(plan.name) is app:  # else it is being deleted, which is why
                await self.delete(plan.name)
            await self.close_unused_zygotes()
            raise
        self._tell_gateway()
        root = plan.node(plan.root)
        return plan_handle(root, app.addresses[root.name])

    def _check_wanted(self, app: App) -> None:
        if self.apps.get(app.plan.name) is not app:
            raise ShuttingDown(f"{app.plan.name} was deleted while it was prepared")

    def _use(self, zygote: Zygote, prepared: Mapping[str, Prepared]) -> None:
        """Have zygotes closed when no slot uses them; no earlier than slots do, or others would close them."""
        self._deployed_from |= {zygote, *(made.zygote for made in prepared.values())}

    def _check_new(self, plan: AppPlan) -> None:
        if self._stopping:
            message = "the server is stopping"
            raise ShuttingDown(message)
        if plan.name in self.apps:
            raise UsageError(f"an app named {plan.name!r} runs already", instead="delete it first, or deploy under another name")
        taken = {path: app.plan.name for app in self.apps.values() for path in app.plan.paths.values()}
        if clash := [path for path in plan.paths.values() if path in taken]:
            raise UsageError(f"the path {clash[0]} is taken", found=f"by the app {taken[clash[0]]!r}", instead="another route")

    async def update(self, plan: AppPlan, zygote: Zygote) -> list[str]:
        """Bring a running app to a new plan: only nodes whose code, arguments or options changed are replaced, all or none.

        Returns:
            The names of the nodes that were replaced or added.

        Raises:
            StartError: the new version of a node can't be started; the old version of the app runs on.
        """
        plan, prepared = await self._preparation.prepare(plan, zygote, self._table.check_room)
        self._use(zygote, prepared)
        old, app = self.apps[plan.name], App(plan, {})
        steps = self._table.compare(old, app, prepared)
        changed, added = [step.slot for step in steps.changed], [*steps.added.values()]
        gone = [address for address in dict.fromkeys(old.addresses.values()) if address not in app.addresses.values()]
        try:
            new = [slot for slot in added if slot.reservation is None]
            wanted = [*((slot, slot.plan) for slot in new), *((step.slot, step.node) for step in steps.changed)]
            reserved = self._table.reserve(plan.name, wanted, gone)
            for slot in new:
                slot.start(reserved[slot.address])
            for step in steps.changed:
                step.slot.begin(step.node, prepared[step.node.name], step.handles, reserved[step.slot.address])
            await asyncio.gather(*(asyncio.shield(slot.settled) for slot in (*changed, *added)))
        except BaseException:
            await asyncio.gather(*(slot.roll_back() for slot in changed))
            for slot in added:
                await self._table.leave(slot.address, plan.name)
            await self.close_unused_zygotes()
            raise
        for slot, node in steps.kept:
            slot.adopt(node, prepared[node.name])
        self.apps[plan.name] = app
        self._tell_gateway()
        await asyncio.gather(*(slot.commit() for slot in changed))
        for address in reversed(gone):
            await self._table.leave(address, plan.name)
        return [*(step.node.name for step in steps.changed), *steps.added]

    async def delete(self, name: str) -> None:
        """Stop an app, callers before the services that they call; services that other apps use run on."""
        if name not in self.apps:
            raise NotFound(f"no app named {name!r} runs", found=", ".join(self.apps) or "none")
        app = self.apps.pop(name)
        self._preparation.stop(name)
        self._tell_gateway()
        for address in reversed(list(dict.fromkeys(app.addresses.values()))):
            await self._table.leave(address, name)

    def slots(self) -> list[Slot]:
        """Return all slots."""
        return list(self._table.slots.values())

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
                address: self._table.slots[address].problem or "it has no replica yet"
                for app in self.apps.values()
                for address in app.addresses.values()
                if address in self._table.slots and not self._table.slots[address].ready
            }
            self.gateway.tell(tuple(app.routes() for app in self.apps.values() if app.plan.root in app.addresses), waiting)

    # -- the whole -------------------------------------------------------------------------------------------------

    async def count_calls(self) -> int:
        """Bring the numbers of running calls up to date, and return how many the roots of the apps have."""
        with contextlib.suppress(TimeoutError):  # a hung replica keeps the number that it told last
            async with asyncio.timeout(COUNT_WAIT):
                await asyncio.gather(*(slot.count() for slot in self._table.slots.values()))
        roots = dict.fromkeys(app.addresses[app.plan.root] for app in self.apps.values() if app.plan.root in app.addresses)
        return sum(replica.busy for address in roots for replica in self._table.slots[address].status().replicas)

    def status(self) -> ServerStatus:
        """Return what runs."""
        apps = tuple(
            AppStatus(
                name=app.plan.name,
                route=app.plan.route,
                root=app.plan.root,
                state=self._state(app),
                nodes=tuple(self._table.slots[a].status() for a in dict.fromkeys(app.addresses.values()) if a in self._table.slots),
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
            resources=self._ledger.status(),
        )

    def _state(self, app: App) -> str:
        states = {self._table.slots[a].lifecycle.state for a in app.addresses.values() if a in self._table.slots}
        return next((state for state in ("failed", "starting", "deleting") if state in states), "running")

    async def stop(self) -> None:
        """Drain and stop everything, the gateway first; leaves no process and no socket."""
        if self._stopping:
            await self.ended.wait()
            return
        self._stopping = True
        self._preparation.stop()
        drain = max((slot.config.drain for slot in self._table.slots.values()), default=0.0)
        if self.gateway is not None:
            await self.gateway.drain(drain)
        for name in reversed(list(self.apps)):
            try:
                await self.delete(name)
            except MotetError:
                log.exception("%s didn't stop cleanly", name)
        if self.gateway is not None:
            await self.gateway.stop()
        # At once: one that is loading code would be waited for, and no replica is on its way any more.
        await asyncio.gather(*(zygote.kill() for zygote in self._zygotes), self._stem.close())
        if self._server is not None:
            self._server.close()
        self._watching.cancel()
        self._preparation.close()
        self.folder.remove()
        self.ended.set()

    def kill(self) -> None:
        """End everything at once, without draining."""
        for slot in self._table.slots.values():
            slot.kill()
        if self.gateway is not None:
            self.gateway.kill()
