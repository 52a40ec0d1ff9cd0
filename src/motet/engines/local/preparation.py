"""What nodes need before replicas of them can be started: a zygote with their code, secrets and assets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from motet.engines.local.homes import Homes
from motet.engines.local.plan import AppPlan
from motet.engines.local.processes import Zygote
from motet.errors import ShuttingDown


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What replicas of one node are made with, beside its plan.

    Attributes:
        zygote: has the node's code loaded, in the node's environment.
        secrets: values by the names that the node declares.
        assets: local paths by what the node declares.
    """

    zygote: Zygote
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    assets: Mapping[str, str] = field(default_factory=dict[str, str])


class Preparation:
    """Gets what the nodes of a plan need, all of it at once, before anything is started.

    Args:
        homes: zygotes in the environments of services.
    """

    def __init__(self, homes: Homes) -> None:
        self._homes = homes
        self._running: set[asyncio.Task[object]] = set()

    def stop(self) -> None:
        """End what is being prepared: those who wait for it get a `ShuttingDown`."""
        for task in self._running:
            task.cancel()

    async def prepare(self, plan: AppPlan, zygote: Zygote) -> dict[str, Prepared]:
        """Return what each node is made with, by its name.

        Args:
            plan: of the app.
            zygote: has the app's code loaded, in the server's own environment.

        Raises:
            StartError: something can't be had; nothing that was started for it is left.
            ShuttingDown: the server stops.
        """
        zygotes = asyncio.create_task(self._homes.zygotes(plan, zygote))
        self._running.add(zygotes)
        try:
            by_name = await zygotes
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                zygotes.cancel()
                await asyncio.gather(zygotes, return_exceptions=True)
                raise
            raise ShuttingDown(f"the server stopped while {plan.name} was prepared") from None
        finally:
            self._running.discard(zygotes)
        return {node.name: Prepared(zygote=by_name[node.name]) for node in plan.nodes}
