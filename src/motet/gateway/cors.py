"""Pages of other origins: which may call, and the header lines that tell their browsers so (the CORS protocol of the Fetch standard)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from motet.options import ANY_ORIGIN

EXPOSED = b"x-request-id, traceparent, retry-after"
MAX_AGE = 600  # s that a browser may remember the answer to a preflight

_NAMES = re.compile(rb"[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+([ \t]*,[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+)*[ \t]*").fullmatch


class Cors:
    """The origins that may call.

    Origins that are named may send credentials (cookies, HTTP authentication). `*` lets every page call, without them: a
    browser must not lend its user's identity to pages that nobody named. API keys in headers work with both.

    Args:
        origins: as in `HttpOptions`.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        given = tuple(origins)
        self._any = ANY_ORIGIN in given
        self._named = frozenset(origin.lower().encode() for origin in given if origin != ANY_ORIGIN)

    def __bool__(self) -> bool:
        """Whether any other origin may call."""
        return self._any or bool(self._named)

    @property
    def varies(self) -> bool:
        """Whether answers differ by the origin."""
        return bool(self._named)

    def lines(self, headers: Mapping[bytes, bytes]) -> bytes:
        """Return the header lines that every answer to a request gets, errors included."""
        origin = headers.get(b"origin")
        if origin is None:
            return b""
        if origin.lower() in self._named:
            return b"access-control-allow-origin: %b\r\naccess-control-allow-credentials: true\r\naccess-control-expose-headers: %b\r\n" % (
                origin,
                EXPOSED,
            )
        if self._any:
            return b"access-control-allow-origin: *\r\naccess-control-expose-headers: %b\r\n" % EXPOSED
        return b""

    def admits(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a page of the origin in the headers may open a WebSocket, which its browser lends all cookies that it has."""
        return headers.get(b"origin", b"").lower() in self._named or (self._any and b"cookie" not in headers)

    def preflight(self, headers: Mapping[bytes, bytes], methods: bytes) -> bytes:
        """Return the further lines of the answer to a preflight: what the page may send."""
        origin = headers.get(b"origin", b"")
        if not (self._any or origin.lower() in self._named):
            return b""
        lines = b"access-control-allow-methods: %b\r\naccess-control-max-age: %d\r\n" % (methods, MAX_AGE)
        asked = headers.get(b"access-control-request-headers")
        if asked is not None and _NAMES(asked):  # `*` would leave out `Authorization`
            lines += b"access-control-allow-headers: %b\r\n" % asked.strip()
        return lines


def is_preflight(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request with OPTIONS is a browser that asks what a page may send."""
    return b"origin" in headers and b"access-control-request-method" in headers
