"""The guarded fetcher: what it refuses, and that nothing of what it refuses is ever dialled."""

import gzip
import ipaddress
import ssl
import subprocess
import tracemalloc

import pytest
from file_server import FileServer

import motet
from motet import fetching
from motet.fetching import Allowed, Fetcher, FetchLimits, checked_url, is_public
from motet.sources import shown

pytestmark = pytest.mark.anyio
LOCAL = Allowed.parse("127.0.0.1")


def resolving(**addresses):
    """Return a resolver that knows some hosts; one with several lists answers with each in turn."""

    async def resolve(host, port):
        asked.append(host)
        found = addresses.get(host.replace(".", "_"), [host])
        return found.pop(0) if found and isinstance(found[0], list) else found

    asked = resolve.asked = []
    return resolve


async def fetch(url, *, headers=None, allow=LOCAL, **options):
    async with Fetcher(allow=allow, **options).open(url, headers) as answer:
        return answer.status, b"".join([piece async for piece in answer.pieces()])


async def test_fetch(files):
    files.add("/a", b"content")
    assert await fetch(files.url("/a")) == (200, b"content")
    assert (await fetch(files.url("/nothing")))[0] == 404
    (headers,) = files.headers_of("/a")
    assert headers == {"host": f"127.0.0.1:{files.port}", "user-agent": "motet", "accept": "*/*", "accept-encoding": "identity"}


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "1.1.1.1", "151.101.0.223", "2606:4700::6810:84e5", "2a00:1450:4001:829::200e"),
        *("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),
    ],
)
def test_public(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "203.0.113.5", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "fe80::1", "fe80::1%1", "fc00::1", "fd00:ec2::254"),
        *("fec0::1", "ff02::1", "100::1", "2001:db8::1", "2001::7f00:1", "3fff::1", "5f00::1", "4000::1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::1", "2002:a00:1::"),
    ],
)
def test_not_public(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"])
async def test_writings_of_this_machine(files, host):
    """However an address is written, what it stands for is refused, and the server hears nothing."""
    with pytest.raises(motet.FetchRefused, match="isn't a public one"):
        await fetch(files.url("/a", host=host), allow=Allowed())
    assert files.requests == []


async def test_rebinding(files):
    """A name is resolved once; that it means something else a moment later changes nothing, and one bad address is enough."""
    files.add("/a", b"a")
    resolve = resolving(my_host=[["127.0.0.1"], ["8.8.8.8"]])
    assert await fetch(files.url("/a", host="my.host"), resolver=resolve) == (200, b"a")
    assert resolve.asked == ["my.host"]
    assert files.requests[0][1]["host"] == f"my.host:{files.port}"
    with pytest.raises(motet.FetchRefused, match=r"my\.host is 10\.0\.0\.1"):
        await fetch(files.url("/a", host="my.host"), resolver=resolving(my_host=["8.8.8.8", "10.0.0.1"]))
    with pytest.raises(motet.FetchError, match="isn't known"):
        await fetch(files.url("/a", host="my.host"), resolver=resolving(my_host=[]))


async def test_names_of_other_scripts(files):
    """What is resolved is the name that is sent and that certificates are checked for: Python's resolver would take ss for ß."""
    files.add("/a", b"a")
    name = "xn--strae-oqa.example"
    resolve = resolving(**{name.replace(".", "_"): ["127.0.0.1"]})
    assert await fetch(files.url("/a", host="straße.example"), resolver=resolve) == (200, b"a")
    assert resolve.asked == [name]
    assert files.requests[0][1]["host"] == f"{name}:{files.port}"


async def test_next_address_if_one_is_dead(files):
    files.add("/a", b"a")
    addresses = resolving(my_host=["127.0.0.2", "127.0.0.1"])  # nothing listens at the first
    assert await fetch(files.url("/a", host="my.host"), resolver=addresses, allow=Allowed.parse("127.0.0.0/8")) == (200, b"a")


async def test_allowed(monkeypatch):
    allow = Allowed.parse("10.1.0.0/16, Models.internal,127.0.0.1 ,::1")
    assert allow.hosts == {"models.internal"}
    assert allow.permits("x", ipaddress.ip_address("10.1.2.3"))
    assert allow.permits("x", ipaddress.ip_address("::ffff:10.1.2.3"))
    assert allow.permits("models.INTERNAL.", ipaddress.ip_address("10.9.9.9"))
    assert not allow.permits("models.internal.evil", ipaddress.ip_address("10.9.9.9"))
    assert not allow.permits("x", ipaddress.ip_address("10.2.2.3"))
    monkeypatch.setenv("MOTET_FETCH_ALLOW", "10.0.0.0/8")
    assert Allowed.from_environment().permits("x", ipaddress.ip_address("10.2.2.3"))


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "10.0.0.0/40", "http://a.example", "a b", "1.2.3", "*.internal"])
def test_wrong_entry_of_what_is_allowed(entry):
    with pytest.raises(motet.UsageError, match="neither a network nor a host"):
        Allowed.parse(f"good.example,{entry}")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("file:///etc/passwd", "only http and https"),
        ("ftp://a.example/x", "only http and https"),
        ("gopher://a.example/x", "only http and https"),
        ("//a.example/x", "only http and https"),
        ("a.example/x", "only http and https"),
        ("http:///x", "no host"),
        ("https://", "no host"),
        ("http://a.example:0/", "no port that"),
        ("http://a.example:99999/", "no port that"),
        ("http://a.example/\r\nHost: b", "no URL"),
        ("http://user:secret@a.example/x", "name or password"),
        ("http://a.example\\@127.0.0.1/", "name or password"),
        ("http://a.example:80@127.0.0.1/", "name or password"),
        ("http://127。0。0。2/", "isn't a public one"),
        ("http://127.0.0.2#@a.example/", "isn't a public one"),
        ("http://[::1", "no URL"),
    ],
)
async def test_wrong_url(url, problem):
    with pytest.raises(motet.FetchRefused, match=problem) as caught:
        await fetch(url)
    assert "secret" not in str(caught.value)


