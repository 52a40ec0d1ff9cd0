"""The environments that are kept: which are finished, who uses them, who builds them, and throwing them away."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from motet.caching import cache_folder
from motet.errors import StartError

MARKER = "environment.json"  # written last: a folder without it isn't finished
LOCK_LOOK = 0.05  # s between looks at a lock that another builder has
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
    """Say that an environment is finished; it is on disk before it is said."""
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


class Hold:
    """Keeps an environment from being thrown away, until it is closed or the process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        """Let go of it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def hold(folder: Path) -> Hold:
    """Hold the environment in a folder.

    Raises:
        StartError: it has been thrown away meanwhile.
    """
    marker = folder / MARKER
    with contextlib.suppress(OSError):
        descriptor = os.open(marker, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if _is_same(descriptor, marker):
            return Hold(descriptor)
        os.close(descriptor)
    raise StartError("an environment was thrown away before it was used", where=str(folder), instead="start again; it is built anew")


@contextlib.asynccontextmanager
async def building(folder: Path, *, waiting: Callable[[str], None]) -> AsyncGenerator[None]:
    """Be the only one, of all processes, who builds an environment.

    Args:
        folder: of the environment.
        waiting: is called with who builds it, again and again, while somebody else does.
    """
    path = _lock_path(folder)
    while (descriptor := _locked(path)) is None:
        waiting(_builder(path))
        await asyncio.sleep(LOCK_LOOK)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        _unlock(descriptor, path, folder)


def _unlock(descriptor: int, path: Path, folder: Path) -> None:
    if not folder.exists():  # nothing came of it
        path.unlink(missing_ok=True)
    os.close(descriptor)


def _lock_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _locked(path: Path) -> int | None:
    """Return a descriptor that holds a builder's lock, or None if somebody else has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_same(descriptor, path):
            return descriptor
        os.close(descriptor)  # removed between opening and locking


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _builder(path: Path) -> str:
    try:
        return f"process {int(path.read_text())}"
    except (OSError, ValueError):  # it has just begun
        return "another process"


def clear(folder: Path) -> None:
    """Make the folder of an environment that is to be built, without what an interrupted build has left in it."""
    discard(folder)
    folder.mkdir(mode=0o700)


def discard(folder: Path) -> None:
    """Throw a folder away; from the first moment on nobody finds it under its name."""
    if folder.exists():
        trash = Path(tempfile.mkdtemp(prefix=TRASH, dir=folder.parent))
        with contextlib.suppress(FileNotFoundError):
            folder.rename(trash / folder.name)
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
    for path in (_lock_path(folder), folder / MARKER):
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(descriptor)
    return False


def prune(*, unused_for: float = 0.0) -> list[Stored]:
    """Throw away environments that nobody uses or builds, those that aren't finished too; return them.

    Args:
        unused_for: seconds since the last use; those that were used later are kept.
    """
    for leftover in cache_folder("environments").glob(f"{TRASH}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    return [found for found in stored() if time.time() - found.used >= unused_for and _prune(found.folder)]


def _prune(folder: Path) -> bool:
    lock = _locked(_lock_path(folder))
    if lock is None:
        return False
    marker: int | None = None
    try:
        with contextlib.suppress(FileNotFoundError):
            marker = os.open(folder / MARKER, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        discard(folder)
        _lock_path(folder).unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
        if marker is not None:
            os.close(marker)
    return True


def disk_size(folder: Path) -> int:
    """Return the bytes that a folder takes on disk."""
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512  # noqa: PTH118  # many files
    return total
