"""What to do when something of the machine has run out."""

from __future__ import annotations

import errno
import resource


def advice(error: OSError) -> str | None:
    """Return what to do about an error that says that something of the machine has run out."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"a higher limit of open files; ulimit -n is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}"
    if error.errno == errno.ENOMEM:
        return "more memory, fewer replicas, or a smaller model"
    if error.errno == errno.EAGAIN:
        return f"a higher limit of processes; ulimit -u is {resource.getrlimit(resource.RLIMIT_NPROC)[0]}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "room on the disk, or another one: MOTET_CACHE_DIR for what is built and fetched, MOTET_RUNTIME_DIR for the runtime folder"
    return None
