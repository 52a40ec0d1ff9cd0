"""What nodes need before replicas of them can be started: a zygote with their code, secrets and assets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from motet.engines.assets import AssetKeeper, Needs
from motet.engines.local.homes import Homes, together
from motet.engines.local.plan import AppPlan, NodePlan
from motet.engines.local.processes import Zygote
from motet.errors import ShuttingDown
from motet.secret_sources import Found, Marks, find


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What replicas of one node are made with, beside its plan.

    Attributes:
        zygote: has the node's code loaded, in the node's environment.
        secrets: values by the names that the node declares.
        variables: environment variables that all nodes get.
        assets: local paths by what the node declares.
    """

    zygote: Zygote
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    variables: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    assets: Mapping[str, str] = field(default_factory=dict[str, str])


class Preparation:
    """Gets what the nodes of a plan need, all of it at once, before anything is started.

    Args:
        homes: zygotes in the environments of services.
        assets: files and models that services want to have.
        report: gets a line for each thing that a person should know.
    """

    def __init__(self, homes: Homes, assets: AssetKeeper, report: Callable[[str], None]) -> None:
        self._homes = homes
        self._assets = assets
        self._report = report
        self._salt = os.urandom(32)
        self._running: dict[asyncio.Task[object], str] = {}  # names of apps

    def stop(self, app: str | None = None) -> None:
        """End what is being prepared, for one app or for all: those who wait for it get a `ShuttingDown`."""
        for task, name in self._running.items():
            if app in (None, name):
                task.cancel()

    def close(self) -> None:
        """Let go of what was kept in place for nodes; they have ended."""
        self._assets.close()

    async def prepare(self, plan: AppPlan, zygote: Zygote, admit: Callable[[AppPlan], None]) -> tuple[AppPlan, dict[str, Prepared]]:
        """Return the plan, in which nodes that were given other values are other nodes, and what each is made with, by its name.

        Args:
            plan: of the app.
            zygote: has the app's code loaded, in the server's own environment.
            admit: is called with the plan that is returned before anything is got, and raises what speaks against it.

        Raises:
            StartError: something can't be had: a secret is missing, say; nothing that was started for it is left.
            ShuttingDown: the server stops, or the app is deleted.
        """
        found = find(zygote.home.sources, plan.wanted_secrets, zygote.home.given)
        for warning in found.warnings:
            self._report(warning)
        marked = self._marked(plan, found)
        admit(marked)
        getting = asyncio.create_task(self._get(plan, zygote, found))
        self._running[getting] = plan.name
        try:
            return marked, await getting
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                getting.cancel()
                await asyncio.gather(getting, return_exceptions=True)
                raise
            raise ShuttingDown(f"{plan.name} was stopped while it was prepared") from None
        finally:
            del self._running[getting]

    async def _get(self, plan: AppPlan, zygote: Zygote, found: Found) -> dict[str, Prepared]:
        """Get zygotes and assets at once; the first failure ends the rest of it."""
        zygotes: dict[str, Zygote] = {}
        assets: dict[str, dict[str, str]] = {}

        async def start() -> None:
            zygotes.update(await self._homes.zygotes(plan, zygote))

        async def fetch() -> None:
            assets.update(await self._assets.have([_needs(node, found) for node in plan.nodes]))

        try:
            await together([start(), fetch()])
        except BaseException:
            await asyncio.gather(*(each.kill() for each in set(zygotes.values()) - {zygote}))
            raise
        return {
            name: Prepared(
                zygote=zygotes[name], secrets=found.secrets.get(name, {}), variables=found.variables, assets=assets.get(name, {})
            )
            for name in zygotes
        }

    def _marked(self, plan: AppPlan, found: Found) -> AppPlan:
        marks = Marks(found, salt=self._salt)
        nodes = tuple(
            replace(node, digest=marks.digest(node.name, node.digest), identity=marks.identity(node.name, node.identity, node.dependencies))
            for node in plan.nodes
        )
        return replace(plan, nodes=nodes)


def _needs(node: NodePlan, found: Found) -> Needs:
    options = node.options
    return Needs(
        service=node.name,
        place=node.place,
        folder=Path(node.folder),
        assets=options.assets,
        environment={**found.variables, **options.environment.env},
        secrets=found.secrets.get(node.name, {}),
    )
