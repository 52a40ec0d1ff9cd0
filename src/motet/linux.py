"""The few Linux calls that Python doesn't offer: parent-death signals, subreapers, peer credentials, thread counts."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PEER_CREDENTIALS = struct.Struct("3i")

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def die_with_parent(parent: int, *, by: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent dies; end at once if that has happened already.

    A change of parent sends the signal too, so a process that is to be handed to a subreaper calls this after that;
    `parent` is who it must be.
    """
    _prctl(_PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Make this process the parent of all its descendants whose own parent dies."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def peer_is_own(connection: socket.socket) -> bool:
    """Whether the process at the other end of a Unix socket runs under this process's user."""
    return _peer(connection)[1] == os.getuid()


def peer_pid(connection: socket.socket) -> int:
    """Return the id of the process that has connected to a Unix socket."""
    return _peer(connection)[0]


def _peer(connection: socket.socket) -> tuple[int, int]:
    pid, uid, _ = _PEER_CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size))
    return pid, uid


def fork_hazard() -> str | None:
    """Return why this process can't be forked safely, or None: other threads may hold locks, CUDA can't be forked at all."""
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        return f"importing the code started {threads - 1} thread{'s' if threads > 2 else ''}"  # noqa: PLR2004  # plural
    torch = sys.modules.get("torch")
    if (torch is not None and torch.cuda.is_initialized()) or _has_open("/dev/nvidia"):  # asking for the number of cards does, too
        return "importing the code initialised CUDA"
    return None


def _has_open(prefix: str) -> bool:
    """Whether this process has a file open whose path begins so."""
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            if str(descriptor.readlink()).startswith(prefix):
                return True
        except OSError:  # the one that the folder was read through
            continue
    return False


def exit_text(status: int) -> str:
    """Return how a process ended, from what `waitpid` says."""
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exited with code {os.WEXITSTATUS(status)}"
