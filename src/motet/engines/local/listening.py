"""The listening sockets: made by the supervisor, so that a gateway can die and be replaced without a refused connection.

Several gateways have a socket each, on one port: the kernel then spreads connections evenly. With one socket for all it wakes
one and the same again and again; of 64 connections in a row one of two gateways got all.
"""

from __future__ import annotations

import errno
import socket

from motet.engines.local.folder import servers
from motet.errors import StartError

BACKLOG = 2048


def listen(host: str, port: int, *, count: int = 1) -> tuple[socket.socket, ...]:
    """Return sockets that listen on one address together; port 0 means any free one.

    Raises:
        StartError: the address can't be used; says who has it, if that is one of the user's own servers.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sockets = tuple(socket.socket(family, socket.SOCK_STREAM) for _ in range(count))
    try:
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if each is sockets[0]:
                each.bind((host, port))  # alone: a port that another server's gateways share is taken
            if count > 1:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if each is not sockets[0]:
                each.bind(sockets[0].getsockname())
            each.setblocking(False)  # noqa: FBT003  # takes no keyword
        for each in sockets:
            each.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        for each in sockets:
            each.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            owner = next(
                (f"motet serve {card.target} (pid {card.pid})" for _, card in servers() if card.url and card.url.endswith(f":{port}")), None
            )
            raise StartError(
                f"port {port} on {host} is taken", found=owner or "another program", instead="--port 0 for any free one, or another port"
            ) from None
        raise StartError(
            f"can't listen on {host}:{port}", found=str(error), instead="an address of this machine and a port from 1 to 65535"
        ) from None
    return sockets


def url_of(listening: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    shown = "127.0.0.1" if host == "0.0.0.0" else "[::1]" if host == "::" else f"[{host}]" if ":" in host else host  # noqa: S104  # compared with, not bound to
    return f"http://{shown}:{port}"
