"""The one way to fetch a URL that somebody else wrote: it can't be turned against the network that this machine is in.

Each host is resolved once, every address of it has to be public, and what is dialled is an address that was looked at: a name
that means something else a moment later gains nothing. Redirects go through the same door. Nothing is sent that says who asks
(no cookies, passwords or keys), and proxies that the environment names aren't used: behind one nobody could check what is dialled.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import os
import re
import socket
import ssl
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import httpcore
import httpx

from motet.errors import FetchError, FetchRefused, UsageError
from motet.sources import shown

ALLOW = "MOTET_FETCH_ALLOW"  # environment variable: networks and hosts that may be fetched from though they aren't public
PORTS = {"http": 80, "https": 443}
PIECE = 2**16  # bytes that a compressed body is decoded to at once
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GZIP_FORMAT = 31  # zlib's name for it
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.\-]*[a-z0-9_])?").fullmatch

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that is given out for use on the internet
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_6TO4 = ipaddress.IPv6Network("2002::/16")
# Not everybody's, though Python's oldest supported version takes them for global.
_OTHERS: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = (
    ipaddress.IPv4Network("192.0.0.0/24"),
    ipaddress.IPv4Network("192.88.99.0/24"),
    ipaddress.IPv6Network("3fff::/20"),
)


def destination(address: Address) -> Address:
    """Return where packets to an address end up: IPv6 has several ways to write an IPv4 address, which gateways translate."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address in _6TO4 and address.sixtofour is not None:
            return address.sixtofour
    return address


