"""The ledger: what the machine has, and what of it is reserved for the replicas of which service.

It asks no machine and starts nothing. Amounts are whole thousandths (bytes for memory), so that no sum drifts.
"""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from motet.engines.hardware import Machine
from motet.engines.interface import LOGICAL, Placement, ResourceStatus
from motet.errors import StartError
from motet.options import Resources

WHOLE = 1000  # thousandths
MIB = 2**20
CORES = "cores for affinity=True"


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What the replicas of one service declare.

    Attributes:
        service: its name, for messages.
        place: where it is defined.
        resources: of each replica.
        replicas: how many.
    """

    service: str
    place: str
    resources: Resources
    replicas: int


@dataclass(frozen=True, eq=False)
class Reservation:
    """What is reserved for the replicas of one service, one placement for each; it is held until it is released."""

    ask: Ask
    placements: tuple[Placement, ...]


@dataclass(frozen=True)
class Shortfall:
    """What one service lacks of one resource: what each replica asks for, what there is, what is free, and who has the rest."""

    ask: Ask
    resource: str
    each: int
    there: int
    free: str
    holders: Mapping[str, int]

    @property
    def in_all(self) -> int:
        """What all replicas ask for."""
        return self.each * self.ask.replicas

    def __str__(self) -> str:
        """Return it as a sentence."""
        name, replicas = self.resource, self.ask.replicas
        asks = f"asks for {name}={amount(name, self.each)}"
        if replicas > 1:
            asks += f" for each of {replicas} replicas, {amount(name, self.in_all)} in all"
        if not self.there:
            return f"{asks}, and the machine has none"
        held = ", ".join(f"{holder} holds {amount(name, taken)}" for holder, taken in self.holders.items() if taken)
        return f"{asks}; the machine has {amount(name, self.there)}, of which {self.free} is free" + (f" ({held})" if held else "")


class Ledger:
    """Gives out what a machine has."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._held: list[Reservation] = []

    def reserve(self, asks: Sequence[Ask], *, instead_of: Collection[Reservation] = ()) -> list[Reservation]:
        """Reserve what all of `asks` declare; returns a reservation for each.

        Args:
            asks: of services that are to start together.
            instead_of: reservations that these take the place of: they don't count, though they are held until they are released.

        Raises:
            StartError: it isn't there; the message has every shortfall, and nothing is reserved.
        """
        held = [held for held in self._held if held not in instead_of]
        placements, shortfalls = _Room(self.machine, held).place(asks)
        if shortfalls:
            raise _refusal(shortfalls, enough_for(self.machine, held, asks))
        made = [Reservation(ask, tuple(of_ask)) for ask, of_ask in zip(asks, placements, strict=True)]
        self._held += made
        return made

    def check(self, asks: Sequence[Ask], *, instead_of: Collection[Reservation] = ()) -> None:
        """Raise what `reserve` would raise, and reserve nothing."""
        for made in self.reserve(asks, instead_of=instead_of):
            self.release(made)

    def release(self, reservation: Reservation) -> None:
        """Give back what was reserved; nothing happens if that was done already."""
        if reservation in self._held:
            self._held.remove(reservation)

    def status(self) -> tuple[ResourceStatus, ...]:
        """Return how much there is of each resource and how much is reserved."""
        held = [placement for reservation in self._held for placement in reservation.placements]
        return tuple(
            ResourceStatus(
                name=name,
                total=_number(name, there),
                reserved=_number(name, sum(_uses(placement).get(name, 0) for placement in held)),
                ids=_cards(self.machine) if name == "gpus" else (),
            )
            for name, there in _there(self.machine).items()
        )


