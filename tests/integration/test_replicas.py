"""What only several replicas, each a process, can show."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import motet
from motet import linux
from motet.engines.local import processes
from motet.engines.local.plan import recipe_of_this_process
from motet.engines.local.processes import Home, Stem, Zygote, until_end
from motet.testing import PATIENCE, Gate

pytestmark = pytest.mark.anyio


class Parent(motet.Service):
    """Has processes of its own."""

    def __init__(self, begun: Gate) -> None:
        self.begun = begun

    @motet.endpoint
    def children(self) -> list[int]:
        """Fork one process, which inherits the sockets, and start another."""
        forked = os.fork()
        if forked == 0:
            signal.pause()
            os._exit(0)
        return [forked, subprocess.Popen(["sleep", "600"]).pid]

    @motet.endpoint
    async def wait(self) -> int:
        self.begun.reached()
        await asyncio.Event().wait()
        return 1


class Blocking(motet.Service):
    """Has an endpoint that keeps the event loop of its replica from running."""

    def __init__(self, begun: Gate, go: Gate) -> None:
        self.begun = begun
        self.go = go

    @motet.endpoint
    async def block(self) -> int:
        self.begun.reached()
        self.go.wait_sync()
        return os.getpid()

    @motet.endpoint
    async def pid(self) -> int:
        return os.getpid()


async def test_calls_go_around_a_replica_whose_loop_is_blocked():
    """While user code blocks the event loop of one replica, all other calls are answered by the other."""
    with Gate("begun") as begun, Gate("go") as go:
        async with motet.run(Blocking.bind(begun, go).options(replicas=2)) as service:
            blocked = service.block()
            await begun.until_reached()
            answers = {await service.options(timeout=PATIENCE).pid() for _ in range(20)}
            go.open()
            assert len(answers) == 1
            assert await blocked not in answers


async def pids():
    return [replica.pid for server in await motet.status() for node in server.apps[0].nodes for replica in node.replicas]


async def test_death_of_a_replica_that_has_children(gate):
    """Callers hear of a replica's death at once, even if processes that it forked live on; those are ended, too."""
    async with motet.run(Parent.bind(gate)) as parent:
        children = await parent.children()
        call = parent.options(timeout=PATIENCE).wait()
        await gate.until_reached()
        os.kill((await pids())[0], signal.SIGKILL)
        with pytest.raises(motet.ReplicaDied):
            await call
        await asyncio.gather(*[asyncio.wait_for(until_end(child), PATIENCE) for child in children])


async def test_children_of_a_replica_end_with_it(gate):
    """Stopping an app leaves no process, not even one that a service has started."""
    async with motet.run(Parent.bind(gate)) as parent:
        children = await parent.children()
    await asyncio.gather(*[asyncio.wait_for(until_end(child), PATIENCE) for child in children])


OWNER = """
import os, signal, sys
import motet
from motet import linux
from motet.engines.local import processes
from test_replicas import Parent
from motet.testing import Gate

with Gate() as gate, motet.run(Parent.bind(gate)) as parent:
    supervisor = motet.status().result()[0].pid
    child = os.fork()
    if child == 0:
        signal.pause()
    print(supervisor, child, flush=True)
    signal.pause()
"""


async def test_death_of_the_owner_that_has_children():
    """All that `motet.run` started ends with its program, even if processes that it forked live on."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONWARNINGS": "ignore"}
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", OWNER, stdout=subprocess.PIPE, env=environment)
    supervisor, child = map(int, (await owner.stdout.readline()).split())
    try:
        owner.kill()
        await asyncio.wait_for(until_end(supervisor), PATIENCE)
    finally:
        os.kill(child, signal.SIGKILL)
        await owner.communicate()


async def test_zygote_that_died_is_started_once(tmp_path):
    """Several replicas that are wanted at once have one new zygote between them."""
    zygote = Zygote(tmp_path, Stem())
    await zygote.start()
    try:
        await zygote.load(recipe_of_this_process())
        dead, first = zygote._connection, zygote.pid
        os.kill(zygote.pid, signal.SIGKILL)
        revived = [await made for made in asyncio.as_completed([revive(zygote, dead) for _ in range(3)])]
        assert len(set(revived)) == 1
        assert revived[0] != first
    finally:
        await zygote.close()


@pytest.fixture
def reaper():
    """Be the parent of what is forked twice, as a supervisor is."""
    linux._prctl(linux._PR_SET_CHILD_SUBREAPER, 1)
    yield
    linux._prctl(linux._PR_SET_CHILD_SUBREAPER, 0)


@pytest.fixture
async def stem(reaper):
    made = Stem()
    made.start()
    yield made
    await made.close()


async def test_start_of_a_zygote_that_is_cancelled(stem, tmp_path):
    """The process that was forked for it isn't taken for that of the next one, and can be ended."""
    first, second = Zygote(tmp_path, stem), Zygote(tmp_path, stem)
    async with asyncio.timeout(PATIENCE):
        os.kill(stem._pid, signal.SIGSTOP)
        starting = asyncio.create_task(first.start())
        for _ in range(10):  # until the stem is asked
            await asyncio.sleep(0)
        starting.cancel()
        os.kill(stem._pid, signal.SIGCONT)
        await asyncio.wait([starting])
        assert starting.cancelled()
        await second.start()
        try:
            await first.kill()
            await second.load(recipe_of_this_process())
            os.kill(second.pid, signal.SIGKILL)
            assert await second._connection.receive() is None
        finally:
            await second.kill()


