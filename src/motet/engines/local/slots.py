"""A slot: all replicas of one node, kept at the wanted number: started, watched, restarted, replaced, drained."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motet.engines.interface import NodeStatus, Placement
from motet.engines.local.control import Count, Drain, ReplicaAddress, Routed, Spawn, Stop
from motet.engines.local.gauge import Gauge
from motet.engines.local.ledger import Ledger, Reservation
from motet.engines.local.plan import NodePlan
from motet.engines.local.preparation import Prepared
from motet.engines.local.processes import END_WAIT, exit_status_of_group, kill
from motet.engines.local.records import ReplicaRecord
from motet.engines.local.restarts import GIVEN_UP_RETRY, Restarts
from motet.errors import ShuttingDown, StartError
from motet.linux import exit_text
from motet.options import Config
from motet.runtime.lifecycle import REPLICA, SLOT, Lifecycle
from motet.runtime.plans import HandleSpec
from motet.wire import failure

log = logging.getLogger("motet.supervisor")

NOTICE = 0.1  # s from telling callers why a replica is ended to its end


@dataclass(frozen=True)
class _Version:
    """What replicas are made from."""

    plan: NodePlan
    prepared: Prepared
    handles: Mapping[str, HandleSpec]
    reservation: Reservation | None


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a slot needs of its supervisor."""

    folder: Path
    control: Path
    ledger: Ledger
    next_number: Callable[[], int]
    publish: Callable[[Routed], None]
    report: Callable[[str], None]
    changed: Callable[[], None]


