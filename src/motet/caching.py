"""The cache folder: what can be made or fetched again, and takes a while."""

from __future__ import annotations

import os
from pathlib import Path

from motet.errors import StartError

KIB = 1024


def home_folder() -> Path:
    """Return the user's home; the root folder for a user without one, as in containers that run under any id."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


def cache_folder(name: str) -> Path:
    """Return the folder of the user's cache that holds one kind of thing, such as `environments`; it is created with mode 0700.

    It is in `$MOTET_CACHE_DIR`, else in `$XDG_CACHE_HOME/motet`, else in `~/.cache/motet`.

    Raises:
        StartError: it can't be made, belongs to somebody else, or others may write into it.
    """
    own, shared = os.environ.get("MOTET_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME")
    base = Path(own).absolute() if own else Path(shared).absolute() / "motet" if shared else home_folder() / ".cache" / "motet"
    folder = base / name
    instead = "a folder of your own in MOTET_CACHE_DIR"
    try:
        for path in (base, folder):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        states = [(path, path.stat()) for path in (base, folder)]
    except OSError as error:
        raise StartError("the cache folder can't be used", where=str(folder), found=error.strerror, instead=instead) from None
    for path, state in states:
        if state.st_uid != os.getuid() or state.st_mode & 0o022:
            raise StartError(
                "the cache folder isn't safe to use",
                where=str(path),
                found=f"owner {state.st_uid}, mode {state.st_mode & 0o777:o}",
                instead=instead + ", with mode 0700",
            )
    return folder


def size_text(size: float) -> str:
    """Return a number of bytes for people, such as `112 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if size < KIB:
            return f"{size:.0f} {unit}"
        size /= KIB
    return f"{size:.1f} GiB"