class _Room:
    """What is free of a machine, and who has the rest; placing takes from it."""

    def __init__(self, machine: Machine, held: Sequence[Reservation]) -> None:
        self._there = _there(machine)
        self._free = dict(self._there)
        self._cards = dict.fromkeys(_cards(machine), WHOLE)
        self._cores = list(machine.cores)
        self._holders: dict[str, dict[str, int]] = {}  # amounts by service, by resource
        for reservation in held:
            for placement in reservation.placements:
                self.take(reservation.ask, placement)

    def take(self, ask: Ask, placement: Placement) -> None:
        """Note that a replica has what it was given."""
        for name, taken in _uses(placement).items():
            self._free[name] = self._free.get(name, 0) - taken
            holders = self._holders.setdefault(name, {})
            holders[ask.service] = holders.get(ask.service, 0) + taken
        for card in placement.cards:
            self._cards[card] -= min(WHOLE, thousandths(placement.gpus or 0))
        self._cores = [core for core in self._cores if core not in placement.cores]

    def place(self, asks: Sequence[Ask]) -> tuple[list[list[Placement]], list[Shortfall]]:
        """Return the placements of each ask, and what is lacking, by order of the asks."""
        placed: list[list[Placement]] = [[] for _ in asks]
        lacking: dict[int, list[Shortfall]] = {}
        # The largest first: what is left of the cards then does for the smaller ones more often.
        for number in sorted(range(len(asks)), key=lambda number: -thousandths(asks[number].resources.gpus)):
            ask, trial, lacks = asks[number], copy.deepcopy(self), list[str]()
            while len(placed[number]) < ask.replicas and not (lacks := trial.lacks(ask.resources)):
                placed[number].append(trial.find(ask.resources))
                trial.take(ask, placed[number][-1])
            if lacks:  # what isn't placed takes nothing from others
                in_all = [name for name, needed in _needs(ask.resources).items() if needed * ask.replicas > self._free.get(name, 0)]
                lacking[number] = [self._shortfall(ask, name) for name in dict.fromkeys([*in_all, *lacks])]
            else:
                for placement in placed[number]:
                    self.take(ask, placement)
        return placed, [short for number in sorted(lacking) for short in lacking[number]]

    def lacks(self, resources: Resources) -> list[str]:
        """Return the names of what there isn't enough of for one more replica."""
        needs = _needs(resources)
        names = [name for name, needed in needs.items() if needed > self._free.get(name, 0)]
        if "gpus" not in names and self._find_cards(needs.get("gpus", 0)) is None:
            names.append("gpus")
        if not names and self._find_cores(resources) is None:
            names.append(CORES)
        return names

    def find(self, resources: Resources) -> Placement:
        """Return where a replica that lacks nothing is placed."""
        declared = resources.model_fields_set
        return Placement(
            cpus=resources.cpus if "cpus" in declared or resources.affinity else None,
            cores=self._find_cores(resources) or (),
            gpus=resources.gpus if "gpus" in declared else None,
            cards=self._find_cards(thousandths(resources.gpus)) or (),
            memory=resources.memory_bytes,
            custom=dict(resources.custom),
        )

    def _find_cores(self, resources: Resources) -> tuple[int, ...] | None:
        wanted = int(resources.cpus) if resources.affinity else 0
        return tuple(self._cores[:wanted]) if wanted <= len(self._cores) else None

    def _find_cards(self, needed: int) -> tuple[str, ...] | None:
        if needed < WHOLE:
            # Of those that have room the fullest, so that others stay whole.
            fitting = sorted((free, number, card) for number, (card, free) in enumerate(self._cards.items()) if free >= needed)
            return () if not needed else (fitting[0][2],) if fitting else None
        empty = [card for card, free in self._cards.items() if free == WHOLE]
        return tuple(empty[: needed // WHOLE]) if needed // WHOLE <= len(empty) else None

    def _shortfall(self, ask: Ask, resource: str) -> Shortfall:
        """Return what is said of a resource that an ask lacks."""
        if resource == CORES:
            cores = len(self._cores) * WHOLE
            return Shortfall(ask, resource, int(ask.resources.cpus) * WHOLE, cores, amount(CORES, cores), {})
        free = amount(resource, max(0, self._free.get(resource, 0)))
        if resource == "gpus" and (
            parts := [f"{amount('gpus', part)} of card {card}" for card, part in self._cards.items() if 0 < part < WHOLE]
        ):
            whole = sum(part == WHOLE for part in self._cards.values())
            free = " and ".join([*([f"{whole}"] if whole else []), *parts])
        each = _needs(ask.resources)[resource]
        return Shortfall(ask, resource, each, self._there.get(resource, 0), free, dict(self._holders.get(resource, {})))


def enough_for(machine: Machine, held: Sequence[Reservation], asks: Sequence[Ask]) -> dict[str, int]:
    """Return how much of each resource that is lacking would do, as far as an operator can say that there is more."""
    there, used = _there(machine), Counter[str]()
    for placement in (placement for reservation in held for placement in reservation.placements):
        used.update(_uses(placement))
    for ask in asks:
        used.update({name: needed * ask.replicas for name, needed in _needs(ask.resources).items()})
    enough = {name: needed for name, needed in used.items() if needed > there.get(name, 0) and name != "gpus"}
    if not machine.cards:
        least = -(-used["gpus"] // WHOLE)
        alone = [replace(ask, resources=Resources(gpus=ask.resources.gpus)) for ask in asks if ask.resources.gpus]
        gpus = next(
            number
            for number in itertools.count(max(least, machine.logical_gpus))
            if not _Room(replace(machine, logical_gpus=number), held).place(alone)[1]
        )
        enough |= {"gpus": gpus * WHOLE} if gpus > machine.logical_gpus else {}
    return enough


def thousandths(number: float) -> int:
    """Return a number in thousandths; the least one that isn't 0 is one of them."""
    return max(1, round(number * WHOLE)) if number > 0 else 0


def amount(name: str, held: int) -> str:
    """Return an amount as people write it."""
    return memory_text(held) if name == "memory" else f"{held / WHOLE:.3f}".rstrip("0").rstrip(".")


def memory_text(size: float) -> str:
    """Return a number of bytes as people write it, such as `2.5 GiB`."""
    for unit, digits in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f}".removesuffix(".0") + f" {digits}"
    return f"{size:.0f} B"


def _number(name: str, held: int) -> float:
    return held if name == "memory" else held / WHOLE


def _cards(machine: Machine) -> tuple[str, ...]:
    return machine.cards or tuple(f"{LOGICAL}{number}" for number in range(machine.logical_gpus))


def _there(machine: Machine) -> dict[str, int]:
    """Return how much there is of each resource."""
    return {
        "cpus": thousandths(machine.cpus),
        "gpus": len(_cards(machine)) * WHOLE,
        "memory": machine.memory,
        **{name: thousandths(number) for name, number in machine.custom.items()},
    }


def _needs(resources: Resources) -> dict[str, int]:
    """Return what a replica declares of each resource; what isn't declared isn't counted."""
    declared = resources.model_fields_set
    return {
        **({"cpus": thousandths(resources.cpus)} if "cpus" in declared or resources.affinity else {}),
        **({"gpus": thousandths(resources.gpus)} if "gpus" in declared else {}),
        **({"memory": resources.memory_bytes} if resources.memory_bytes is not None else {}),
        **{name: thousandths(number) for name, number in resources.custom.items()},
    }


def _uses(placement: Placement) -> dict[str, int]:
    """Return how much of each resource a replica holds."""
    return {
        "cpus": thousandths(placement.cpus or 0),
        "gpus": thousandths(placement.gpus or 0),
        "memory": placement.memory or 0,
        **{name: thousandths(number) for name, number in placement.custom.items()},
    }


def _refusal(shortfalls: Sequence[Shortfall], enough: Mapping[str, int]) -> StartError:
    """Return the error that says what is lacking, and what to write."""
    services = list(dict.fromkeys(short.ask.service for short in shortfalls))
    lines = [f"{short.ask.service} {short}" for short in shortfalls]
    text = "\n  ".join([f"there is no room for {', '.join(services)}:", *lines])
    ways = ["fewer replicas"] if any(short.ask.replicas > 1 for short in shortfalls) else []
    ways.append(f"smaller amounts in {'its' if len(services) == 1 else 'their'} Resources")
    if any(short.resource == "gpus" and short.each >= WHOLE and short.there for short in shortfalls):
        ways.append("a fraction such as gpus=0.5, which shares a card")
    if enough:
        written = {name: f"{-(-needed // MIB)}MiB" if name == "memory" else amount(name, needed) for name, needed in enough.items()}
        amounts = ",".join(f"{name}={text}" for name, text in written.items())
        ways.append(f"if the machine has that, `motet serve --resources {amounts}`, or resources= in motet.run")
    return StartError(text, where=shortfalls[0].ask.place if len(services) == 1 else None, instead="; or ".join(ways))
