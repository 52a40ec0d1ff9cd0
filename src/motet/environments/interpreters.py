"""Finding a Python of another version on this machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from motet.caching import home_folder
from motet.environments.settings import installer_environment
from motet.errors import StartError
from motet.options import OLDEST_PYTHON

OLDEST = (3, OLDEST_PYTHON, 0)
PROBE_TIME = 10.0  # s
_PROBE = "import sys, venv; print(sys.implementation.name, *sys.version_info[:3], sys._base_executable)"


@dataclass(frozen=True, slots=True, order=True)
class Interpreter:
    """A Python on this machine."""

    version: tuple[int, int, int]
    path: Path

    def __str__(self) -> str:
        """Return version and path."""
        return f"{'.'.join(map(str, self.version))} ({self.path})"


async def find_python(version: str) -> Interpreter:
    """Return the newest Python of a version such as `3.12` or `3.12.1`: on PATH, of pyenv or of uv.

    Raises:
        StartError: there is none; says which there are.
    """
    candidates = {os.path.realpath(path): path for path in _candidates() if _is_program(path)}  # noqa: ASYNC240  # a few
    probed = await asyncio.gather(*map(_probe, candidates.values()))
    found = sorted({interpreter.path: interpreter for interpreter in probed if interpreter is not None}.values())
    wanted = tuple(map(int, version.split(".")))
    fitting = [interpreter for interpreter in found if interpreter.version[: len(wanted)] == wanted]
    if fitting:
        return fitting[-1]
    raise StartError(
        f"there is no Python {version} on this machine",
        found=", ".join(map(str, found)) or "none",
        instead=f"install it, for example by `uv python install {version}`; it is looked for on PATH, in pyenv's and in uv's folders",
    )


def _candidates() -> Iterator[Path]:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        yield from sorted(Path(folder).glob("python3.[0-9]*")) if folder and Path(folder).is_dir() else []
        yield from (Path(folder, name) for name in ("python3", "python"))
    home = home_folder()
    yield from Path(os.environ.get("PYENV_ROOT") or home / ".pyenv", "versions").glob("*/bin/python3")
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    yield from Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python").glob("*/bin/python3")


def _is_program(path: Path) -> bool:
    """Whether a file can be run and is no script, as those are that pyenv has on PATH: they take long, and refuse."""
    try:
        with path.open("rb") as file:
            return os.access(path, os.X_OK) and file.read(2) != b"#!"
    except OSError:
        return False


async def _probe(path: Path) -> Interpreter | None:
    """Ask a candidate what it is."""
    try:
        process = await asyncio.create_subprocess_exec(
            *(str(path), "-I", "-c", _PROBE),
            env=installer_environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return None
    try:
        output, _ = await asyncio.wait_for(process.communicate(), PROBE_TIME)
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    words = output.decode(errors="replace").split(maxsplit=4)
    if process.returncode != 0 or len(words) != 5 or words[0] != "cpython":  # noqa: PLR2004  # the words that are printed
        return None
    version = (int(words[1]), int(words[2]), int(words[3]))
    return Interpreter(version, Path(words[4].strip())) if version >= OLDEST else None
