"""Forking processes for the supervisor: it is their parent from the moment that they do anything."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable


def fork_for_supervisor(be: Callable[[], None]) -> int:
    """Fork twice and let the process in between end, so that the supervisor, a subreaper, becomes the parent of the second one.

    Args:
        be: what that one does; it ends when this returns.

    Returns:
        Its process id; 0 if only the first fork went well.

    Raises:
        OSError: not even that one did: no memory, no descriptors, or too many processes.
    """
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as pipe:
        try:
            middle = _forked()
            if middle == 0:
                _between(be, writer)
        finally:
            os.close(writer)
        pid = int(pipe.read() or b"0")
    os.waitpid(middle, 0)
    return pid


def _forked() -> int:
    """Fork; Python 3.12 and later count threads wrongly where the name of the process has a space, and warn of what isn't so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
        return os.fork()


def _between(be: Callable[[], None], writer: int) -> None:
    status = 1
    try:
        middle = os.getpid()
        child = _forked()
        if child == 0:
            os.close(writer)
            while os.getppid() == middle:
                time.sleep(0.0002)  # until the process in between has ended
            be()
        else:
            os.write(writer, str(child).encode())
        status = 0
    finally:
        os._exit(status)
