"""Who gets in: API keys, addresses, and what happens when descriptors run out."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from gateway_services import Desk
from wire_client import get, post

from motet.errors import UsageError
from motet.gateway.auth import check_bind

pytestmark = pytest.mark.anyio

KEYS = ["first key", "zweiter-schlüssel"]


@pytest.fixture
async def client(serve):
    return await (await serve(Desk.bind(), api_keys=KEYS)).connect()


@pytest.mark.parametrize(
    "header",
    [
        "X-Other: 1",
        "Authorization: Bearer wrong",
        "Authorization: Basic first key",
        "Authorization: Bearer",
        "X-API-Key: first ke",
        "X-API-Key:",
    ],
)
@pytest.mark.parametrize(
    "request_",
    [post("/add", {"a": 1}), get("/docs/"), get("/openapi.json"), get("/nope"), get("/healthz/"), post("//healthz")],
)
async def test_wrong_keys(client, header, request_):
    """Everything but the probes refuses, says how, and goes on with the connection."""
    answer = await client.ask(request_.replace(b"Host: test", b"Host: test\r\n" + header.encode()))
    assert (answer.status, answer.error["type"], answer.headers["www-authenticate"]) == (401, "Unauthorized", "Bearer")
    assert (await client.ask(get("/healthz"))).status == 200


@pytest.mark.parametrize("header", ["Authorization: Bearer first key", "authorization: bearer first key", "X-API-Key: first key"])
async def test_right_keys(client, header):
    """Either header carries a key."""
    answer = await client.ask(post("/add", {"a": 1}, header))
    assert (answer.status, answer.json) == (200, 2)
    assert (await client.ask(get("/openapi.json", header))).json["security"] == [{"bearer": []}, {"header": []}]


async def test_every_key_counts(client):
    """Also the last, and one that isn't ASCII."""
    request = post("/add", {"a": 1}).replace(b"Host: test", "Host: test\r\nX-API-Key: zweiter-schlüssel".encode())
    assert (await client.ask(request)).json == 2


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/startupz", "/docs", "/docs/swagger_bundle.js", "/docs/swagger_style.css"])
async def test_probes_need_no_key(client, path):
    """What watches the server has none, nor has a browser that opens the documentation; the page says nothing of the app."""
    assert (await client.ask(get(path))).status == 200


async def test_refused_before_the_body(client):
    """Nobody without a key uploads anything."""
    answer = await client.ask(post("/size", b"x" * 100, "Expect: 100-continue")[:-100])
    assert (answer.status, answer.headers["connection"]) == (401, "close")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_key(host):
    """Only this machine can reach it."""
    check_bind(host, [])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "0", "::ffff:10.0.0.1"])
def test_other_addresses_need_a_key(host):
    """Whatever others can reach is refused without a key, and allowed with one."""
    with pytest.raises(UsageError, match="--api-key"):
        check_bind(host, [])
    check_bind(host, ["key"])


def test_unknown_hosts_and_empty_keys_are_refused():
    """Neither is what it looks like."""
    with pytest.raises(UsageError, match="resolved"):
        check_bind("no.such.host.invalid", [])
    with pytest.raises(UsageError, match="empty"):
        check_bind("127.0.0.1", ["key", " "])


EXHAUST = """
import asyncio, resource, socket, sys
import uvloop
from gateway_services import Desk
from conftest import listening
from motet.engines.inline import InlineEngine
from motet.gateway.routes import app_routes
from motet.gateway.server import Gateway
from motet.graph import compile_graph

async def main():
    engine = InlineEngine()
    await engine.start()
    graph = compile_graph(Desk.bind())
    await engine.deploy(graph)
    gateway = Gateway(engine.caller.router)
    gateway.set_apps([app_routes(graph, engine._apps["default"][1])])
    sock = listening()
    await gateway.serve(sock)
    used = len(__import__("os").listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 10, used + 10))
    print(sock.getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    print("alive", gateway.connections)

uvloop.run(main())
"""


def test_no_descriptors_left():
    """Connections beyond are closed; those that are open, and those that come when there is room, are served."""
    here = Path(__file__).parent
    process = subprocess.Popen(
        [sys.executable, "-c", EXHAUST],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(here)},
    )
    with process:
        port = int(process.stdout.readline())
        clients = [_Client(port) for _ in range(30)]
        served = [client for client in clients if client.ask()]
        assert 0 < len(served) < 30
        assert all(client.ask() for client in served)
        for client in clients:
            client.close()
        assert _until_served(port)
        process.communicate("\n", timeout=30)
    assert process.returncode == 0


class _Client:
    """A blocking client of one connection."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)

    def ask(self):
        """Whether a request is answered, rather than the connection closed."""
        try:
            self._socket.sendall(post("/add", {"a": 1}))
            return self._socket.recv(65536).startswith(b"HTTP/1.1 200")
        except (ConnectionResetError, BrokenPipeError):
            return False

    def close(self):
        self._socket.close()


def _until_served(port):
    """Try until the server has noticed that others left."""
    for _ in range(1000):
        client = _Client(port)
        served = client.ask()
        client.close()
        if served:
            return True
    return False
