"""Making one environment, from an empty folder to its last package; imported when there is one to make."""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from motet.environments.commands import CommandFailed, Progress
from motet.environments.conflicts import unmet
from motet.environments.installers import Work, find_installer
from motet.environments.packages import Packages
from motet.environments.recipe import canonical, own_requirements
from motet.environments.venvs import OWN_VERSION, make_venv, site_packages
from motet.errors import StartError
from motet.requirements import redacted

SHOWN = 15  # of the last lines of an installer that failed
NAMED = 3  # requirements in a line of progress, and conflicts

_UNREACHABLE = re.compile(
    r"name resolution|NameResolution|getaddrinfo|dns error|Failed to establish a new connection|Connection (refused|reset|timed out)"
    r"|ConnectTimeout|ReadTimeout|error sending request|Network is unreachable|operation timed out|Could not connect|tcp connect error",
    re.IGNORECASE,
)
_FULL = re.compile(r"No space left on device|os error 28|Disk quota exceeded")
_NOISE = re.compile(r"\[notice\]|WARNING: (Retrying|Location)|Looking in").match
_ERROR = re.compile(r"\s*(ERROR|error)\b").match
_LINE = re.compile(r"-r \S*/requirements\.txt \(line (\d+)\)")  # as pip names what stands in the file that it got


@dataclass(frozen=True, slots=True)
class Made:
    """How an environment was made: version of its Python, the installer's name, and what it has besides the server's packages."""

    python: str
    installer: str
    resolved: tuple[str, ...] = ()


async def make(packages: Packages, folder: Path, *, services: Sequence[str], progress: Progress, install: bool) -> Made:
    """Make an environment in an empty folder.

    Args:
        packages: that it has in the end.
        folder: exists already.
        services: that want it.
        progress: is told what is done.
        install: whether to install; otherwise only what would be is found out.

    Raises:
        StartError: it can't be made; has the installer's last lines.
    """
    installer = find_installer(packages)
    try:
        async with progress.telling():
            with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as scratch:
                above = "on top of the server's packages" if packages.layered else "without the server's packages"
                progress.tell(f"{_named(packages)} for Python {packages.python or OWN_VERSION}, {above}, by {installer.name}")
                python = await make_venv(folder, packages, with_pip=installer.with_pip, progress=progress)
                work = Work(packages, folder, Path(scratch), progress)
                if not install:
                    return Made(python, installer.name, tuple(await installer.resolve(work)))
                if packages.requirements or not packages.layered:
                    await installer.install(work)
                if packages.layered:
                    for conflict in (await asyncio.to_thread(unmet, site_packages(folder)))[:NAMED]:
                        progress.tell(f"note: {conflict}")
                return Made(python, installer.name)
    except CommandFailed as error:
        raise _failure(error, packages, services, folder) from None


def _named(packages: Packages) -> str:
    names = [_shown(requirement) for requirement in packages.requirements]
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (", ".join(names[:NAMED]) or "Motet alone") + rest


def _shown(requirement: str) -> str:
    """Return a requirement as messages have it: without hashes and passwords."""
    return redacted(requirement).partition(" --hash")[0]


def _failure(failed: CommandFailed, packages: Packages, services: Sequence[str], folder: Path) -> StartError:
    """Return what to tell of an installer that failed."""
    lines, message = failed.lines, failed.message
    said = list(itertools.dropwhile(lambda line: not _ERROR(line), lines)) or [line for line in lines if not _NOISE(line)]
    asked = [*packages.options, *packages.requirements]

    def of_line(found: re.Match[str]) -> str:
        number = int(found.group(1))
        return _shown(asked[number - 1]) if number <= len(asked) else "Motet"

    text = "\n".join(lines)
    instead = "requirements that can be met together, and that the package index has"
    if _FULL.search(text):
        free = shutil.disk_usage(folder.parent).free
        message = f"the disk is full: {free / 2**20:.0f} MiB are free"
        instead = "motet env prune, or MOTET_CACHE_DIR on another disk"
    elif _UNREACHABLE.search(text):
        message = "the package index can't be reached"
        instead = "check the network and the settings of pip; offline, a folder of wheels: PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels"
    elif own := _own_of(_guilty(text, packages)):
        instead += f"; Motet itself needs {', '.join(own)}"
    return StartError(
        f"the environment of {', '.join(services)} can't be built: {message}",
        where=", ".join(_guilty(text, packages)) or "Motet's own requirements",
        found="\n" + "\n".join(f"    {line}" for line in (_LINE.sub(of_line, line) for line in said[-SHOWN:])),
        instead=instead,
    )


def _guilty(text: str, packages: Packages) -> list[str]:
    """Return the requirements that an installer's words name, else all."""
    named = [requirement for requirement in packages.requirements if _name(requirement).lower() in text.lower().replace("_", "-")]
    return [_shown(requirement) for requirement in named or packages.requirements]


def _own_of(requirements: Sequence[str]) -> list[str]:
    """Return what Motet needs of packages that are asked for: installers say that something else is needed, and not by whom."""
    names = {canonical(_name(requirement)) for requirement in requirements}
    return [own.partition(";")[0].strip() for own in own_requirements() if canonical(_name(own)) in names]


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9][\w.-]*", requirement)
    return re.sub(r"[-_.]+", "-", found.group()) if found is not None else requirement
