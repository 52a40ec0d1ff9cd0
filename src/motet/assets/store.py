"""The cache of files that were fetched from URLs.

Each URL (with its checksum, if it has one) has a folder. In it are a lock, the file in a folder named after its content, and an
entry, which is written last: without it there is no file, whatever lies there. A new version of a file gets a new folder, since
replicas may still read the old one. A server holds the versions that it uses: those aren't thrown away.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from motet import locks
from motet.caching import cache_folder
from motet.errors import StartError
from motet.locks import Lock

ENTRY = "entry.json"
PARTIAL = "partial"
PARTIAL_STATE = "partial.json"
LOCK = "lock"
IN_USE = ".in-use"  # beside a version of the file, whose name has no dot in front; locked by those who use it


class Entry(msgspec.Struct, frozen=True):
    """A file that is there as a whole.

    Attributes:
        url: that it came from, without its query.
        file: its path within its folder.
        sha256: of the content.
        size: in bytes.
        modified: when the file was written, in nanoseconds; another time means that somebody has changed it.
        pinned: whether the checksum was declared, so that nobody has to be asked whether it is the newest.
        etag: of the server, to ask by.
        last_modified: the same.
        fetched: when, in seconds since the epoch.
    """

    url: str
    file: str
    sha256: str
    size: int
    modified: int
    pinned: bool
    etag: str | None
    last_modified: str | None
    fetched: float


class Partial(msgspec.Struct, frozen=True):
    """The beginning of a file: by what the server will know that the rest belongs to it."""

    etag: str | None
    last_modified: str | None


def urls_folder() -> Path:
    """Return the folder that has those of all URLs."""
    return cache_folder("assets") / "urls"


def folder_of(url: str, sha256: str | None) -> Path:
    """Return the folder of a URL; it need not exist."""
    return urls_folder() / hashlib.sha256(f"{url}\n{sha256 or ''}".encode()).hexdigest()[:32]


def read(folder: Path) -> Entry | None:
    """Return the entry of a folder if its file is there, whole and as it was written."""
    try:
        entry = msgspec.json.decode((folder / ENTRY).read_bytes(), type=Entry)
        state = (folder / entry.file).stat()
        (folder / entry.file).with_name(IN_USE).stat()
    except (OSError, msgspec.MsgspecError):
        return None
    return entry if (state.st_size, state.st_mtime_ns) == (entry.size, entry.modified) else None


def note_use(folder: Path) -> None:
    """Remember when a file was used last, for `prune`."""
    with contextlib.suppress(OSError):
        os.utime(folder / ENTRY)


def keep(folder: Path, url: str, sha256: str, *, pinned: bool, etag: str | None, last_modified: str | None) -> Entry:
    """Make the partial file of a folder the file of its URL, safe from a loss of power."""
    version = folder / sha256[:16]
    version.mkdir(mode=0o700, exist_ok=True)
    (version / IN_USE).touch(mode=0o600)
    file = version / file_name(url)
    partial = folder / PARTIAL
    partial.chmod(0o400)
    partial.replace(file)
    _sync(version)
    state = file.stat()
    entry = Entry(
        url=url.partition("?")[0],
        file=str(file.relative_to(folder)),
        sha256=sha256,
        size=state.st_size,
        modified=state.st_mtime_ns,
        pinned=pinned,
        etag=etag,
        last_modified=last_modified,
        fetched=time.time(),
    )
    write(folder / ENTRY, msgspec.json.encode(entry))
    (folder / PARTIAL_STATE).unlink(missing_ok=True)
    return entry


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _sync(path.parent)


def drop_partial(folder: Path) -> None:
    """Remove the beginning of a file."""
    for name in (PARTIAL_STATE, PARTIAL):
        (folder / name).unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_name(url: str) -> str:
    """Return a name for the file behind a URL: the last part of the path, without what file systems or shells would mind."""
    _, _, path = url.partition("?")[0].partition("://")[2].partition("/")
    name = path.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^\w.+\-]", "_", name)[-100:].lstrip(".-") or "file"


def hold(file: Path) -> Lock:
    """Keep a file from being thrown away, until what is returned is closed or the process ends.

    Raises:
        StartError: it has been thrown away meanwhile.
    """
    lock = locks.share(file.with_name(IN_USE))
    if lock is None:
        raise StartError("a file was thrown away before it was used", where=str(file), instead="start again; it is fetched anew")
    return lock


class Kept(msgspec.Struct, frozen=True):
    """What is in the cache of one URL.

    Attributes:
        entry: None if the file isn't whole.
        size: bytes on the disk, older versions and interrupted ones included.
        used: seconds since the epoch when it was used last.
        in_use: whether a process uses a version of it, or fetches one.
    """

    folder: Path
    entry: Entry | None
    size: int
    used: float
    in_use: bool


def all_kept() -> Iterator[Kept]:
    """Yield what is in the cache."""
    folders = urls_folder()
    for folder in sorted(path for path in folders.iterdir() if path.is_dir()) if folders.is_dir() else ():
        yield _kept(folder)


def _kept(folder: Path) -> Kept:
    entry = read(folder)
    files: dict[Path, os.stat_result] = {}
    in_use = False
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            if path.name == IN_USE or path == folder / LOCK:
                in_use = in_use or locks.is_held(path)
                continue
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile, or renamed: a fetch has just ended
                files[path] = path.lstat()
    noted = [files[folder / ENTRY]] if entry is not None and folder / ENTRY in files else files.values()
    used = max((state.st_mtime for state in noted), default=0.0)
    return Kept(folder, entry, sum(state.st_size for state in files.values()), used, in_use)


def prune(kept: Kept, *, wholly: bool) -> int:
    """Remove the old versions and the partial file of a URL, or all of it; returns the bytes that are free now.

    What a process uses, is fetching just now or has fetched since `kept` was looked up is left alone.
    """
    lock = locks.take(kept.folder / LOCK)
    if lock is None:
        return 0
    with lock:
        now = _kept(kept.folder)
        if (now.entry, now.used) != (kept.entry, kept.used):
            return 0
        drop_partial(kept.folder)
        current = (kept.folder / kept.entry.file).parent if kept.entry is not None and not wholly else None
        versions = [path for path in kept.folder.iterdir() if path.is_dir() and path != current]
        gone = [_thrown_away(version) for version in versions]
        if current is None and all(gone):
            shutil.rmtree(kept.folder)
            return now.size
        return now.size - _kept(kept.folder).size


def _thrown_away(version: Path) -> bool:
    """Throw a version of a file away unless somebody uses it; returns whether it is gone."""
    path = version / IN_USE
    users = locks.take(path, create=False)
    if users is None and path.exists():
        return False
    with users or contextlib.nullcontext():
        shutil.rmtree(version)
    return True
