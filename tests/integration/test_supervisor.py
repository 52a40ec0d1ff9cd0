"""The supervisor of `motet.run`, as its program sees it."""

import asyncio
import importlib
import os
import signal
import socket
from pathlib import Path

import httpx
import pytest

import motet
from motet.engines.local.control import Hello, connect
from motet.engines.local.engine import LocalEngine
from motet.engines.local.folder import servers
from motet.graph import compile_graph
from motet.testing import PATIENCE, Gate

pytestmark = pytest.mark.anyio


class One(motet.Service):
    @motet.endpoint
    def one(self) -> int:
        return 1


def children():
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


async def test_death_of_the_supervisor():
    """What is asked of a supervisor that has died fails at once, and its app can be left."""
    async with asyncio.timeout(PATIENCE), motet.run(One.bind()) as one:
        (server,) = await motet.status()
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises((motet.Unavailable, motet.ReplicaDied)):  # noqa: PT012  # answers come before the news
            while True:
                await one.one()
        with pytest.raises(motet.Unavailable, match="supervisor died"):
            await motet.status()


async def test_start_on_a_port_that_is_taken():
    """A supervisor that can't start says why, and leaves no process."""
    before = children()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(motet.StartError, match="is taken"):
            await motet.run(One.bind(), port=taken.getsockname()[1])
    assert children() == before


async def test_second_port():
    """A port that would be without effect is refused."""
    async with motet.run(One.bind(), name="first"):
        with pytest.raises(motet.UsageError, match="first"):
            await motet.run(One.bind(), name="second", port=0)


async def test_options_of_http():
    """They are those of the command line; without a port they would be without effect."""
    http = motet.HttpOptions(cors=("*",), gateways=2)
    async with motet.run(One.bind(), port=0, http=http):
        (server,) = await motet.status()
        assert len(server.gateways) == 2
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            answer = await client.post(f"{server.url}/one", headers={"origin": "https://a.example"})
        assert (answer.json(), answer.headers["access-control-allow-origin"]) == (1, "*")
    with pytest.raises(motet.UsageError, match="port"):
        await motet.run(One.bind(), http=http)


class Held(motet.Service):
    """Starts when it is let."""

    def __init__(self, gate: Gate) -> None:
        gate.reached()
        gate.wait_sync()

    @motet.endpoint
    def one(self) -> int:
        return 1


@pytest.fixture
async def engine():
    """A supervisor as its client sees it, which may ask for several things at once."""
    made = LocalEngine()
    await made.start()
    yield made
    await made.stop()


async def test_deletion_of_an_app_that_starts(gate, engine):
    """Whoever waits for it hears that."""
    begun = gate()
    async with asyncio.timeout(PATIENCE):
        starting = asyncio.ensure_future(engine.deploy(compile_graph(Held.bind(begun), name="held")))
        await begun.until_reached(1)
        await engine.delete("held")
        with pytest.raises(motet.ShuttingDown, match="deleted"):
            await starting
        assert not (await engine.status()).apps


async def test_stop_while_code_is_loaded(tmp_path, monkeypatch):
    """It isn't waited for: an import may take for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = "import os, motet\nif 'MOTET_TEST_PIPE' in os.environ:\n    open(os.environ['MOTET_TEST_PIPE']).read()\n"
    (tmp_path / "held_import.py").write_text(
        code + "class Loaded(motet.Service):\n    @motet.endpoint\n    def one(self) -> int: return 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    graph = compile_graph(importlib.import_module("held_import").Loaded.bind())
    monkeypatch.setenv("MOTET_TEST_PIPE", str(pipe))
    engine = LocalEngine()
    await engine.start()
    async with asyncio.timeout(PATIENCE):
        starting = asyncio.ensure_future(engine.deploy(graph))
        held = await asyncio.to_thread(os.open, pipe, os.O_WRONLY)  # the import has begun
        try:
            await engine.stop()
            with pytest.raises((motet.StartError, motet.Unavailable)):
                await starting
        finally:
            os.close(held)


async def test_a_service_with_a_secret_that_apps_share(monkeypatch):
    """It is the same one in both, and so takes no room twice."""
    monkeypatch.setenv("MOTET_TEST_TOKEN", "of the service alone")
    node = One.bind().options(assets=motet.Assets(secrets=["MOTET_TEST_TOKEN"]), resources=motet.Resources(custom={"seat": 1}))
    async with asyncio.timeout(PATIENCE), motet.run(node, name="first", resources={"seat": 1}), motet.run(node, name="second") as one:
        assert await one.one() == 1
        (server,) = await motet.status()
        assert {replica.pid for app in server.apps for node in app.nodes for replica in node.replicas} == {
            server.apps[0].nodes[0].replicas[0].pid
        }


async def test_another_process_that_says_to_be_a_replica(monkeypatch):
    """It isn't given the secrets of that, nor anything else."""
    monkeypatch.setenv("MOTET_TEST_TOKEN", "of the service alone")
    node = One.bind().options(assets=motet.Assets(secrets=["MOTET_TEST_TOKEN"]))
    async with asyncio.timeout(PATIENCE), motet.run(node):
        (server,) = await motet.status()
        (replica,) = server.apps[0].nodes[0].replicas
        (control,) = [str(folder / "control") for folder, card in servers() if card.pid == server.pid]
        connection = await connect(control, Hello(role="replica", identity=replica.identity, pid=replica.pid))
        assert await connection.receive() is None
        await connection.close()
