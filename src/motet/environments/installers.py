"""The two installers: uv where it is present, else pip."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from motet.environments.commands import Progress, run_command
from motet.environments.packages import Packages
from motet.environments.recipe import canonical, own_requirements
from motet.environments.settings import installer_environment, pip_settings
from motet.environments.store import python_of
from motet.environments.stubs import server_versions
from motet.environments.uv_settings import uv_environment
from motet.errors import StartError
from motet.requirements import is_location

CHOICE = "MOTET_INSTALLER"  # environment variable: `uv` or `pip`
OLDEST_PIP = Version("22.3")  # installs into another environment than its own

_HASH = re.compile(r"--hash=\S+")
_AT_WORK = {"compile": "finding versions that go together", "install": "downloading and installing"}  # uv itself says nothing meanwhile
_UV_TAKES = ("--index-url", "--extra-index-url", "--find-links", "--no-index", "--no-binary", "--only-binary")


class Installer(Protocol):
    """Finds out what has to be installed into an empty environment, and installs it."""

    name: str
    with_pip: bool  # whether it needs pip in the environment

    async def resolve(self, work: Work) -> list[str]:
        """Return what would be installed, as `name==version`."""
        ...

    async def install(self, work: Work) -> None:
        """Install it."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """What an installer works on.

    Attributes:
        packages: that have to be there in the end.
        folder: of the environment.
        scratch: an empty folder for files that are needed meanwhile.
        progress: is told what the installer says.
    """

    packages: Packages
    folder: Path
    scratch: Path
    progress: Progress

    def requirements_file(self, options: Iterable[str]) -> Path:
        """Write what is asked for, and Motet's own requirements where the server's packages aren't there."""
        own = () if self.packages.layered else own_requirements()
        return self._write("requirements.txt", [*options, *self.packages.requirements, *own])

    def constraints_file(self) -> Path:
        """Write the constraints; what is installed over the server's packages must suit Motet."""
        return self._write("constraints.txt", [*self.packages.constraints, *own_requirements()])

    def _write(self, name: str, lines: Iterable[str]) -> Path:
        path = self.scratch / name
        path.write_text("\n".join([*lines, ""]), encoding="utf-8")
        return path


class Pip:
    """pip: sees the server's packages through the environment's import path and leaves what is there already."""

    name = "pip"

    def __init__(self, packages: Packages) -> None:
        # The pip that came with another Python knows that version; the server's may be too old for it.
        self.with_pip = not packages.is_own_python or not _pip_suits()

    async def resolve(self, work: Work) -> list[str]:
        """Have pip find it out without installing."""
        report = work.scratch / "report.json"
        await self._run(work, "--dry-run", "--report", str(report))
        found = msgspec.json.decode(report.read_bytes(), type=_Report)
        return [f"{item.metadata.name}=={item.metadata.version}" for item in found.install]

    async def install(self, work: Work) -> None:
        """Have pip do all of it."""
        await self._run(work)

    async def _run(self, work: Work, *options: str) -> None:
        python = str(python_of(work.folder))
        # -P: nothing in the current folder hides a module of pip's.
        pip = [python, "-P", "-m", "pip"] if self.with_pip else [sys.executable, "-P", "-m", "pip", "--python", python]
        common = ["install", "--no-input", "--disable-pip-version-check", "--no-color", "--progress-bar", "off"]
        files = ["-r", str(work.requirements_file(work.packages.options)), "-c", str(work.constraints_file())]
        command = [*pip, *common, *options, *files]
        ended = await run_command(command, folder=work.scratch, variables=installer_environment(), progress=work.progress)
        ended.check()


class _Metadata(msgspec.Struct):
    name: str
    version: str


class _Item(msgspec.Struct):
    metadata: _Metadata


class _Report(msgspec.Struct):
    install: list[_Item]


