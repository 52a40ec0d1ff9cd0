"""One replica, as the supervisor sees it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from motet.engines.interface import Placement, ReplicaStatus
from motet.engines.local.control import ControlConnection
from motet.engines.local.gauge import Gauge
from motet.engines.local.plan import NodePlan
from motet.engines.local.preparation import Prepared
from motet.runtime.lifecycle import Lifecycle
from motet.wire.failure import Failure


@dataclass(eq=False)
class ReplicaRecord:
    """What is known of a replica."""

    identity: str
    socket: str
    plan: NodePlan
    placement: Placement
    prepared: Prepared
    lifecycle: Lifecycle
    begun: float = field(default_factory=time.monotonic)
    pid: int = 0
    busy: int = 0
    ready_at: float | None = None
    connection: ControlConnection | None = None
    failure: Failure | None = None
    ended_because: str | None = None
    gauge: Gauge | None = None
    memory: int | None = None  # bytes, a moment ago
    born: asyncio.Event = field(default_factory=asyncio.Event)  # `pid` is known, or there won't be one
    counted: asyncio.Event = field(default_factory=asyncio.Event)
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def lived(self) -> float | None:
        """For how many seconds it has taken requests; None where it never did."""
        return time.monotonic() - self.ready_at if self.ready_at is not None else None

    def cause_of_death(self, how: str) -> str:
        """Return why it has died, where its process has ended `how`."""
        starting = self.ready_at is None
        if self.ended_because is not None:
            return f"was ended{' while starting' if starting else ''}: {self.ended_because}"
        if not starting:
            return f"died ({how})"
        return f"could not start: {_named(self.failure)}" if self.failure is not None else f"died while starting ({how})"

    def status(self, restarts: int) -> ReplicaStatus:
        """Return what is shown of it."""
        return ReplicaStatus(
            identity=self.identity,
            state=self.lifecycle.state,
            pid=self.pid,
            busy=self.busy,
            restarts=restarts,
            placement=self.placement,
            memory=self.memory,
        )


def _named(problem: Failure) -> str:
    """Return class and message of an exception; a message alone, a `KeyError`'s above all, may say nothing."""
    return f"{problem.kind.rpartition(':')[2]}: {problem.message}"
