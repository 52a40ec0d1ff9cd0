"""What nodes need before replicas of them can be started: a zygote with their code, secrets and assets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from motet.engines.local.plan import AppPlan
from motet.engines.local.processes import Zygote


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
    """Gets what the nodes of a plan need, all of it at once, before anything is started."""

    async def prepare(self, plan: AppPlan, zygote: Zygote) -> dict[str, Prepared]:
        """Return what each node is made with, by its name.

        Args:
            plan: of the app.
            zygote: has the app's code loaded, in the server's own environment.
        """
        return {node.name: Prepared(zygote=zygote) for node in plan.nodes}
