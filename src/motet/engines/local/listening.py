"""The listening socket: made by the supervisor, so that a gateway can die and be replaced without a refused connection."""

from __future__ import annotations

import errno
import socket

from motet.engines.local.folder import servers
from motet.errors import StartError

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the address; port 0 means any free one.

    Raises:
        StartError: the address can't be used; says who has it, if that is one of the user's own servers.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listening.close()
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
    listening.setblocking(False)  # noqa: FBT003  # takes no keyword
    return listening


def url_of(listening: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    shown = "127.0.0.1" if host == "0.0.0.0" else "[::1]" if host == "::" else f"[{host}]" if ":" in host else host  # noqa: S104  # compared with, not bound to
    return f"http://{shown}:{port}"