async def test_stem_that_does_not_answer(stem, tmp_path, monkeypatch):
    """It is given up, and processes are started instead."""
    monkeypatch.setattr(processes, "END_WAIT", 0.1)
    os.kill(stem._pid, signal.SIGSTOP)
    zygote = Zygote(tmp_path, stem)
    await zygote.start()
    try:
        await zygote.load(recipe_of_this_process())
    finally:
        await zygote.kill()


async def test_the_stem_does_not_hear_the_values_of_variables(stem, tmp_path):
    """What it had heard would be in the memory of every zygote that is forked from it later."""
    zygote = Zygote(tmp_path, stem, Home(variables={"MOTET_TEST_SAID": "to the zygote alone"}))
    await zygote.start()
    try:
        await zygote.load(recipe_of_this_process())
        assert b"to the zygote alone" in memory_of(zygote.pid)
        assert b"to the zygote alone" not in memory_of(stem._pid)
    finally:
        await zygote.kill()


def memory_of(pid):
    """Return what a process has written to, as a debugger sees it."""
    found = bytearray()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            bounds, rights, *rest = line.split()
            if rights.startswith("rw") and not rest[-1].startswith("[v"):
                begin, end = (int(bound, 16) for bound in bounds.split("-"))
                memory.seek(begin)
                found += memory.read(end - begin)
    return bytes(found)


async def revive(zygote, dead):
    assert await zygote._revive(dead)
    return zygote.pid


class Curious(motet.Service):
    """Looks at its own process."""

    config = motet.Config(replicas=4)

    @motet.endpoint
    def sockets(self) -> int:
        ends = [str(end.readlink()) for end in Path("/proc/self/fd").iterdir() if end.is_symlink()]
        return len([end for end in ends if end.startswith("socket")])

    @motet.endpoint
    def variable(self, name: str) -> str | None:
        return os.environ.get(name)


async def test_connections_are_made_once(gate):
    """A replica that calls nobody has no other connections than to its supervisor and from its callers."""
    async with motet.run(Curious.bind()) as few:
        before = await few.sockets()
        async with motet.run(Parent.bind(gate), name="other"):
            assert await few.sockets() == before


async def test_key_of_the_gateway_is_not_told_to_services(monkeypatch):
    """The environment of replicas is that of the program, without the key that lets clients in."""
    monkeypatch.setenv("MOTET_API_KEY", "secret")
    monkeypatch.setenv("OTHER", "known")
    async with motet.run(Curious.bind()) as curious:
        assert await curious.variable("OTHER") == "known"
        assert await curious.variable("MOTET_API_KEY") is None


class Sick(motet.Service):
    """Says that it is unavailable, as a service that lost its backend might."""

    config = motet.Config(replicas=2)

    def __init__(self, begun: Gate) -> None:
        self.begun = begun

    @motet.endpoint
    def ask(self) -> int:
        self.begun.reached()
        message = "the backend is gone"
        raise motet.Unavailable(message)

    @motet.endpoint
    async def ask_async(self) -> int:
        self.begun.reached()
        message = "stopping for today"
        raise motet.ShuttingDown(message)


@pytest.fixture
def gate():
    with Gate() as gate:
        yield gate


async def test_own_error_of_an_endpoint_is_not_retried(gate):
    """An endpoint that raises what a stopping replica answers with has run, and isn't run again elsewhere."""
    async with motet.run(Sick.bind(gate)) as sick:
        with pytest.raises(motet.Unavailable, match="backend"):
            await sick.ask()
        with pytest.raises(motet.ShuttingDown, match="today"):
            await sick.ask_async()
    assert gate.count() == 2
