"""Zygotes in the environments of services: built, started and loaded, one for each distinct environment of an app."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from motet.engines.local.plan import AppPlan, NodePlan
from motet.engines.local.processes import Home, Zygote
from motet.errors import MotetError, StartError

if TYPE_CHECKING:
    from motet.environments import Built, Packages

T = TypeVar("T")

SHOWN = 8  # characters of an environment's key that tell it apart for people


class NewZygote(Protocol):
    """Starts a zygote."""

    def __call__(self, home: Home, *, ended: Callable[[], None]) -> Awaitable[Zygote]:
        """Start one in an environment; `ended` is called when no process will come from it any more."""
        ...


class Homes:
    """Gives each node of an app a zygote in its environment.

    Args:
        new_zygote: starts a process that has loaded nothing yet.
        report: takes lines about what is built and how long it has been.
    """

    def __init__(self, new_zygote: NewZygote, report: Callable[[str], None]) -> None:
        self._new_zygote = new_zygote
        self._report = report

    async def zygotes(self, plan: AppPlan, zygote: Zygote) -> dict[str, Zygote]:
        """Return the zygote of each node by its name; environments that aren't there yet are built.

        Args:
            plan: of the app.
            zygote: has the code loaded in the server's own environment, which is that of nodes that declare none.

        Raises:
            StartError: an environment can't be built, or a node can't run in it; nothing that was started is left.
        """
        for node in plan.nodes:
            _check_working_dir(node)
        packages = {node.name: _packages_of(node) for node in plan.nodes}
        for node in plan.nodes:
            _check_python(node, packages[node.name])
        own = {node.name: node for node in plan.nodes if packages[node.name] is not None or node.options.environment.env}
        if not own:
            return dict.fromkeys((node.name for node in plan.nodes), zygote)
        built = await self._build({name: found for name in own if (found := packages[name]) is not None})
        by_home: dict[str, tuple[Home, list[NodePlan]]] = {}
        for name, node in own.items():
            home = _home(built.get(name), node.options.environment.env)
            by_home.setdefault(home.key, (home, []))[1].append(node)
        started: list[Zygote] = []
        try:
            loading = [self._load(home, nodes, built.get(nodes[0].name), zygote, started) for home, nodes in by_home.values()]
            loaded = dict(zip(by_home, await together(loading), strict=True))
        except BaseException:
            await asyncio.gather(*(each.kill() for each in started))
            raise
        zygotes = {node.name: loaded[home.key] for home, nodes in by_home.values() for node in nodes}
        return {node.name: zygotes.get(node.name, zygote) for node in plan.nodes}

    async def _build(self, wanted: Mapping[str, Packages]) -> dict[str, Built]:
        """Return a finished environment for each node that has packages, those that are missing built at once."""
        if not wanted:
            return {}
        from motet.environments import build  # noqa: PLC0415  # most apps have none

        distinct = list(dict.fromkeys(wanted.values()))
        services = [[name for name, packages in wanted.items() if packages == each] for each in distinct]
        built = await together([build(p, services=names, report=self._report) for p, names in zip(distinct, services, strict=True)])
        return {name: built[distinct.index(packages)] for name, packages in wanted.items()}

    async def _load(self, home: Home, nodes: Sequence[NodePlan], built: Built | None, zygote: Zygote, started: list[Zygote]) -> Zygote:
        fresh = await self._new_zygote(home.within(zygote.home), ended=_keep(built))
        started.append(fresh)
        try:
            await fresh.load_as(zygote, nodes)
        except Exception as error:
            if isinstance(error, StartError):  # it says what and where
                raise
            names = ", ".join(node.name for node in nodes)
            text = error.message if isinstance(error, MotetError) else f"{type(error).__name__}: {error}"
            where = getattr(error, "where", None) or nodes[0].place
            raise StartError(f"{names} can't be loaded in the environment {home.name}: {text}", where=where) from error
        return fresh


def _keep(built: Built | None) -> Callable[[], None]:
    """Keep an environment from being thrown away until what is returned is called."""
    if built is None:
        return lambda: None
    from motet.environments import hold  # noqa: PLC0415  # as above

    return hold(built).close


def _packages_of(node: NodePlan) -> Packages | None:
    environment = node.options.environment
    if not environment.has_packages:
        return None
    from motet.environments import packages_of  # noqa: PLC0415  # as above

    return packages_of(environment, node.folder, subject=node.name, place=node.place)


def _home(built: Built | None, variables: Mapping[str, str]) -> Home:
    """Return what tells an environment apart and what a process in it is started with."""
    ordered = dict(sorted(variables.items()))
    key = repr((built.key if built is not None else "", ordered))
    words = ([built.key[:SHOWN]] if built is not None else []) + ([f"with {', '.join(ordered)}"] if ordered else [])
    name = " ".join(words)
    if built is None:
        return Home(variables=ordered, name=name, key=key)
    return Home(
        python=str(built.python),
        version=built.version,
        variables=ordered,
        name=name,
        key=key,
        layer=str(built.folder) if built.layered else None,
    )


def _check_working_dir(node: NodePlan) -> None:
    if node.working_dir is not None and not node.working_dir.is_dir():
        raise StartError(
            f"the working folder of {node.name} doesn't exist",
            where=node.place,
            found=str(node.working_dir),
            instead="a folder that exists; a relative path is relative to the file that defines the service",
        )


def _check_python(node: NodePlan, packages: Packages | None) -> None:
    """Refuse code that would travel compiled, which another minor version of Python can't read."""
    if node.cls_by_value is not None and packages is not None and not packages.is_own_python:
        raise StartError(
            f"{node.name} can't run on Python {packages.python}: its class can't be imported, so that it travels as compiled code, "
            f"which Python {sys.version_info[0]}.{sys.version_info[1]} has made",
            where=node.place,
            found=node.cls,
            instead="the class in a module of its own, or Environment without `python`",
        )


async def together(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all at once and return their results; when one fails the others are cancelled, and have ended, before it is raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
