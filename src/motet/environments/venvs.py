"""An empty virtual environment: of which Python, and what is on its import path before anything is installed."""

from __future__ import annotations

import sys
from pathlib import Path

from motet.environments.commands import Progress, run_command
from motet.environments.interpreters import find_python
from motet.environments.packages import Packages
from motet.environments.recipe import MOTET, server_folders
from motet.environments.settings import installer_environment

OWN_VERSION = ".".join(map(str, sys.version_info[:3]))
LINK = "motet"  # a folder that holds nothing but a link to the package


async def make_venv(folder: Path, packages: Packages, *, with_pip: bool, progress: Progress) -> str:
    """Make a virtual environment without packages of its own, in which Motet can be imported; return the version of its Python.

    Raises:
        StartError: there is no such Python.
        CommandFailed: it can't make environments.
    """
    if packages.is_own_python:
        interpreter, version = Path(sys.executable), OWN_VERSION
    else:
        found = await find_python(str(packages.python))
        interpreter, version = found.path, ".".join(map(str, found.version))
    command: list[str | Path] = [interpreter, "-I", "-m", "venv", *([] if with_pip else ["--without-pip"]), folder]
    ended = await run_command(command, folder=folder, variables=installer_environment(), progress=progress)
    ended.check(f"{interpreter} can't make virtual environments")
    _furnish(folder, layered=packages.layered)
    return version


def _furnish(folder: Path, *, layered: bool) -> None:
    """Put into an empty environment what is to be found from it: settings of pip, Motet, the server's packages."""
    settings = Path(sys.prefix, "pip.conf")  # pip looks for it beside the Python that it installs for
    if settings.is_file():
        (folder / settings.name).symlink_to(settings)
    link = folder / LINK
    link.mkdir()
    (link / "motet").symlink_to(MOTET)
    lines = [str(link)]
    if layered:
        # Adding a folder so, and not by its bare path, has the `.pth` files in it obeyed: packages that are installed as editable.
        lines += [f"import site; site.addsitedir({server!r})" for server in server_folders()]
    (site_packages(folder) / "motet.pth").write_text("\n".join([*lines, ""]), encoding="utf-8")


def site_packages(folder: Path) -> Path:
    """Return the folder that packages of an environment are installed in."""
    return next(folder.glob("lib/python3.*/site-packages"))