def is_public(address: Address) -> bool:
    """Whether an address is one of the internet, for everybody, and of one machine."""
    end = destination(address)
    if not end.is_global or end.is_multicast or end.is_reserved or any(end in network for network in _OTHERS):
        return False
    return end.version == 4 or end in _UNICAST  # noqa: PLR2004  # the version


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What may be fetched from though it isn't public.

    Attributes:
        networks: of addresses.
        hosts: names, in lower case, whatever they resolve to.
    """

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, entries: str | Iterable[str], *, where: str | None = None) -> Allowed:
        """Read entries such as `10.1.0.0/16`, `127.0.0.1` and `models.internal`, in a list or separated by commas.

        Raises:
            UsageError: one is neither a network nor a name.
        """
        networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        hosts: set[str] = set()
        for entry in entries.split(",") if isinstance(entries, str) else entries:
            text = entry.strip().lower()
            if not text:
                continue
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError as error:
                if "/" in text or ":" in text or not _HOST_NAME(text) or text.rpartition(".")[2].isdigit():
                    problem = "an entry of what may be fetched from is neither a network nor a host"
                    raise UsageError(
                        problem,
                        where=where,
                        found=f"{entry.strip()!r} ({error})",
                        instead="such as 10.1.0.0/16, 127.0.0.1 or models.internal",
                    ) from None
                hosts.add(text)
        return cls(networks=tuple(networks), hosts=frozenset(hosts))

    @classmethod
    def from_environment(cls) -> Allowed:
        """Read `MOTET_FETCH_ALLOW`."""
        return cls.parse(os.environ.get(ALLOW, ""), where=ALLOW)

    def permits(self, host: str, address: Address) -> bool:
        """Whether a host may be dialled at an address."""
        return is_public(address) or host.rstrip(".").lower() in self.hosts or any(destination(address) in n for n in self.networks)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """What one fetch may take.

    Attributes:
        size: bytes of the body at most, as it arrives and as it is after decoding.
        total: seconds until the last byte.
        stall: seconds to connect, and without a byte.
        redirects: hops after the first.
    """

    size: int = 100_000_000
    total: float = 60.0
    stall: float = 10.0
    redirects: int = 5


class Answer:
    """The answer to one request, its body still to come.

    Attributes:
        status: of HTTP.
        headers: by name in lower case; one that came several times has its values joined by commas.
        url: that answered, after redirects.
        length: bytes that the body has as it arrives, if the server tells.
        encoded: whether the body is compressed, though that wasn't asked for.
    """

    def __init__(self, response: httpcore.Response, url: httpx.URL, limits: FetchLimits) -> None:
        self._response = response
        self._limits = limits
        self.status = response.status
        self.url = url
        headers: dict[str, str] = {}
        for name, value in response.headers:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        self.headers: Mapping[str, str] = headers
        length = headers.get("content-length", "")
        self.length = int(length) if length.isascii() and length.isdigit() and "transfer-encoding" not in headers else None
        self.encoded = headers.get("content-encoding", "identity").lower() not in ("identity", "")

    @property
    def tells_end(self) -> bool:
        """Whether the end of the body can be told from a broken connection."""
        return self.length is not None or "chunked" in self.headers.get("transfer-encoding", "").lower()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body, decoded.

        Raises:
            FetchRefused: it is larger than allowed, or compressed in a way that isn't read.
            FetchError: it ends too early, or can't be decoded.
        """
        limit = self._limits.size
        if self.length is not None and self.length > limit:
            raise self._too_large(f"{self.length} bytes announced")
        size = 0
        async for piece in self._decoded() if self.encoded else self._plain():
            size += len(piece)
            if size > limit:
                raise self._too_large(f"more than {limit} bytes")
            yield piece

    async def _plain(self) -> AsyncGenerator[bytes]:
        async for piece in self._response.aiter_stream():
            yield piece

    async def _decoded(self) -> AsyncGenerator[bytes]:
        coding = self.headers["content-encoding"].lower()
        if coding not in ("gzip", "x-gzip"):
            problem = "the body is compressed in a way that isn't read"
            raise FetchRefused(problem, where=shown(self.url), found=coding, instead="a server that sends it as it is, or in gzip")
        reader = zlib.decompressobj(wbits=_GZIP_FORMAT)
        size = 0
        try:
            async for piece in self._plain():
                size += len(piece)
                if size > self._limits.size:
                    raise self._too_large(f"more than {self._limits.size} bytes")
                rest = piece
                while rest:
                    if reader.eof:  # a body may be several of them in a row
                        reader = zlib.decompressobj(wbits=_GZIP_FORMAT)
                    yield reader.decompress(rest, PIECE)
                    rest = reader.unused_data if reader.eof else reader.unconsumed_tail
        except zlib.error as error:
            raise FetchError("the body is no gzip", where=shown(self.url), found=str(error)) from None
        while not reader.eof and (piece := reader.decompress(reader.unconsumed_tail, PIECE)):
            yield piece
        if not reader.eof:
            raise FetchError("the body is no whole gzip", where=shown(self.url), found="it ends too early")

    def _too_large(self, found: str) -> FetchRefused:
        return FetchRefused("the file is too large", where=shown(self.url), found=found, instead=f"{self._limits.size} bytes at most")


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, as the system's resolver tells them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Fetcher:
    """Fetches URLs.

    Args:
        allow: networks and hosts that may be fetched from though they aren't public; None for what `MOTET_FETCH_ALLOW` says.
        limits: what one fetch may take.
        resolver: tells the addresses of a host.
    """

    def __init__(self, *, allow: Allowed | None = None, limits: FetchLimits | None = None, resolver: Resolve = resolve) -> None:
        self._allow = allow if allow is not None else Allowed.from_environment()
        self._limits = limits or FetchLimits()
        self._resolve = resolver

    @contextlib.asynccontextmanager
    async def open(self, url: str, headers: Mapping[str, str] | None = None) -> AsyncGenerator[Answer]:
        """Ask for a URL by GET and follow redirects; the body is read within the context, and the time runs until its end.

        Args:
            url: of http or https.
            headers: to send to every host on the way, so nothing secret.

        Raises:
            FetchRefused: the URL, or what it redirects to, may not be fetched, or takes more than allowed.
            FetchError: the host isn't there, or doesn't answer as HTTP has it.
        """
        target, asked = checked_url(url), shown(url)
        time = asyncio.timeout(self._limits.total)
        try:
            async with time:
                for _ in range(self._limits.redirects + 1):
                    async with self._hop(target, headers or {}) as answer:
                        location = answer.headers.get("location")
                        if answer.status not in _REDIRECTS or location is None:
                            yield answer
                            return
                    target = _redirected(target, location)
        except TimeoutError:
            if not time.expired():  # of whoever reads
                raise
            raise FetchError("it takes too long", where=asked, found=f"not done after {self._limits.total:g} s") from None
        hops = self._limits.redirects
        raise FetchRefused("it is redirected too often", where=asked, found=f"{hops + 1} redirects", instead=f"{hops} at most")

    @contextlib.asynccontextmanager
    async def _hop(self, url: httpx.URL, headers: Mapping[str, str]) -> AsyncGenerator[Answer]:
        port = url.port or PORTS[url.scheme]
        sent = [
            (b"Host", url.netloc),
            (b"User-Agent", b"motet"),
            (b"Accept", b"*/*"),
            (b"Accept-Encoding", b"identity"),
            *((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()),
        ]
        stall = self._limits.stall
        try:
            door = _Door(await self._addresses(url, port))
            context = trusted() if url.scheme == "https" else None
            async with (
                httpcore.AsyncConnectionPool(ssl_context=context, network_backend=door, max_connections=1) as pool,
                pool.stream(
                    "GET",
                    httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=port, target=url.raw_path),
                    headers=sent,
                    extensions={"timeout": {"connect": stall, "read": stall, "write": stall, "pool": stall}},
                ) as response,
            ):
                yield Answer(response, url, self._limits)
        except httpcore.TimeoutException:
            raise FetchError("the server is silent", where=shown(url), found=f"nothing for {stall:g} s") from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise FetchError(
                "it can't be fetched", where=shown(url), found=f"{type(error).__name__}: {error}".rstrip(": "), instead=_proxy_advice()
            ) from error

    async def _addresses(self, url: httpx.URL, port: int) -> list[str]:
        """Return the addresses of a host, all of which may be dialled; one that may not be makes the whole name suspicious."""
        host = url.raw_host.decode("ascii")  # as it is sent and certified; the resolver has another, older way to encode names
        try:
            found = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise FetchError("the host isn't known", where=shown(url), found=f"{url.host}: {error}", instead=_proxy_advice()) from None
        addresses = [ipaddress.ip_address(text) for text in found]
        if not addresses:
            raise FetchError("the host isn't known", where=shown(url), found=f"{url.host} has no address")
        for address in addresses:
            if not self._allow.permits(host, address):
                raise FetchRefused(
                    "the host isn't a public one, and nothing else is fetched from",
                    where=shown(url),
                    found=str(address) if str(address) == url.host else f"{url.host} is {address}",
                    instead=f"{ALLOW}={url.host} (or a network), for servers of your own",
                )
        return [str(address) for address in addresses]


