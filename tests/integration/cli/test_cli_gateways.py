"""Several gateways on one port, other options of HTTP, and what a server says while it stops: as processes."""

import os
import signal

import httpx
import pytest

APP = """
import logging
import pathlib
import pickle

import motet
from motet.testing import Gate

class Desk(motet.Service):
    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    @motet.endpoint
    async def hold(self) -> str:
        self.gate.reached()
        await self.gate.wait()
        return "held"

    @motet.endpoint
    async def one(self) -> int:
        return 1

    @motet.endpoint
    def say(self) -> None:
        logging.getLogger("desk").info("it was asked")

app = Desk.bind(pickle.loads(pathlib.Path("gate.pickle").read_bytes()))
"""


def gateways(program):
    (server,) = program.ps()
    return server["gateways"]


def test_a_gateway_that_dies_is_replaced_while_the_others_serve(app):
    """No connection is refused or lost, whichever of them the kernel would have given it to."""
    server = app.serve("app.py:app", "--gateways", "2").until_ready()
    before = gateways(app)
    assert len(before) == 2
    assert httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 200
    os.kill(before[0], signal.SIGKILL)
    assert [server.post("/one").json() for _ in range(40)] == [1] * 40  # a connection each
    server.until("gateway 1 died (killed by SIGKILL); a new one starts in 0 s")
    after = gateways(app)
    while len(after) < 2:
        after = gateways(app)
    assert (after[1], after[0] != before[0]) == (before[1], True)
    os.kill(before[1], signal.SIGKILL)
    assert [server.post("/one").json() for _ in range(40)] == [1] * 40
    started = server.descendants()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    started.until_ended(5)
    assert app.leftovers() == []


def test_the_port_of_several_gateways_is_taken(app):
    """Another server can't slip in among them."""
    server = app.serve("app.py:app", "--gateways", "2").until_ready()
    done = app.run("serve", "app.py:app", "--gateways", "2", "--port", server.url.rpartition(":")[2])
    assert (done.returncode, "is taken" in done.stderr) == (1, True)


@pytest.mark.parametrize("options", [("--engine", "inline"), (), ("--gateways", "2")], ids=["inline", "local", "two gateways"])
def test_who_comes_while_a_server_stops_hears_that(app, gate, pool, options):
    """503, on new connections too, until the last call is answered; then the port is closed."""
    server = app.serve("app.py:app", *options).until_ready()
    held = pool.submit(server.post, "/hold")
    gate.until_reached_sync()
    server.signal(signal.SIGTERM)
    server.until("stopping: 1 call")
    late = server.post("/one")
    while late.status_code == 200:
        late = server.post("/one")
    assert (late.status_code, late.json()["error"]["type"], late.headers["connection"]) == (503, "ShuttingDown", "close")
    assert httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 503
    assert not held.done()
    gate.open()
    assert held.result().json() == "held"
    assert server.wait() == 0
    with pytest.raises(httpx.ConnectError):
        server.post("/one")


def test_a_server_whose_gateway_was_replaced_waits_for_its_calls(app, gate, pool):
    """The death of the first gateway isn't taken for the second's being done."""
    server = app.serve("app.py:app").until_ready()
    os.kill(gateways(app)[0], signal.SIGKILL)
    held = pool.submit(server.post, "/hold")
    gate.until_reached_sync()
    server.signal(signal.SIGTERM)
    server.until("stopping: 1 call")
    while server.post("/one").status_code == 200:
        pass
    assert server.post("/one").status_code == 503
    gate.open()
    assert held.result().json() == "held"
    assert server.wait() == 0


@pytest.mark.parametrize("engine", ["local", "inline"])
def test_options_of_http(app, engine):
    """They get to the gateway."""
    server = app.serve(
        "app.py:app", "--engine", engine, "--cors", "https://a.example", "--cors", "https://b.example", "--gzip"
    ).until_ready()
    answer = server.post("/one", headers={"origin": "https://b.example"})
    assert answer.headers["access-control-allow-origin"] == "https://b.example"
    assert answer.headers["vary"] == "accept-encoding, origin"


def test_log_names_the_request(app):
    """What a service logs can be found by the id that the client has."""
    server = app.serve("app.py:app").until_ready()
    server.post("/say", headers={"x-request-id": "the-7th"})
    assert server.until("it was asked").endswith("INFO desk [the-7th]: it was asked")


def test_wrong_options_of_http(app):
    """They are refused at once."""
    assert "is no origin" in app.run("serve", "app.py:app", "--cors", "a.example").stderr
    assert "one gateway" in app.run("serve", "app.py:app", "--gateways", "2", "--engine", "inline").stderr
