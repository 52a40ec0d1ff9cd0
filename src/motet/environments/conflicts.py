"""Which of the server's packages may fail in an environment, because of what lies on top of them there."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from motet.environments.recipe import canonical, server_folders


def unmet(folder: Path) -> list[str]:
    """Return what the server's packages require and don't find.

    Args:
        folder: that the environment's own packages are in.
    """
    own: dict[str, str] = {canonical(each.name): each.version for each in importlib.metadata.distributions(path=[str(folder)])}
    found: list[str] = []
    for distribution in importlib.metadata.distributions(path=server_folders()):
        if canonical(distribution.name) in own:
            continue
        for line in distribution.requires or ():
            requirement = _requirement(line)
            version = own.get(canonical(requirement.name)) if requirement is not None else None
            if requirement is not None and version is not None and not _meets(requirement, version):
                found.append(
                    f"the server's {distribution.name} {distribution.version} wants {requirement.name}{requirement.specifier}, "
                    f"which is {version} here; name {distribution.name} among the requirements if it is needed"
                )
    return found


def _requirement(line: str) -> Requirement | None:
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return None
    return requirement if requirement.marker is None or requirement.marker.evaluate({"extra": ""}) else None


def _meets(requirement: Requirement, version: str) -> bool:
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return True
