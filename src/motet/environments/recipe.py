"""What an environment is made from, and the address that follows from it."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import re
import site
import sys
import sysconfig
from pathlib import Path

from motet.environments.packages import Packages
from motet.environments.settings import decisive_settings
from motet.errors import StartError
from motet.requirements import is_location

ADDRESS = 20  # hexadecimal digits
FORMAT = "1"  # of an environment; a new one makes all anew
MOTET = Path(__file__).parent.parent  # the package

_DISTRIBUTION = re.compile(r".*\.(dist-info|egg-info|egg-link)$").fullmatch
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def address(packages: Packages) -> str:
    """Return the address of an environment: a digest of all that decides what is in it."""
    parts = [FORMAT, sysconfig.get_platform(), str(MOTET)]
    if packages.is_own_python:
        parts += [sys.implementation.cache_tag, sys.abiflags, ".".join(map(str, sys.version_info[:3])), sys.base_prefix]
    parts += [packages.python or ""]
    if packages.layered:
        parts += ["layered", *server_distributions()]
    else:
        parts += ["isolated", *own_requirements()]
    parts += ["requirements", *sorted(map(_plain, packages.requirements))]
    parts += ["constraints", *sorted(map(_plain, packages.constraints))]
    parts += ["options", *packages.options, packages.contents, *decisive_settings()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:ADDRESS]


def _plain(requirement: str) -> str:
    """Return a requirement so that two ways to write one look the same."""
    if requirement.startswith("-") or is_location(requirement) or "@" in requirement:
        return requirement
    found = _NAME.match(requirement)
    name = found.group() if found is not None else ""
    versions, semicolon, marker = requirement[len(name) :].partition(";")
    return canonical(name) + re.sub(r"\s+(?!-)", "", versions) + semicolon + marker.strip()


def canonical(name: str) -> str:
    """Return the one spelling of a distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def server_folders() -> list[str]:
    """Return the folders that hold the packages of this process's Python, in the order of the import path."""
    folders = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    # Resolved: a server started through a link to its environment is the same server.
    return [os.path.realpath(folder) for folder in folders if os.path.isdir(folder)]  # noqa: PTH112  # strings, as site has them


def server_distributions() -> list[str]:
    """Return what the server has installed, by the names of the folders that say so: name, version and place of each."""
    found: list[str] = []
    for folder in server_folders():
        found += [folder, *sorted(entry.name for entry in os.scandir(folder) if _DISTRIBUTION(entry.name))]
    return found


@functools.cache
def own_requirements() -> tuple[str, ...]:
    """Return what Motet itself needs.

    Raises:
        StartError: it isn't installed, so that nobody knows.
    """
    try:
        requirements = importlib.metadata.requires("motet") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise StartError(
            "what Motet needs isn't known, since it isn't installed", where=str(MOTET), instead="pip install -e ., or pip install motet"
        ) from error
    return tuple(requirement for requirement in requirements if "extra ==" not in requirement)
