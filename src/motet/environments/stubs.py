"""The server's packages as wheels that hold nothing but metadata, so that uv can resolve with what is there already.

uv takes only packages in the environment's own folder for installed. What it may choose from is files; so it gets files.
"""

from __future__ import annotations

import importlib.metadata
import zipfile
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from motet.environments.recipe import canonical, server_folders

_WHEEL = "Wheel-Version: 1.0\nGenerator: motet\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def server_versions(folder: Path) -> dict[str, Version]:
    """Write a wheel without content for each package of the server; return the versions by name.

    Args:
        folder: gets the wheels.
    """
    versions: dict[str, Version] = {}
    for name, version, metadata in _distributions():
        if name in versions:  # the first on the import path counts
            continue
        versions[name] = version
        base = f"{name.replace('-', '_')}-{version}"
        with zipfile.ZipFile(folder / f"{base}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{base}.dist-info/METADATA", metadata)
            wheel.writestr(f"{base}.dist-info/WHEEL", _WHEEL)
            wheel.writestr(f"{base}.dist-info/RECORD", "")
    return versions


def _distributions() -> Iterator[tuple[str, Version, str]]:
    for distribution in importlib.metadata.distributions(path=server_folders()):
        try:
            name, version = canonical(distribution.name), Version(distribution.version)
        except (InvalidVersion, TypeError):  # what is left of an installation that was interrupted
            continue
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Python: {text}" for text in distribution.metadata.get_all("Requires-Python") or ()]
        lines += [f"Provides-Extra: {extra}" for extra in distribution.metadata.get_all("Provides-Extra") or ()]
        lines += [f"Requires-Dist: {_without_url(text)}" for text in distribution.requires or ()]
        yield name, version, "\n".join([*lines, ""])


def _without_url(text: str) -> str:
    """Return what a package requires by name alone: uv refuses URLs there, and what they stand for is installed already."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return text
    requirement.url = None
    return str(requirement)
