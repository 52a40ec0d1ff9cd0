"""What nodes need before replicas of them can be started: a zygote with their code, secrets and assets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from motet.engines.assets import AssetKeeper, Needs
from motet.engines.local.homes import Homes, together
from motet.engines.local.plan import AppPlan, NodePlan
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
        assets: files and models that services want to have.
    """

    def __init__(self, homes: Homes, assets: AssetKeeper) -> None:
        self._homes = homes
        self._assets = assets
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
        getting = asyncio.create_task(self._get(plan, zygote))
        self._running.add(getting)
        try:
            return await getting
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                getting.cancel()
                await asyncio.gather(getting, return_exceptions=True)
                raise
            raise ShuttingDown(f"the server stopped while {plan.name} was prepared") from None
        finally:
            self._running.discard(getting)

    async def _get(self, plan: AppPlan, zygote: Zygote) -> dict[str, Prepared]:
        """Get zygotes and assets at once; the first failure ends the rest of it."""
        zygotes: dict[str, Zygote] = {}
        assets: dict[str, dict[str, str]] = {}

        async def start() -> None:
            zygotes.update(await self._homes.zygotes(plan, zygote))

        async def fetch() -> None:
            assets.update(await self._assets.have([_needs(node) for node in plan.nodes]))

        try:
            await together([start(), fetch()])
        except BaseException:
            await asyncio.gather(*(each.kill() for each in set(zygotes.values()) - {zygote}))
            raise
        return {node.name: Prepared(zygote=zygotes[node.name], assets=assets.get(node.name, {})) for node in plan.nodes}


def _needs(node: NodePlan) -> Needs:
    options = node.options
    return Needs(service=node.name, place=node.place, folder=Path(node.folder), assets=options.assets, environment=options.environment.env)