class Uv:
    """uv: resolves with the server's packages as what it prefers, and installs what the server doesn't have.

    Args:
        program: path of uv.
    """

    name = "uv"
    with_pip = False

    def __init__(self, program: str) -> None:
        self._program = program

    async def resolve(self, work: Work) -> list[str]:
        """Return what the server doesn't have of what uv has resolved."""
        return await self._missing(work)

    async def install(self, work: Work) -> None:
        """Resolve, then install what the server doesn't have."""
        missing = await self._missing(work)
        if not missing:
            return
        hashes = _hashes(work.packages.requirements)
        lines = [" ".join([line, *(hashes.get(_pin(line), ()) if hashes else ())]) for line in missing]
        path = work.scratch / "missing.txt"
        path.write_text("\n".join([*_uv_options(work.packages.options), *lines, ""]), encoding="utf-8")
        await self._run(work, "install", "--no-deps", *(["--require-hashes"] if hashes else []), "-r", str(path))

    async def _missing(self, work: Work) -> list[str]:
        """Return what has to be installed, as lines of a requirements file."""
        output, links, have = work.scratch / "resolved.txt", work.scratch / "have", dict[str, Version]()
        options = ["--output-file", str(output), "--no-header", "--no-annotate", "--no-strip-extras"]
        constraints = [work.constraints_file(), *map(Path, uv_environment().get("UV_CONSTRAINT", "").split())]
        if work.packages.layered:
            links.mkdir()
            have = await asyncio.to_thread(server_versions, links)
            # The versions that the file for the output has already are what uv prefers.
            output.write_text("".join(f"{name}=={version}\n" for name, version in have.items()), encoding="utf-8")
            # Any mention of one lets uv take a version before a release, which it wouldn't prefer otherwise.
            if early := [f"{name}>=0.dev0\n" for name, version in have.items() if version.is_prerelease]:
                constraints.append(work.scratch / "have.txt")
                constraints[-1].write_text("".join(early), encoding="utf-8")
        for path in constraints:
            options += ["--constraint", str(path)]
        requirements = work.requirements_file(_uv_options(work.packages.options))
        await self._run(work, "compile", *options, str(requirements), links=links if have else None)
        return [line for line in _lines(output) if not _is_had(line, have)]

    async def _run(self, work: Work, command: str, *options: str, links: Path | None = None) -> None:
        variables = uv_environment()
        variables.pop("UV_CONSTRAINT", None)  # hidden by the option of this name, so it is given by that
        if links is not None:  # here the option would hide the variable
            variables["UV_FIND_LINKS"] = ",".join([*filter(None, [variables.get("UV_FIND_LINKS")]), str(links)])
        python = ["--python", str(python_of(work.folder)), "--no-python-downloads", "--color", "never"]
        flags = ["--prerelease", "allow"] if "--pre" in work.packages.options else []
        for option in work.packages.options:
            if option.startswith("--trusted-host "):
                flags += ["--allow-insecure-host", option.split()[1]]
        work.progress.latest = _AT_WORK[command]
        whole = [self._program, "pip", command, *python, *flags, *options]
        ended = await run_command(whole, folder=work.scratch, variables=variables, progress=work.progress)
        ended.check()


def _uv_options(options: Iterable[str]) -> list[str]:
    """Return the options that uv takes in a requirements file, after those that are settings of pip's without a variable of uv's."""
    settings = pip_settings()
    formats = [f"--{name} {value}" for name in ("no-binary", "only-binary") for value in settings.get(name, "").replace(",", " ").split()]
    return [*formats, *(option for option in options if option.startswith(_UV_TAKES))]


def _lines(path: Path) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith(("#", "-i", "--index", "--extra-index", "--find-links", "--no-index")):
            yield line.strip()


def _is_had(line: str, have: dict[str, Version]) -> bool:
    """Whether the server has just what a line of uv's says."""
    try:
        requirement = Requirement(line)
    except InvalidRequirement:  # a path
        return False
    versions = [specifier.version for specifier in requirement.specifier]
    found = have.get(canonical(requirement.name))
    return requirement.url is None and found is not None and len(versions) == 1 and Version(versions[0]) == found


def _pin(line: str) -> str:
    """Return name and version of a requirement, without its extras and marker; other lines as they are."""
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return line
    return f"{canonical(requirement.name)}{requirement.specifier}"


def _hashes(requirements: Iterable[str]) -> dict[str, list[str]]:
    """Return the hashes that are demanded, by name and version."""
    found: dict[str, list[str]] = {}
    for line in requirements:
        hashes = _HASH.findall(line)
        if hashes and not is_location(line):
            found[_pin(line.partition("--hash")[0])] = hashes
    return found


def find_installer(packages: Packages) -> Installer:
    """Return uv where it is present, else pip, unless `MOTET_INSTALLER` says which.

    Raises:
        StartError: `MOTET_INSTALLER` names something else, or uv and there is none.
    """
    choice = os.environ.get(CHOICE, "")
    if choice not in ("", "pip", "uv"):
        raise StartError("there is no such installer", where=CHOICE, found=repr(choice), instead="uv or pip")
    program = _find_uv() if choice != "pip" else None
    if choice == "uv" and program is None:
        raise StartError("there is no uv", where=CHOICE, instead="pip install uv, or MOTET_INSTALLER=pip")
    return Pip(packages) if program is None else Uv(program)


def _find_uv() -> str | None:
    if importlib.util.find_spec("uv") is not None:
        import uv  # noqa: PLC0415  # optional

        try:
            return uv.find_uv_bin()
        except FileNotFoundError:
            pass
    return shutil.which("uv")


def _pip_suits() -> bool:
    """Whether this process's Python has a pip that installs into other environments."""
    try:
        return Version(importlib.metadata.version("pip")) >= OLDEST_PIP
    except importlib.metadata.PackageNotFoundError:
        return False
