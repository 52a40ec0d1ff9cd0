"""API keys: who may call, and on which addresses the gateway may listen without any."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Collection, Iterable, Mapping

from motet.errors import UsageError

DOCS_ASSETS = {"swagger_bundle.js": "text/javascript", "swagger_preset.js": "text/javascript", "swagger_style.css": "text/css"}

# Probes have no key, and neither has a browser that opens the documentation: its page asks for one, and knows nothing by itself.
OPEN_PATHS = frozenset({b"/healthz", b"/readyz", b"/startupz", b"/docs"} | {f"/docs/{name}".encode() for name in DOCS_ASSETS})


class ApiKeys:
    """The keys that the gateway accepts; none means that everybody may call."""

    def __init__(self, keys: Iterable[str]) -> None:
        # Digests have one length, so that comparing them tells nothing about that of a key.
        self._digests = tuple(hashlib.sha256(key.encode()).digest() for key in keys)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def admit(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether the headers (names in lower case) carry one of the keys, as `Authorization: Bearer KEY` or `X-API-Key: KEY`."""
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            given = headers.get(b"x-api-key", b"")
        digest = hashlib.sha256(given.strip()).digest()
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(digest, known)
        return found


def check_bind(host: str, keys: Collection[str]) -> None:
    """Refuse to listen where others can reach the gateway if it asks for no key.

    Raises:
        UsageError: the host is, or its name resolves to, anything else than loopback, and there is no key; or a key is empty.
    """
    if any(not key.strip() for key in keys):
        raise UsageError("an API key is empty", instead="--api-key with at least one character")
    if keys or _is_loopback(host):
        return
    raise UsageError(
        "a server that others can reach needs an API key",
        where=f"host {host}",
        instead="add --api-key KEY, or listen on 127.0.0.1",
    )


def _is_loopback(host: str) -> bool:
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)}
    except (OSError, UnicodeError) as error:
        raise UsageError("the host to listen on can't be resolved", found=f"{host!r}: {error}", instead="127.0.0.1") from None
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found)
