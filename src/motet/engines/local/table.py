"""Which slot runs which node of which app, and what room that takes: equal nodes of several apps share one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from motet.engines.local.ledger import Ask, Reservation
from motet.engines.local.plan import AppPlan, NodePlan, plan_handle
from motet.engines.local.preparation import Prepared
from motet.engines.local.slots import Slot, Surroundings
from motet.gateway.routes import AppRoutes, endpoint_routes
from motet.runtime.plans import HandleSpec


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


@dataclass(frozen=True)
class Change:
    """A slot whose replicas are to be replaced."""

    slot: Slot
    node: NodePlan
    handles: dict[str, HandleSpec]


@dataclass(frozen=True)
class Steps:
    """What an update does: slots that go on, are replaced, or are new to the app, by the names of their nodes."""

    kept: list[tuple[Slot, NodePlan]] = field(default_factory=list[tuple[Slot, NodePlan]])
    changed: list[Change] = field(default_factory=list[Change])
    added: dict[str, Slot] = field(default_factory=dict[str, Slot])


class SlotTable:
    """The slots of a server.

    Args:
        surroundings: what each slot needs of the server.

    Attributes:
        slots: by address.
    """

    def __init__(self, surroundings: Surroundings) -> None:
        self.slots: dict[str, Slot] = {}
        self._around = surroundings
        self._ledger = surroundings.ledger

    def check_room(self, plan: AppPlan) -> None:
        """Refuse a plan that the machine has no room for, before it is prepared; what it doesn't keep of its own doesn't count."""
        running = {slot.plan.identity for slot in self.slots.values() if slot.lifecycle.state in ("starting", "running")}
        staying = running & {node.identity for node in plan.nodes}
        self._ledger.check(
            [_ask(node, node.name) for node in plan.nodes if node.identity not in running],
            instead_of=[
                slot.reservation
                for slot in self.slots.values()
                if slot.reservation is not None and slot.users == {plan.name} and slot.plan.identity not in staying
            ],
        )

    def reserve(self, app: str, wanted: Sequence[tuple[Slot, NodePlan]], gone: Collection[str] = ()) -> dict[str, Reservation]:
        """Reserve what slots need for plans, and return it by address. What they have, and those that go, doesn't count."""
        going = [slot for address in gone if (slot := self.slots.get(address)) is not None and slot.users == {app}]
        made = self._ledger.reserve(
            [_ask(plan, slot.address) for slot, plan in wanted],
            instead_of=[slot.reservation for slot in (*going, *(slot for slot, _ in wanted)) if slot.reservation is not None],
        )
        return {slot.address: reservation for (slot, _), reservation in zip(wanted, made, strict=True)}

    def place(self, app: App, node: NodePlan, prepared: Prepared) -> Slot:
        """Return the slot of a node: one that runs an equal node, or a new one, which isn't started."""
        for slot in self.slots.values():
            equal = slot.plan.identity == node.identity and slot.prepared.zygote.home.key == prepared.zygote.home.key
            if equal and slot.lifecycle.state in ("starting", "running"):
                slot.users.add(app.plan.name)
                app.addresses[node.name] = slot.address
                return slot
        slot = self._new_slot(app, node, prepared)
        app.addresses[node.name] = slot.address
        return slot

    def _new_slot(self, app: App, node: NodePlan, prepared: Prepared) -> Slot:
        number = 1
        while (address := node.name if number == 1 else f"{node.name}-{number}") in self.slots:
            number += 1
        slot = Slot(address, app.plan.name, node, prepared, self._handles(app, node, app.addresses), surroundings=self._around)
        self.slots[address] = slot
        return slot

    def _handles(self, app: App, node: NodePlan, addresses: Mapping[str, str]) -> dict[str, HandleSpec]:
        return {name: plan_handle(app.plan.node(name), addresses[name]) for name in node.dependencies}

    def compare(self, old: App, app: App, prepared: Mapping[str, Prepared]) -> Steps:
        """Return what is to be done so that `app` runs in the place of `old`; gives it its addresses."""
        name, steps = app.plan.name, Steps()
        for node in app.plan.nodes:  # dependencies first, so that their addresses are known
            slot = self.slots.get(old.addresses.get(node.name, ""))
            if slot is None or slot.users != {name}:
                used = {address for address, other in self.slots.items() if name in other.users}
                slot = self.place(app, node, prepared[node.name])
                if slot.address not in used:
                    steps.added[node.name] = slot
                continue
            app.addresses[node.name] = slot.address
            handles = self._handles(app, node, app.addresses)
            same_home = slot.prepared.zygote.home.key == prepared[node.name].zygote.home.key
            if slot.plan.digest == node.digest and dict(slot.handles) == handles and same_home:
                steps.kept.append((slot, node))
            else:
                steps.changed.append(Change(slot, node, handles))
        return steps

    async def leave(self, address: str, app: str) -> None:
        """Have an app use a slot no more; one that none uses is stopped."""
        slot = self.slots.get(address)
        if slot is None:
            return
        slot.users.discard(app)
        if not slot.users:
            await slot.delete("it was deleted")
            self.slots.pop(address, None)


def _ask(plan: NodePlan, service: str) -> Ask:
    config = plan.options
    return Ask(service=service, place=plan.place, resources=config.resources, replicas=config.wanted_replicas)
