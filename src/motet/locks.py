"""Locks between processes: on files, and given back by whoever ends, however that comes about.

They belong to open files (`F_OFD_SETLK`, not `flock`), for one reason: whether somebody has such a lock can be asked without taking it, so
that those who only look are in nobody's way.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Self

LOOK = 0.05  # s between looks at a lock that another process has

_FLOCK = struct.Struct("hhqqi4x")  # C's `struct flock`: type, whence, start, length, process


class Lock:
    """A lock, held until it is closed or the process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> Self:
        """Hold it within a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        self.close()

    def close(self) -> None:
        """Give it back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def sign(self) -> None:
        """Write into the file who holds it, for those who wait."""
        with contextlib.suppress(OSError):  # a full disk: then nobody is told
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)


def take(path: Path, *, create: bool = True) -> Lock | None:
    """Return the lock of a file, or None if it is held, also by several who share it.

    Args:
        path: of the file.
        create: whether to make the file and its folder; otherwise None is returned if there is no file.
    """
    while True:
        if create:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0), 0o600)
        except FileNotFoundError:
            if create:  # the folder was removed meanwhile
                continue
            return None
        if not _set(descriptor, fcntl.F_WRLCK):
            return None
        if _is_at(descriptor, path):
            return Lock(descriptor)
        os.close(descriptor)  # the file was removed between opening and locking


def share(path: Path) -> Lock | None:
    """Return the lock of a file that others may hold in this way, too; None if it is taken, or there is no file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    if not _set(descriptor, fcntl.F_RDLCK):
        return None
    if not _is_at(descriptor, path):
        os.close(descriptor)
        return None
    return Lock(descriptor)


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock of a file, shared or not."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    finally:
        os.close(descriptor)
    return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)


@contextlib.asynccontextmanager
async def holding(path: Path, *, waiting: Callable[[str], None]) -> AsyncGenerator[None]:
    """Hold the lock of a file, which is made, with its folder.

    Args:
        path: of the file.
        waiting: is called with who holds it, again and again, while somebody else does.
    """
    while (lock := take(path)) is None:
        waiting(_holder(path))
        await asyncio.sleep(LOOK)
    with lock:
        lock.sign()
        yield


def _set(descriptor: int, kind: int) -> bool:
    """Lock an open file, or close it; returns whether it is locked."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0))
    except BlockingIOError:
        os.close(descriptor)
        return False
    except BaseException:
        os.close(descriptor)
        raise
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of a path: a lock that went with its folder is worth nothing."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        return f"process {int(path.read_text())}"
    except (OSError, ValueError):  # it has just begun
        return "another process"
