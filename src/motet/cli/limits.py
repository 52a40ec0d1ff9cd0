"""File descriptors: a server needs one for each connection and a few for each replica."""

from __future__ import annotations

import errno
import resource

from motet.errors import StartError

WANTED = 65536
NEEDED = 64  # for a server with a few replicas and a few clients


def allow_many_descriptors() -> None:
    """Raise the limit of open files of this process, and so of those that it starts, as far as that is allowed and of use.

    Raises:
        StartError: it stays too low for a server.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    if soft != resource.RLIM_INFINITY and soft < NEEDED:
        raise StartError(
            "too few files may be open at once", found=f"ulimit -n is {soft}", instead=f"ulimit -n {WANTED}, or {NEEDED} at least"
        )


def advice(error: OSError) -> str | None:
    """Return what to do about an error that says that something of the machine has run out."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"a higher limit of open files; ulimit -n is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}"
    if error.errno == errno.ENOMEM:
        return "more memory, fewer replicas, or a smaller model"
    if error.errno == errno.EAGAIN:
        return f"a higher limit of processes; ulimit -u is {resource.getrlimit(resource.RLIMIT_NPROC)[0]}"
    if error.errno == errno.ENOSPC:
        return "room on the disk that holds the runtime folder, or another one in MOTET_RUNTIME_DIR"
    return None
