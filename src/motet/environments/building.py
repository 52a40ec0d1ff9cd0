"""Building environments: each once, several at a time, and one that was interrupted never counts."""

from __future__ import annotations

import asyncio
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from motet.caching import size_text
from motet.environments import store
from motet.environments.commands import TELL_EVERY, Progress
from motet.environments.packages import Packages
from motet.environments.recipe import address
from motet.errors import StartError
from motet.locks import Lock
from motet.requirements import redacted

AT_ONCE = 4  # environments that one process builds


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A finished environment.

    Attributes:
        key: its content address.
        folder: that it is in.
        python: path of its interpreter.
        version: of Python, such as `3.12`.
        layered: whether the server's packages are there too.
    """

    key: str
    folder: Path
    python: Path
    version: str
    layered: bool


async def build(packages: Packages, *, services: Sequence[str], report: Callable[[str], None]) -> Built:
    """Return the environment with these packages; it is built if there is none.

    Args:
        packages: from `packages_of`.
        services: names of those who want it, for messages.
        report: takes a line about what is done and how long it has been.

    Raises:
        StartError: it can't be built; has the installer's last lines.
    """
    key = address(packages)
    folder = store.environment_folder(key)
    record = store.finished(folder) or await _build_once(packages, folder, services, Progress(_title(services), report))
    store.touch(folder)
    version = ".".join(record.python.split(".")[:2])
    return Built(key=key, folder=folder, python=store.python_of(folder), version=version, layered=record.layered)


def hold(built: Built) -> Lock:
    """Keep an environment from being thrown away, until what is returned is closed or the process ends.

    Raises:
        StartError: it has been thrown away already.
    """
    return store.hold(built.folder)


async def resolve(packages: Packages, *, services: Sequence[str], report: Callable[[str], None]) -> tuple[str, ...]:
    """Return what an environment would have besides the server's packages, as `name==version`; nothing is installed.

    Raises:
        StartError: the requirements can't be had, or not together.
    """
    from motet.environments.making import make  # noqa: PLC0415  # brings the installers along

    with tempfile.TemporaryDirectory(prefix="motet-") as folder:
        async with _places():
            made = await make(packages, Path(folder), services=services, progress=Progress(_title(services), report), install=False)
    return made.resolved


async def _build_once(packages: Packages, folder: Path, services: Sequence[str], progress: Progress) -> store.Record:
    try:
        async with store.building(folder, waiting=_Waiting(progress).tell):
            if (record := store.finished(folder)) is not None:  # by somebody else, meanwhile
                return record
            places = _places()
            if places.locked():
                progress.tell(f"waits until one of {AT_ONCE} others is ready")
            async with places:
                return await _build(packages, folder, services, progress)
    except OSError as error:
        instead = "room on the disk (motet env prune), or MOTET_CACHE_DIR on another one"
        raise StartError(f"the {progress.what} can't be written", where=str(folder), found=str(error), instead=instead) from None


async def _build(packages: Packages, folder: Path, services: Sequence[str], progress: Progress) -> store.Record:
    from motet.environments.making import make  # noqa: PLC0415  # brings the installers along, which a second start doesn't need

    begun = time.monotonic()
    try:
        await asyncio.to_thread(store.clear, folder)
        made = await make(packages, folder, services=services, progress=progress, install=True)
        record = store.Record(
            requirements=tuple(map(redacted, packages.requirements)),
            python=made.python,
            layered=packages.layered,
            installer=made.installer,
            seconds=round(time.monotonic() - begun, 2),
            size=await asyncio.to_thread(store.disk_size, folder),
            created=time.time(),
        )
        store.mark_finished(folder, record)
    except BaseException:
        await asyncio.to_thread(store.discard, folder)
        raise
    progress.tell(f"ready after {record.seconds:.1f} s, {size_text(record.size)}")
    return record


def _title(services: Sequence[str]) -> str:
    return f"environment for {', '.join(services)}"


_places_by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = weakref.WeakKeyDictionary()


def _places() -> asyncio.Semaphore:
    """Return what bounds the builds of this event loop."""
    return _places_by_loop.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE))


class _Waiting:
    """Tells at once, and then from time to time, who is waited for."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._next = 0.0

    def tell(self, builder: str) -> None:
        if self._progress.seconds >= self._next:
            self._next = self._progress.seconds + TELL_EVERY
            self._progress.tell(f"{builder} builds it already; waiting for {self._progress.seconds:.0f} s")
