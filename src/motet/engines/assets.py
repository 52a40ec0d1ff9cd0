"""Assets, as engines have them in place: what is there already costs a look at the disk, all else a process that fetches it."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from motet.assets import hub, store
from motet.assets.tasks import Failed, HubTask, Note, Order, Progress, Ready, Task, Told, UrlTask
from motet.caching import size_text
from motet.engines.local.processes import end_of, kill, start_process
from motet.errors import StartError
from motet.graph import GraphNode
from motet.locks import Lock
from motet.options import Assets
from motet.secret_sources import API_KEY, NOTHING_FOUND, Found
from motet.sources import HubSource, Kind, LocalSource, UrlSource, parse_source, shown

REPORT_INTERVAL = 5.0  # s between two lines about one download
LINE_LIMIT = 2**20  # bytes
TOKEN = "HF_TOKEN"  # noqa: S105  # the name of the secret and of the variable


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one service wants to have in place.

    Attributes:
        service: its name, for messages.
        place: `file:line` where it was bound.
        folder: what relative paths are relative to.
        assets: what it declares.
        environment: variables that it will have beside those of this process: they may say where the hub and its cache are.
        secrets: those that it gets; a token of the hub may be among them.
    """

    service: str
    place: str
    folder: Path
    assets: Assets
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def declared(self) -> list[tuple[str, Kind]]:
        """Return what is to be there, and of which kind."""
        return [*((text, "model") for text in self.assets.models), *((text, "data") for text in self.assets.data)]

    def sources(self) -> list[tuple[str, LocalSource | UrlSource | HubSource]]:
        """Return what is to be there, and where it comes from."""
        return [(text, parse_source(text, kind, self.folder)) for text, kind in self.declared()]


def needs_of(node: GraphNode, found: Found = NOTHING_FOUND) -> Needs:
    """Return what the service of a node wants to have, which was given the secrets and variables that were found."""
    config = node.config
    return Needs(
        service=node.name,
        place=node.place,
        folder=node.definition.folder,
        assets=config.assets,
        environment={**found.variables, **config.environment.env},
        secrets=found.secrets.get(node.name, {}),
    )


@dataclass(slots=True)
class _Wanted:
    """One distinct asset: how it is called in messages, who wants it, and how its download goes."""

    text: str
    services: list[str]
    place: str
    reported: float = 0.0


