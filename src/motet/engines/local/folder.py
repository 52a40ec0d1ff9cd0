"""The runtime folder of a server: its sockets and its card, readable by its owner alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import msgspec

from motet.errors import StartError

MAX_SOCKET_PATH = 107  # bytes; Linux takes no longer path for a Unix socket


class ServerCard(msgspec.Struct, frozen=True):
    """What other processes of the user may know of a server: process id, what it serves, where."""

    pid: int
    target: str
    url: str | None
    started: float


def base_folder() -> Path:
    """Return the folder that holds the runtime folders of this user's servers; it is created with mode 0700.

    Raises:
        StartError: it exists and belongs to somebody else, or others may read it.
    """
    runtime = os.environ.get("MOTET_RUNTIME_DIR") or os.environ.get("XDG_RUNTIME_DIR")
    base = Path(runtime) / "motet" if runtime and Path(runtime).is_dir() else Path(tempfile.gettempdir()) / f"motet-{os.getuid()}"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = base.lstat()
    if not base.is_dir() or base.is_symlink() or state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise StartError(
            "the runtime folder isn't safe to use",
            where=str(base),
            found=f"owner {state.st_uid}, mode {state.st_mode & 0o777:o}",
            instead="remove it, or set MOTET_RUNTIME_DIR to a folder of your own with mode 0700",
        )
    return base


class RuntimeFolder:
    """A server's own folder. Its lock is held as long as the server lives, so that leftovers can be told from the living."""

    def __init__(self) -> None:
        base = base_folder()
        with _cleaning(base):  # else another server could take this one's folder for a leftover before its lock is held
            remove_leftovers(base)
            self.path = Path(tempfile.mkdtemp(dir=base))
            self._lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.control = self.path / "control"
        if len(os.fsencode(self.socket(10**6))) > MAX_SOCKET_PATH:
            shutil.rmtree(self.path)
            raise StartError(
                "the path of the runtime folder is too long for sockets", where=str(self.path), instead="a shorter MOTET_RUNTIME_DIR"
            )

    def socket(self, number: int) -> Path:
        """Return the path of a replica's socket."""
        return self.path / f"r{number}"

    def write_card(self, card: ServerCard) -> None:
        """Let this user's other processes know of the server."""
        (self.path / "card.json").write_bytes(msgspec.json.encode(card))

    def remove(self) -> None:
        """Remove the folder and all sockets in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def is_alive(folder: Path) -> bool:
    """Whether a server holds the folder's lock."""
    try:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


@contextlib.contextmanager
def _cleaning(base: Path) -> Generator[None]:
    """Keep other servers from starting or cleaning up meanwhile."""
    lock = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def remove_leftovers(base: Path) -> None:
    """Remove folders of servers that died without doing so themselves."""
    for folder in base.iterdir():
        if folder.is_dir() and not is_alive(folder):  # nobody is between making a folder and locking it: that is done under this lock
            shutil.rmtree(folder, ignore_errors=True)


def servers() -> list[tuple[Path, ServerCard]]:
    """Return the folders and cards of this user's living servers."""
    return [
        (folder, msgspec.json.decode((folder / "card.json").read_bytes(), type=ServerCard))
        for folder in sorted(base_folder().iterdir())
        if (folder / "card.json").exists() and is_alive(folder)
    ]
