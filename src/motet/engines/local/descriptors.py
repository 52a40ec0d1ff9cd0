"""File descriptors: a server needs one for each connection and a few for each replica."""

from __future__ import annotations

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
