"""`motet serve --reload`: on a change of the code, a new zygote loads it, and services whose code changed are replaced."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from watchfiles import Change, PythonFilter, awatch

from motet.cli.errors import files_in
from motet.cli.serving import Screen
from motet.engines.local.plan import AppPlan
from motet.engines.local.processes import Zygote
from motet.engines.local.supervisor import Supervisor

QUIET = 100  # ms without a further change, after which the changes so far are taken together
LOOK = 1000  # ms between looks for what changed while nobody watched
CLOCK = 0.05  # s that the time of a file may be behind the clock

Load = Callable[[], Awaitable[tuple[Zygote, AppPlan]]]


class Reloader:
    """Keeps a running app at the newest code that works.

    Args:
        supervisor: of the app.
        load: loads the target in a new zygote.
        zygote: of what runs.
        target: file or module and name.
        given: files and folders of secrets and variables, which are watched as well.
        since: seconds since the epoch at which loading what runs began.
        screen: where to say what happens.
    """

    def __init__(
        self, supervisor: Supervisor, load: Load, zygote: Zygote, *, target: str, given: tuple[Path, ...], since: float, screen: Screen
    ) -> None:
        self._supervisor = supervisor
        self._load = load
        self._zygote = zygote
        self._given = given
        self._is_code = PythonFilter()
        self._source = Path(target.rpartition(":")[0]).resolve()
        self._since = since
        self._screen = screen
        self._suspects: set[str] = set()  # files that a failed attempt came through

    def folders(self) -> frozenset[Path]:
        """Return the folders that the user's code was loaded from, and what it is given."""
        files = [self._source, *map(Path, (*self._zygote.files, *self._suspects))]
        folders = [path if path.is_dir() else path.parent for path in self._given]
        return frozenset(folder for folder in (*folders, *(file.parent for file in files)) if folder.is_dir())

    def _matters(self, change: Change, path: str) -> bool:
        return self._is_code(change, path) or any(Path(path) == given or Path(path).parent == given for given in self._given)

    async def run(self) -> None:
        """Watch and reload until cancelled."""
        while True:
            folders = self.folders()
            watching = awatch(*folders, watch_filter=self._matters, recursive=False, step=QUIET, rust_timeout=LOOK, yield_on_timeout=True)
            async for changes in watching:
                if changes or self._newer(folders):
                    await self._reload()
                if self.folders() != folders:
                    break

    def _newer(self, folders: Iterable[Path]) -> bool:
        """Whether a file that matters has changed since the last look."""
        files = [file for folder in folders for file in folder.glob("*.py")]
        files += [file for path in self._given for file in (path.iterdir() if path.is_dir() else [path])]
        for file in files:
            try:
                if file.stat().st_mtime > self._since - CLOCK:
                    return True
            except OSError:  # it has just been removed
                continue
        return False

    async def _reload(self) -> None:
        self._since = time.time()
        zygote: Zygote | None = None
        try:
            zygote, plan = await self._load()
            names = await self._supervisor.update(plan, zygote)
        except Exception as error:  # noqa: BLE001  # users' code may raise anything when it is loaded
            if zygote is not None:
                await zygote.kill()
            self._suspects = files_in(error)
            self._screen.problem(error)
            self._screen.progress("not reloaded: the old version goes on serving")
            return
        self._zygote = zygote
        self._suspects = set()
        await self._supervisor.close_unused_zygotes()
        self._screen.progress(f"reloaded: {', '.join(names)} restarted" if names else "reloaded: no service has changed")
