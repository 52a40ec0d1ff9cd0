"""The environments that are kept: which are finished, who uses them, who builds them, and throwing them away."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from motet import locks
from motet.caching import cache_folder
from motet.errors import StartError
from motet.locks import Lock

MARKER = "environment.json"  # written last: a folder without it isn't finished
TRASH = ".trash-"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a finished environment; written into it when it is finished.

    Attributes:
        requirements: what it was built from.
        python: version.
        layered: whether the server's packages are there too.
        installer: what built it.
        seconds: that building took.
        size: bytes on disk.
        created: seconds since 1970.
    """

    requirements: tuple[str, ...]
    python: str
    layered: bool
    installer: str
    seconds: float
    size: int
    created: float


@dataclass(frozen=True, slots=True)
class Stored:
    """An environment in the cache, finished or not.

    Attributes:
        record: None if it isn't finished.
        used: seconds since 1970 when it was used last.
        in_use: whether a server holds it, or somebody builds it.
    """

    key: str
    folder: Path
    record: Record | None
    size: int
    used: float
    in_use: bool


def environment_folder(key: str) -> Path:
    """Return the folder of an environment, finished or not."""
    return cache_folder("environments") / key


def python_of(folder: Path) -> Path:
    """Return the interpreter of an environment."""
    return folder / "bin" / "python"


def finished(folder: Path) -> Record | None:
    """Return the record of a finished environment whose Python is still there."""
    try:
        record = msgspec.json.decode((folder / MARKER).read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None
    return record if python_of(folder).exists() else None


def mark_finished(folder: Path, record: Record) -> None:
    """Say that an environment is finished: what is known of it is there as a whole, or not at all."""
    unfinished = folder / f".{MARKER}"
    with unfinished.open("wb") as file:
        file.write(msgspec.json.encode(record))
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(folder / MARKER)


def touch(folder: Path) -> None:
    """Note that an environment is used now."""
    with contextlib.suppress(OSError):
        os.utime(folder / MARKER)


def hold(folder: Path) -> Lock:
    """Keep an environment from being thrown away, until what is returned is closed or the process ends.

    Raises:
        StartError: it has been thrown away meanwhile.
    """
    lock = locks.share(folder / MARKER)
    if lock is None:
        raise StartError("an environment was thrown away before it was used", where=str(folder), instead="start again; it is built anew")
    return lock


@contextlib.asynccontextmanager
async def building(folder: Path, *, waiting: Callable[[str], None]) -> AsyncGenerator[None]:
    """Be the only one, of all processes, who builds an environment.

    Args:
        folder: of the environment.
        waiting: is called with who builds it, again and again, while somebody else does.
    """
    path = _lock_path(folder)
    async with locks.holding(path, waiting=waiting):
        try:
            yield
        finally:
            _forget(path, folder)


def _forget(path: Path, folder: Path) -> None:
    """Remove the lock of an environment that nothing came of."""
    if not folder.exists():
        path.unlink(missing_ok=True)


def _lock_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def clear(folder: Path) -> None:
    """Make the folder of an environment that is to be built, without what an interrupted build has left in it."""
    discard(folder)
    folder.mkdir(mode=0o700)


def discard(folder: Path) -> None:
    """Throw a folder away; from the first moment on nobody finds it under its name."""
    trash = folder.with_name(f"{TRASH}{folder.name}-{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):
        folder.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)


def stored() -> list[Stored]:
    """Return the environments in the cache, the last used first."""
    found: list[Stored] = []
    for folder in _folders():
        record, marker = finished(folder), folder / MARKER
        try:
            used = (marker if record is not None else folder).stat().st_mtime
        except FileNotFoundError:  # thrown away meanwhile
            continue
        size = record.size if record is not None else disk_size(folder)
        found.append(Stored(folder.name, folder, record, size, used, _is_in_use(folder)))
    return sorted(found, key=lambda environment: environment.used, reverse=True)


def _folders() -> Iterator[Path]:
    for folder in cache_folder("environments").iterdir():
        if folder.is_dir() and not folder.name.startswith("."):
            yield folder


def _is_in_use(folder: Path) -> bool:
    return locks.is_held(_lock_path(folder)) or locks.is_held(folder / MARKER)


def prune(*, unused_for: float = 0.0) -> list[Stored]:
    """Throw away environments that nobody uses or builds, those that aren't finished too; return them.

    Args:
        unused_for: seconds since the last use; those that were used later are kept.
    """
    for leftover in cache_folder("environments").glob(f"{TRASH}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    return [found for found in stored() if time.time() - found.used >= unused_for and _prune(found.folder)]


def _prune(folder: Path) -> bool:
    path, marker = _lock_path(folder), folder / MARKER
    if (builders := locks.take(path)) is None:
        return False
    with builders:
        users = locks.take(marker, create=False)
        if users is None and marker.exists():
            return False
        with users or contextlib.nullcontext():
            discard(folder)
        path.unlink(missing_ok=True)
    return True


def disk_size(folder: Path) -> int:
    """Return the bytes that a folder takes on disk."""
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512  # noqa: PTH118  # many files
    return total
