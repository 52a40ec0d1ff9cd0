"""The stem: a process that has Motet loaded and nothing else, and forks zygotes, which needn't import it again.

A zygote of a service's environment comes from here, too, if what is loaded already isn't among the packages of that environment:
the rest of a virtual environment is its import path.
"""

from __future__ import annotations

import functools
import gc
import os
import signal
import site
import socket
import sys
from pathlib import Path

from setproctitle import setproctitle

from motet.engines.local import zygote
from motet.engines.local.control import Variables, WantedZygote, unpack_wanted
from motet.engines.local.forking import fork_for_supervisor
from motet.linux import die_with_parent

MAX_REQUEST = 2**20
# Variables that a process has to be started with: its loader, its C library, or what is loaded here already, look at them once.
AT_START = ("LD_", "GLIBC_", "MALLOC_", "PYTHON", "PYDANTIC_", "UVLOOP_", "LC_", "LANG", "TZ", "OPENSSL_")


def main() -> None:
    """Serve the supervisor until it closes the connection, whose descriptor is the argument; the answer to a request is a process id.

    It is 0 where a process has to be started instead.
    """
    setproctitle("motet stem")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(os.getppid())
    connection = socket.socket(fileno=int(sys.argv[1]))
    gc.collect()
    gc.freeze()
    while True:
        data, descriptors, _, _ = socket.recv_fds(connection, MAX_REQUEST, 1)
        if not data:
            return
        request, descriptor = unpack_wanted(data), descriptors[0]
        try:
            pid = fork_for_supervisor(functools.partial(_be_zygote, request, connection, descriptor)) if _fits(request) else 0
        except OSError:  # too many processes, say, or the environment isn't there any more: whoever starts one tells
            pid = 0
        os.close(descriptor)
        connection.sendall(pid.to_bytes(8, "little"))


def _fits(request: WantedZygote) -> bool:
    """Whether a fork of this process is as good as a process of its own."""
    if any(name.startswith(AT_START) for name in request.variables):
        return False
    if request.environment is None:
        return True
    installed = {path.name.partition(".")[0] for path in _packages(request.environment).iterdir() if path.suffix != ".pth"}
    return _own_path() is not None and installed.isdisjoint(name.partition(".")[0] for name in sys.modules)


def _packages(environment: str) -> Path:
    return Path(environment, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")


def _own_path() -> list[str] | None:
    """Return the part of the import path that comes before installed packages."""
    last = max((number for number, entry in enumerate(sys.path) if entry.endswith("lib-dynload")), default=None)
    return None if last is None else sys.path[: last + 1]


def _be_zygote(request: WantedZygote, connection: socket.socket, descriptor: int) -> None:
    connection.close()
    os.setsid()
    theirs = socket.socket(fileno=descriptor)
    given = zygote.receive(theirs)
    if not isinstance(given, Variables):  # the supervisor died
        os._exit(1)
    os.environ.update(given.values)
    if request.environment is not None and request.python is not None:
        _enter(request.environment, request.python)
    zygote.serve(theirs, Path(request.folder), request.supervisor)


def _enter(environment: str, python: str) -> None:
    """Make a virtual environment that of this process, as `site` does where one is started in it."""
    sys.executable, sys.prefix, sys.exec_prefix = python, environment, environment
    sys.path[:] = _own_path() or sys.path
    site.addsitedir(str(_packages(environment)))


if __name__ == "__main__":
    main()