def test_what_messages_show_of_a_url():
    assert shown("https://user:pass@a.example/f.bin?sig=secret&x=@/#sha256=1") == "https://a.example/f.bin?..."
    assert shown(checked_url("https://a.example/f#x")) == "https://a.example/f"


# -- redirects ---------------------------------------------------------------------------------------------------------


async def test_redirects(files, other_files):
    other_files.add("/c", b"there")
    files.redirects |= {"/a": "/b", "/b": other_files.url("/c")}
    assert await fetch(files.url("/a"), headers={"Range": "bytes=0-"}) == (206, b"there")
    assert [path for path, _ in files.requests] == ["/a", "/b"]
    assert other_files.headers_of("/c")[0]["host"] == f"127.0.0.1:{other_files.port}"


async def test_too_many_redirects(files):
    files.redirects |= {"/a": "/b", "/b": "/a"}
    with pytest.raises(motet.FetchRefused, match="redirected too often"):
        await fetch(files.url("/a"))
    assert len(files.requests) == 6


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:10.0.0.1]/",
        "//10.0.0.1/x",
        "http://inside.example/",
        "http://2130706434/",
    ],
)
async def test_redirect_to_a_private_address(files, location):
    files.redirects["/a"] = location
    with pytest.raises(motet.FetchRefused, match="isn't a public one"):
        await fetch(files.url("/a"), resolver=resolving(inside_example=["192.168.0.1"], **{"2130706434": ["127.0.0.2"]}))


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://a.example/x", "http://me:secret@127.0.0.1/", "javascript:alert(1)"])
async def test_redirect_to_what_is_no_url(files, location):
    files.redirects["/a"] = location
    with pytest.raises(motet.FetchRefused, match="redirected to what may not be fetched") as caught:
        await fetch(files.url("/a"))
    assert "secret" not in str(caught.value)


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [True, False])
async def test_too_large(files, length):
    """Announced or not, no more is taken than allowed."""
    files.add("/a", bytes(5000), length=length)
    with pytest.raises(motet.FetchRefused, match="too large"):
        await fetch(files.url("/a"), limits=FetchLimits(size=4999))
    assert await fetch(files.url("/a"), limits=FetchLimits(size=5000)) == (200, bytes(5000))


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "it can't be fetched"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", "it can't be fetched"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "it can't be fetched"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nab", "it can't be fetched"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + bytes(200_000).replace(b"\0", b"x"), "it can't be fetched"),
        (b"SSH-2.0-server\r\n", "it can't be fetched"),
        (b"", "it can't be fetched"),
    ],
)
async def test_lies(files, answer, found):
    files.raw["/a"] = answer
    with pytest.raises(motet.FetchError, match=found):
        await fetch(files.url("/a"))