class Slot:
    """The replicas of one node of a server."""

    def __init__(
        self, address: str, app: str, plan: NodePlan, prepared: Prepared, handles: Mapping[str, HandleSpec], *, surroundings: Surroundings
    ) -> None:
        self.address = address
        self.app = app
        self.plan = plan
        self.prepared = prepared
        self.handles = handles
        self.reservation: Reservation | None = None  # until it is started
        self.users: set[str] = {app}
        self.lifecycle = Lifecycle(SLOT, "starting", owner=address)
        self.problem: str | None = None
        self.restarts = 0
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # first all ready, or failed
        self._around = surroundings
        self._records: list[ReplicaRecord] = []
        self._count = 0
        self._deaths = Restarts()
        self._killed = False
        self._last_death: str | None = None
        self._before: _Version | None = None  # while a new version starts
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def config(self) -> Config:
        """The node's options."""
        return self.plan.options

    @property
    def ready(self) -> list[ReplicaRecord]:
        """The replicas that take requests."""
        return [record for record in self._records if record.lifecycle.state == "ready"]

    def start(self, reservation: Reservation) -> None:
        """Start as many replicas as wanted, at once, where room is reserved for them."""
        self.reservation = reservation
        for _ in range(self.config.wanted_replicas):
            self._launch(self.plan)

    def record(self, identity: str) -> ReplicaRecord | None:
        """Return a replica by its identity."""
        return next((record for record in self._records if record.identity == identity), None)

    @property
    def records(self) -> list[ReplicaRecord]:
        """All replicas."""
        return list(self._records)

    def routed(self, ending: Mapping[str, str] | None = None) -> Routed:
        """Return what callers are told; also why some replicas are about to be ended."""
        ended = self.lifecycle.state in ("failed", "deleting", "deleted")
        return Routed(
            address=self.address,
            replicas=() if ended else tuple(ReplicaAddress(record.identity, record.socket) for record in self.ready),
            broken=self.problem if ended else None,
            ending=dict(ending or {}),
        )

    # -- one replica -----------------------------------------------------------------------------------------------

    def _launch(self, plan: NodePlan) -> ReplicaRecord:
        self._count += 1
        identity = f"{self.address}#{self._count}"
        socket = str(self._around.folder / f"r{self._around.next_number()}")
        record = ReplicaRecord(
            identity=identity,
            socket=socket,
            plan=plan,
            prepared=self.prepared,
            placement=self._free_placement(),
            lifecycle=Lifecycle(REPLICA, "starting", owner=identity),
        )
        self._records.append(record)
        self._keep(self._live(record))
        return record

    def _free_placement(self) -> Placement:
        """Return one that no replica has: a dead one's successor gets what that had."""
        taken = {id(record.placement) for record in self._records}
        reserved = self.reservation.placements if self.reservation is not None else ()
        return next((placement for placement in reserved if id(placement) not in taken), Placement())

    async def _live(self, record: ReplicaRecord) -> None:
        """Follow a replica from its birth to its end."""
        message = Spawn(
            identity=record.identity,
            address=self.address,
            app=self.app,
            node=record.plan,
            handles=dict(self.handles),
            control=str(self._around.control),
            socket=record.socket,
            data=str(self._around.folder / "data" / self.address),
            supervisor=os.getpid(),
            environment=record.prepared.zygote.home.name,
            working_dir=str(record.plan.working_dir) if record.plan.working_dir is not None else None,
            placement=record.placement,
            assets=dict(record.prepared.assets),
        )
        try:
            record.pid = await record.prepared.zygote.spawn(message)
            record.born.set()
            if record.placement.memory is not None:
                record.gauge = Gauge(record.pid, record.placement.memory)
            if record.lifecycle.state == "stopping":  # retired before there was a process that could be told
                kill(record.pid)
            status = await exit_status_of_group(record.pid)
        except Exception as error:  # noqa: BLE001  # whatever keeps a process from being made is the start's failure
            record.failure = record.failure or failure.record(error, endpoint=f"{self.address} (start)", replica=record.identity)
            status = 256
        self._ended(record, status)

    def on_ready(self, record: ReplicaRecord) -> None:
        """Note that a replica takes requests."""
        record.lifecycle.move("started")
        record.ready_at = time.monotonic()
        self._deaths.started()
        if self.lifecycle.allows("first ready"):
            self.lifecycle.move("first ready")
        self.problem = None
        self._publish()
        if sum(r.plan is self.plan for r in self.ready) >= self.config.wanted_replicas and not self.settled.done():
            self.settled.set_result(None)

    def end(self, record: ReplicaRecord, why: str) -> None:
        """End a replica that has to go at once, and start another; its callers are told why before they lose it."""
        if record.lifecycle.allows("end"):
            record.lifecycle.move("end")
            record.ended_because = why
            with contextlib.suppress(ProcessLookupError):
                os.killpg(record.pid, signal.SIGSTOP)  # or it would go on meanwhile
            self._around.publish(self.routed({record.identity: why}))
            asyncio.get_running_loop().call_later(NOTICE, kill, record.pid)

    def _ended(self, record: ReplicaRecord, status: int) -> None:
        state = record.lifecycle.state
        record.lifecycle.move("died")
        record.gauge = None
        record.born.set()
        record.gone.set()
        record.counted.set()
        record.drained.set()
        self._records.remove(record)
        Path(record.socket).unlink(missing_ok=True)
        self._publish()
        unwanted = self._killed or self.lifecycle.state in ("deleting", "deleted") or record.plan is not self.plan
        if unwanted or state in ("draining", "stopping"):
            return
        self._replace_dead(record, exit_text(status))

    def _replace_dead(self, record: ReplicaRecord, how: str) -> None:
        cause = record.cause_of_death(how)
        self._last_death = f"{record.identity} {cause}"
        first = not self.settled.done()
        delay = self._deaths.delay(record.lived, first=first, raised=record.failure is not None)
        if delay is None and first:
            self._give_up(record, cause)
        elif delay is None:
            self._give_up(record, f"gave up after {self._deaths.failed_starts} failed starts in a row; the last {cause}")
        else:
            self._around.report(f"{record.identity} {cause}; a new one starts in {delay:.1f} s")
            if self.lifecycle.allows("all died") and not self.ready:
                self.lifecycle.move("all died")
            self._around.changed()
            self._keep(self._launch_later(delay))

    async def _launch_later(self, delay: float) -> None:
        await asyncio.sleep(delay)
        running = sum(record.plan is self.plan for record in self._records)
        if self.lifecycle.state not in ("deleting", "deleted", "failed") and running < self.config.wanted_replicas:
            self.restarts += 1
            self._launch(self.plan)

    def _give_up(self, record: ReplicaRecord, cause: str) -> None:
        self.problem = f"{self.address} {cause}"
        if self.settled.done():
            self._around.report(self.problem + ("\n" + failure.chain_text(record.failure) if record.failure is not None else ""))
        if not self.ready and self.lifecycle.allows("gave up"):
            self.lifecycle.move("gave up")
        self._publish()
        self._around.changed()
        if self.ready:  # the others go on; what keeps this one from starting may pass
            self._keep(self._launch_later(GIVEN_UP_RETRY))
        if not self.settled.done():
            error = StartError(self.problem, where=self.plan.place)
            if record.failure is not None:
                error.__cause__ = failure.rebuild(record.failure)
            self.settled.set_exception(error)
            self.settled.exception()  # several may wait for it, or nobody

    # -- all replicas ----------------------------------------------------------------------------------------------

    def begin(self, plan: NodePlan, prepared: Prepared, handles: Mapping[str, HandleSpec], reservation: Reservation) -> None:
        """Start replicas of a new version beside the old ones; `settled` tells of them, then `commit` or `roll_back`."""
        self._before = _Version(self.plan, self.prepared, self.handles, self.reservation)
        self.plan, self.prepared, self.handles = plan, prepared, handles
        self.settled = asyncio.get_running_loop().create_future()
        self._deaths.started()
        if self.lifecycle.allows("retry"):
            self.lifecycle.move("retry")
        self.start(reservation)

    async def commit(self) -> None:
        """Retire the old version, now that the new one takes requests."""
        before, self._before = self._before, None
        await asyncio.gather(*(self._retire(record) for record in list(self._records) if record.plan is not self.plan))
        self._release(before.reservation if before is not None else None)

    async def roll_back(self) -> None:
        """Retire what there is of the new version, and go on with the old one."""
        if self._before is None:
            return
        failed, without_use = self.plan, self.reservation
        self.plan, self.prepared, self.handles = self._before.plan, self._before.prepared, self._before.handles
        self.reservation, self._before = self._before.reservation, None
        if not self.settled.done():
            self.settled.set_result(None)
        self.problem = None if self.ready else self.problem
        self._replace_lost()
        await asyncio.gather(*(self._retire(record) for record in list(self._records) if record.plan is failed))
        self._release(without_use)
        self._publish()

    def _replace_lost(self) -> None:
        """Start what is missing: replicas that died while a new version started weren't replaced."""
        missing = self.config.wanted_replicas - sum(record.plan is self.plan for record in self._records)
        if missing <= 0 or self._killed or self.lifecycle.state in ("deleting", "deleted"):
            return
        self._deaths.started()
        if self.lifecycle.allows("retry"):
            self.lifecycle.move("retry")
        for _ in range(missing):
            self._launch(self.plan)

    def adopt(self, plan: NodePlan, prepared: Prepared) -> None:
        """Take a plan that differs in nothing that concerns running replicas, and what later ones are made with: the newest code."""
        for record in self._records:
            if record.plan is self.plan:
                record.plan = plan
        self.plan, self.prepared = plan, prepared

    async def count(self) -> None:
        """Ask all replicas how many calls they have; one that has just begun may be in no report yet."""
        asked = [record for record in self._records if record.connection is not None]
        for record in asked:
            record.counted.clear()
            if record.connection is not None:
                record.connection.send(Count())
        await asyncio.gather(*(record.counted.wait() for record in asked))

    async def delete(self, reason: str) -> None:
        """Drain and stop all replicas."""
        if self.lifecycle.state in ("deleting", "deleted"):
            return
        self.lifecycle.move("delete")
        self.problem = reason
        if not self.settled.done():
            self.settled.set_exception(ShuttingDown(f"{self.address} was deleted while it started"))
            self.settled.exception()  # as above
        self._publish()
        await asyncio.gather(*(self._retire(record) for record in list(self._records)))
        self.lifecycle.move("deleted")
        self._release(self.reservation)
        for task in self._tasks:
            task.cancel()

    def _release(self, reservation: Reservation | None) -> None:
        if reservation is not None:
            self._around.ledger.release(reservation)

    async def _retire(self, record: ReplicaRecord) -> None:
        """Drain and stop one replica; kill it if it doesn't end."""
        if record.gone.is_set():
            return
        drain = record.plan.options.drain
        if record.lifecycle.allows("drain") and record.connection is not None:
            record.lifecycle.move("drain")
            self._publish()
            record.connection.send(Drain(drain))
            try:
                async with asyncio.timeout(drain + 1):
                    await record.drained.wait()
            except TimeoutError:
                log.warning("%s didn't finish draining", record.identity)
        if record.lifecycle.allows("stop"):
            record.lifecycle.move("stop")
        if record.connection is not None:
            record.connection.send(Stop())
        elif record.pid:
            kill(record.pid)
        try:
            async with asyncio.timeout(END_WAIT):
                await record.gone.wait()
        except TimeoutError:
            log.warning("%s didn't stop; it is killed", record.identity)
            if record.pid:
                kill(record.pid)
            await record.gone.wait()

    def kill(self) -> None:
        """End all replicas at once, for good."""
        self._killed = True
        for record in self._records:
            if record.pid:
                kill(record.pid)

    def _publish(self) -> None:
        self._around.publish(self.routed())

    def _keep(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def status(self) -> NodeStatus:
        """Return what runs."""
        return NodeStatus(
            name=self.address,
            service=self.plan.service,
            state=self.lifecycle.state,
            replicas=tuple(record.status(self.restarts) for record in self._records),
            problem=self.problem,
            last_death=self._last_death,
            environment=self.prepared.zygote.home.name,
        )