class AssetKeeper:
    """Has assets in place, each once; those that were there are taken for good, and aren't thrown away, until this is closed.

    Args:
        report: gets a line for each thing that a person should know.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._there: dict[Task, str] = {}
        self._held: dict[Task, Lock] = {}

    def close(self) -> None:
        """Let go of what was in place."""
        for lock in self._held.values():
            lock.close()
        self._held.clear()

    async def have(self, needs: Sequence[Needs]) -> dict[str, dict[str, str]]:
        """Have all assets of some services in place, several at once.

        Returns:
            For each service that declares any the path of each, by the declared text; URLs count without their checksum, too.

        Raises:
            StartError: one can't be had.
        """
        wanted = self._look(needs)
        if missing := {task: asset for task, asset in wanted.items() if task not in self._there}:
            self._there |= await self._fetch(missing)
        for task in wanted:
            if isinstance(task, UrlTask) and task not in self._held:
                self._held[task] = store.hold(Path(self._there[task]))
        return {need.service: self._paths(need) for need in needs if need.declared()}

    def _look(self, needs: Sequence[Needs]) -> dict[Task, _Wanted]:
        """Return what may have to be fetched, and note what of it is there."""
        wanted: dict[Task, _Wanted] = {}
        for need in needs:
            for text, source in need.sources():
                if isinstance(source, LocalSource):
                    _check(source, need, text)
                    continue
                asset = wanted.setdefault(_task(source, need), _Wanted(shown(text), [], need.place))
                asset.services += [need.service] if need.service not in asset.services else []
        for task in wanted:
            if (path := self._there.pop(task, None)) is not None and Path(path).exists():
                self._there[task] = path
                continue
            if (lock := self._held.pop(task, None)) is not None:
                lock.close()
            if (ready := _ready(task)) is not None:
                self._there[task] = str(ready)
        return wanted

    def _paths(self, need: Needs) -> dict[str, str]:
        paths: dict[str, str] = {}
        for text, source in need.sources():
            path = str(source.path) if isinstance(source, LocalSource) else self._there[_task(source, need)]
            paths[text] = path
            if isinstance(source, UrlSource):
                paths[source.url] = path
        return paths

    async def _fetch(self, wanted: Mapping[Task, _Wanted]) -> dict[Task, str]:
        """Have a process fetch; it ends when this is cancelled."""
        ours, theirs = socket.socketpair()
        try:
            pid = start_process(
                "motet.assets.process",
                str(theirs.fileno()),
                str(os.getpid()),
                descriptors=(theirs.fileno(),),
                environment={name: value for name, value in os.environ.items() if name != API_KEY},
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        try:
            reader, writer = await asyncio.open_connection(sock=ours, limit=LINE_LIMIT)
            try:
                writer.write(msgspec.json.encode(Order(tuple(wanted))) + b"\n")
                return await self._follow(reader, wanted)
            finally:
                writer.close()
        finally:
            kill(pid)
            await end_of(pid)

    async def _follow(self, reader: asyncio.StreamReader, wanted: Mapping[Task, _Wanted]) -> dict[Task, str]:
        tasks = list(wanted.items())
        begun = time.monotonic()
        found: dict[Task, str] = {}
        fetched: list[int] = []
        while len(found) < len(tasks) and (line := await reader.readline()):
            told: Told = msgspec.json.decode(line, type=Told)
            task, asset = tasks[told.task]
            now = time.monotonic()
            who = f"{', '.join(asset.services)}: {asset.text}"
            if isinstance(told, Progress):
                if not asset.reported or now - asset.reported >= REPORT_INTERVAL:
                    asset.reported = now
                    self._report(f"{who}: {_progress(told)}, {now - begun:.0f} s")
            elif isinstance(told, Note):
                self._report(f"{who}: {told.text}")
            elif isinstance(told, Ready):
                found[task] = told.path
                fetched += [told.fetched] if told.fetched else []
            else:
                raise _start_error(asset, told)
        if len(found) < len(tasks):
            missing = next(asset for task, asset in tasks if task not in found)
            raise _start_error(missing, Failed(0, "the process that fetches ended", instead="see its output above"))
        if fetched:
            rest = f", {len(found) - len(fetched)} unchanged" if len(fetched) < len(found) else ""
            self._report(f"assets: {len(fetched)} fetched ({size_text(sum(fetched))}){rest}, {time.monotonic() - begun:.1f} s")
        return found


def _progress(told: Progress) -> str:
    return f"fetching, {size_text(told.done)}" + (f" of {size_text(told.total)}" if told.total is not None else "")


def _start_error(asset: _Wanted, told: Failed) -> StartError:
    where = f"{told.where}, for {', '.join(asset.services)}" if told.where is not None else asset.place
    message = f"{', '.join(asset.services)}: the asset {asset.text} can't be had: {told.message}"
    return StartError(message, where=where, found=told.found, instead=told.instead)


def _check(source: LocalSource, need: Needs, text: str) -> None:
    if not source.path.exists():
        raise StartError(
            f"{need.service}: the asset {text} doesn't exist",
            where=need.place,
            found=str(source.path),
            instead="a path that exists; relative ones are relative to the file that defines the service",
        )


def _task(source: UrlSource | HubSource, need: Needs) -> Task:
    if isinstance(source, UrlSource):
        return UrlTask(source.url, source.sha256)
    own = need.environment
    known = {**os.environ, **own}
    home = own.get("HF_HOME")
    return HubTask(
        name=source.name,
        revision=source.revision,
        cache=own.get("HF_HUB_CACHE") or (str(Path(home) / "hub") if home else None),
        endpoint=known.get("HF_ENDPOINT") or None,
        offline=known.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"),
        token=need.secrets.get(TOKEN) or own.get(TOKEN) or None,
    )


def _ready(task: Task) -> Path | None:
    """Return where an asset is that needn't be asked for: its content was checked, and can't change."""
    if isinstance(task, HubTask):
        return hub.ready(task)
    if task.sha256 is None:
        return None
    folder = store.folder_of(task.url, task.sha256)
    if (entry := store.read(folder)) is None:
        return None
    store.note_use(folder)
    return folder / entry.file