async def test_more_than_announced(files):
    files.raw["/a"] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfourteen"
    assert await fetch(files.url("/a")) == (200, b"four")


async def test_stall(files):
    files.add("/a", bytes(1000), hold=100)
    with pytest.raises(motet.FetchError, match="silent"):
        await fetch(files.url("/a"), limits=FetchLimits(stall=0.05))


async def test_total_time(files):
    """The time runs on while bytes come."""
    files.add("/a", bytes(1000), hold=100)
    with pytest.raises(motet.FetchError, match="takes too long"):
        await fetch(files.url("/a"), limits=FetchLimits(total=0.05))


async def test_nobody_listens(files, monkeypatch):
    files.close()
    with pytest.raises(motet.FetchError, match="can't be fetched"):
        await fetch(files.url("/a"))
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    with pytest.raises(motet.FetchError, match="https_proxy isn't used"):
        await fetch(files.url("/a"))


async def test_proxies_are_not_used(files, other_files, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, other_files.url(""))
    files.add("/a", b"direct")
    assert await fetch(files.url("/a")) == (200, b"direct")
    assert other_files.requests == []


# -- compression -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"text " * 50_000, bytes(3_000_000)])
async def test_gzip(files, content):
    files.add("/a", gzip.compress(content[:100]) + gzip.compress(content[100:]), encoding="gzip")
    assert await fetch(files.url("/a")) == (200, content)


async def test_gzip_bomb(files):
    """A small body that becomes a huge one ends at the limit, and is never there as a whole."""
    files.add("/a", gzip.compress(bytes(100_000_000), 9), encoding="gzip")
    tracemalloc.start()
    try:
        with pytest.raises(motet.FetchRefused, match="too large"):
            await fetch(files.url("/a"), limits=FetchLimits(size=5_000_000))
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "encoding", "problem"),
    [
        (gzip.compress(b"text" * 100)[:-5], "gzip", "no whole gzip"),
        (b"plain", "gzip", "no gzip"),
        (gzip.compress(b"text") + b"rest", "gzip", "no gzip"),
        (b"x", "br", "isn't read"),
        (b"x", "gzip, gzip", "isn't read"),
    ],
)
async def test_wrong_compression(files, content, encoding, problem):
    files.add("/a", content, encoding=encoding)
    with pytest.raises(motet.FetchError, match=problem):
        await fetch(files.url("/a"))


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for good.example, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    names = ["-subj", "/CN=good.example", "-addext", "subjectAltName=DNS:good.example"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", *names]
    subprocess.run([*command, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True)
    return folder


@pytest.fixture
def secure(certificate, monkeypatch):
    """A server with that certificate, which is trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    context.sni_callback = lambda _socket, name, _context: seen.append(name)
    server = FileServer(context)
    seen = server.names = []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    fetching.trusted.cache_clear()
    yield server
    server.close()
    fetching.trusted.cache_clear()


async def test_certificates(secure):
    """The name of the URL is what the certificate has to be for, though an address is dialled."""
    secure.add("/a", b"a")
    resolve = resolving(good_example=["127.0.0.1"], evil_example=["127.0.0.1"])
    assert await fetch(secure.url("/a", host="good.example"), resolver=resolve) == (200, b"a")
    assert secure.names == ["good.example"]
    with pytest.raises(motet.FetchError, match="CERTIFICATE_VERIFY_FAILED"):
        await fetch(secure.url("/a", host="evil.example"), resolver=resolve)
    with pytest.raises(motet.FetchError, match="CERTIFICATE_VERIFY_FAILED"):
        await fetch(secure.url("/a"), resolver=resolve)


async def test_untrusted_certificate(secure, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    fetching.trusted.cache_clear()
    with pytest.raises(motet.FetchError, match="CERTIFICATE_VERIFY_FAILED"):
        await fetch(secure.url("/a", host="good.example"), resolver=resolving(good_example=["127.0.0.1"]))


async def test_redirect_from_https_to_http(secure, files):
    secure.redirects["/a"] = files.url("/b")
    with pytest.raises(motet.FetchRefused, match="from https to http"):
        await fetch(secure.url("/a", host="good.example"), resolver=resolving(good_example=["127.0.0.1"]))
    assert files.requests == []