class _Door(httpcore.AsyncNetworkBackend):
    """Dials nothing but the addresses that it was made with, whatever name the connection is for (TLS still checks that)."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        # It is one; httpcore declares a stand-in as well, for those who haven't installed anyio.
        self._backend = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002  # it has been resolved
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        *others, last = self._addresses
        for address in others:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
        return await self._backend.connect_tcp(last, port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del timeout, socket_options
        raise httpcore.UnsupportedProtocol(path)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def checked_url(text: str) -> httpx.URL:
    """Return a URL that may be asked for, without its fragment.

    Raises:
        FetchRefused: it isn't of http or https, has no host, or has a name or password in it.
    """
    try:
        url = httpx.URL(text)
        port = url.port
    except (httpx.InvalidURL, ValueError) as error:
        raise FetchRefused("it is no URL", found=f"{shown(text)} ({error})", instead="https://host/file") from None
    if url.scheme not in PORTS:
        raise FetchRefused("only http and https are fetched", found=shown(text), instead="https://host/file")
    if not url.host or (port is not None and not 0 < port < 2**16):
        raise FetchRefused("the URL has no host, or no port that there is", found=shown(text), instead="https://host/file")
    if url.userinfo:
        raise FetchRefused(
            "the URL has a name or password in it, which would show in logs", found=shown(text), instead="a URL without, or a signed one"
        )
    return url.copy_with(fragment=None)


def _redirected(url: httpx.URL, location: str) -> httpx.URL:
    try:
        target = checked_url(str(url.join(location)))
    except (FetchRefused, httpx.InvalidURL, ValueError) as error:
        message = error.message if isinstance(error, FetchRefused) else str(error)
        raise FetchRefused(f"it is redirected to what may not be fetched: {message}", where=shown(url), found=shown(location)) from None
    if url.scheme == "https" and target.scheme != "https":
        raise FetchRefused("it is redirected from https to http", where=shown(url), found=shown(target), instead="a redirect to https")
    return target


@functools.cache
def trusted() -> ssl.SSLContext:
    """Return whose certificates are believed: `SSL_CERT_FILE` or `SSL_CERT_DIR` where they are set, else certifi's list."""
    return httpx.create_ssl_context()


def _proxy_advice() -> str | None:
    """Return what to say to those whose way out is a proxy."""
    names = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
    found = next((name for name in names if os.environ.get(name)), None)
    return f"a direct way there: {found} isn't used, since behind a proxy nobody can check what is dialled" if found else None
