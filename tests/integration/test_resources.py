"""Declared resources: reserved, refused where there is no room, and given to the replicas. Real processes see what they were given."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import motet
from motet.testing import PATIENCE

pytestmark = pytest.mark.anyio

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Looker(motet.Service):
    """Tells what it sees of the machine."""

    def __init__(self, name: str = "", context: motet.Context = motet.injected) -> None:
        self.context = context
        self.in_constructor = os.environ.get("CUDA_VISIBLE_DEVICES")

    @motet.endpoint
    def see(self) -> dict[str, Any]:
        return {
            "cards": self.in_constructor,
            "gpus": list(self.context.gpus),
            "device": self.context.device,
            "cores": sorted(os.sched_getaffinity(0)),
            "threads": {os.environ.get(name) for name in THREADS},
            "pid": os.getpid(),
        }


def looker(**resources):
    return Looker.bind(str(resources)).options(resources=motet.Resources(**resources))


class Two(motet.Service):
    """Depends on two lookers."""

    def __init__(self, first: Looker, second: Looker) -> None:
        self.first, self.second = first, second

    @motet.endpoint
    async def see(self) -> list[dict[str, Any]]:
        return [await self.first.see(), await self.second.see()]


async def reserved():
    (server,) = await motet.status()
    return {status.name: (status.reserved, status.total) for status in server.resources}


async def placements():
    (server,) = await motet.status()
    return {replica.identity: replica.placement for app in server.apps for node in app.nodes for replica in node.replicas}


@pytest.fixture
def cards(monkeypatch):
    """Cards, as the variable names them; nothing here uses them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-8f2")


async def test_cards_are_given_out(cards):
    """A whole one each, and its replica sees no other; another server's worth of resources isn't touched."""
    async with motet.run(looker(gpus=1).options(replicas=2)) as replicas:
        given = {replica: placed.cards for replica, placed in (await placements()).items()}
        assert sorted(given.values()) == [("3",), ("GPU-8f2",)]
        seen = await replicas.see()
        assert (seen["cards"],) in given.values()
        assert (seen["gpus"], seen["device"]) == ([seen["cards"]], "cuda")
        assert (await reserved())["gpus"] == (2, 2)


async def test_fractions_share_a_card(cards):
    async with motet.run(Two.bind(looker(gpus=0.5), looker(gpus=0.25))) as two:
        first, second = await two.see()
    assert first["cards"] == second["cards"] == "3"


@pytest.mark.parametrize(("resources", "seen"), [({}, "3,GPU-8f2"), ({"cpus": 1}, "3,GPU-8f2"), ({"gpus": 0}, "")])
async def test_what_is_not_declared_is_not_touched(cards, resources, seen):
    """A service that says nothing of GPUs sees what the server sees; one that says it needs none sees none."""
    async with motet.run(looker(**resources)) as replica:
        found = await replica.see()
    assert (found["cards"], found["device"]) == (seen, "cuda" if seen else "cpu")


async def test_a_logical_gpu(monkeypatch):
    """Where there is no card, an operator may say that there is one; a service then runs on the CPU, and shares it as it would a card."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    async with motet.run(Two.bind(looker(gpus=0.5), looker(gpus=0.5, cpus=0)), resources={"gpus": 1}) as two:
        first, second = await two.see()
        assert (await reserved())["gpus"] == (1, 1)
        assert {placed.cards for placed in (await placements()).values()} == {("logical0",), ()}
    assert (first["cards"], first["device"], second["cards"], second["gpus"]) == ("", "cpu", "", [])


async def test_no_room_is_refused_before_anything_starts(monkeypatch):
    """With the exact shortfall; what runs, runs on, and room that is given back is there for the next."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    async with motet.run(looker(gpus=0.5, cpus=0.25), name="first", resources={"gpus": 1, "accelerator": 2, "cpus": 1}) as first:
        before = await reserved()
        hungry = Two.bind(looker(custom={"accelerator": 1}), looker(gpus=1).options(replicas=2, name="Hungry"))
        with pytest.raises(motet.StartError) as caught:
            await motet.run(hungry, name="second")
        assert caught.value.message.splitlines() == [
            "there is no room for Hungry:",
            (
                "  Hungry asks for gpus=1 for each of 2 replicas, 2 in all; "
                "the machine has 1, of which 0.5 of card logical0 is free (Looker holds 0.5)"
            ),
        ]
        assert caught.value.where.startswith(__file__)
        assert "--resources gpus=3" in caught.value.instead
        (server,) = await motet.status()
        assert [app.name for app in server.apps] == ["first"]
        assert await reserved() == before
        async with motet.run(looker(gpus=0.5, custom={"accelerator": 1.5}), name="second"):
            assert (await reserved())["accelerator"] == (1.5, 2)
        assert await reserved() == before
        assert (await first.see())["device"] == "cpu"


async def test_wrong_amounts():
    for resources, text in [({"gpus": 0.5}, "whole"), ({"memory": "much"}, "512MiB"), ({"a b": 1}, "name"), ({"cpus": "x"}, "cpus=2")]:
        with pytest.raises(motet.UsageError, match=text):
            motet.run(Looker.bind(), resources=resources)


async def test_one_machine_for_all_apps():
    async with motet.run(Looker.bind(), name="first", resources={"gpus": 1}):
        with pytest.raises(motet.UsageError, match="first of them decides"):
            await motet.run(Looker.bind("b"), name="second", resources={"gpus": 2})


async def test_more_cards_than_there_are(cards):
    with pytest.raises(motet.UsageError, match="fewer cards") as caught:
        await motet.run(Looker.bind(), resources={"gpus": 3})
    assert "CUDA_VISIBLE_DEVICES" in caught.value.instead


async def test_cores_of_ones_own():
    """Each replica is kept on other cores."""
    cores = sorted(os.sched_getaffinity(0))
    alone, beside = looker(affinity=True).options(replicas=len(cores)), looker(affinity=True, gpus=0)
    async with motet.run(alone, name="alone") as one:
        assert sorted(placed.cores for placed in (await placements()).values()) == [(core,) for core in cores]
        assert len((await one.see())["cores"]) == 1
        with pytest.raises(motet.StartError, match="Looker holds"):
            await motet.run(beside, name="beside")


async def test_a_dead_replicas_successor_gets_what_it_had(cards):
    async with asyncio.timeout(PATIENCE), motet.run(looker(gpus=1).options(replicas=2, idempotent=True)) as replicas:
        before = await reserved(), sorted(placed.cards for placed in (await placements()).values())
        dead = (await replicas.see())["pid"]
        os.kill(dead, signal.SIGKILL)
        while True:
            (server,) = await motet.status()
            found = server.apps[0].nodes[0].replicas
            if [replica.state for replica in found] == ["ready", "ready"] and dead not in [replica.pid for replica in found]:
                break
        assert (await reserved(), sorted(replica.placement.cards for replica in found)) == before


class Broken(motet.Service):
    def __init__(self) -> None:
        raise RuntimeError("no luck")

    @motet.endpoint
    def never(self) -> None: ...


async def test_what_could_not_be_started_holds_nothing(cards):
    async with motet.run(looker(gpus=1), name="first"):
        before = await reserved()
        with pytest.raises(motet.StartError, match="no luck"):
            await motet.run(Broken.bind().options(resources=motet.Resources(gpus=1, memory="1GiB")), name="second")
        assert await reserved() == before


class Numeric(motet.Service):
    """Has torch and numpy loaded where it is defined, as services have."""

    config = motet.Config(resources=motet.Resources(cpus=2), concurrency=2)

    @classmethod
    def preload(cls) -> None:
        import numpy as np  # noqa: PLC0415  # in the process that replicas are forked from
        import torch  # noqa: PLC0415  # the same

        torch.ones(300, 300) @ torch.ones(300, 300)
        np.ones((300, 300)) @ np.ones((300, 300))

    @motet.endpoint
    def threads(self) -> dict[str, int]:
        return self._threads()

    def _threads(self) -> dict[str, int]:
        import numpy as np  # noqa: PLC0415  # loaded
        import torch  # noqa: PLC0415  # loaded
        from threadpoolctl import threadpool_info  # noqa: PLC0415  # in this thread

        found = {each["internal_api"]: each["num_threads"] for each in threadpool_info()}  # before torch sets this thread
        torch.ones(300, 300) @ torch.ones(300, 300)
        np.ones((300, 300)) @ np.ones((300, 300))
        return {"torch": torch.get_num_threads(), **found}

    @motet.endpoint
    async def in_a_task(self) -> int:
        return await asyncio.to_thread(lambda: self._threads()["openmp"])


@pytest.mark.parametrize(("cpus", "threads"), [(2, 2), (2.9, 2), (0.5, 1), (0, 1)])
async def test_threads_of_libraries_that_were_loaded_before_the_fork(cpus, threads):
    """Every pool has as many as the service has cores, in every thread that runs endpoints."""
    node = Numeric.bind().options(resources=motet.Resources(cpus=cpus))
    async with motet.run(node, resources={"cpus": 4}) as numeric:
        for found in await asyncio.gather(*(numeric.threads() for _ in range(4))):
            assert found == {"torch": threads, "openblas": threads, "openmp": threads}
        assert await numeric.in_a_task() == threads


async def test_threads_of_libraries_that_are_loaded_later():
    async with motet.run(looker(cpus=2), resources={"cpus": 2}) as replica:
        assert (await replica.see())["threads"] == {"2"}
    async with motet.run(Looker.bind()) as replica:
        assert (await replica.see())["threads"] == {"1"}


class Forked(motet.Service):
    """Tells what its parent, before the fork, and itself have in the environment."""

    config = motet.Config(environment=motet.Environment(env={"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "3"}), concurrency=2)
    before: dict[str, str | None]

    @classmethod
    def preload(cls) -> None:
        import torch  # noqa: PLC0415  # in the process that replicas are forked from

        torch.ones(300, 300) @ torch.ones(300, 300)
        cls.before = {name: os.environ.get(name) for name in THREADS}

    @motet.endpoint
    def look(self) -> dict[str, Any]:
        import torch  # noqa: PLC0415  # loaded
        from threadpoolctl import threadpool_info  # noqa: PLC0415  # in this thread

        found = {each["internal_api"]: each["num_threads"] for each in threadpool_info()}
        torch.ones(300, 300) @ torch.ones(300, 300)  # hangs where the parent of this process ran several threads
        now = {name: os.environ.get(name) for name in THREADS}
        return {"before": self.before, "now": now, "torch": torch.get_num_threads(), "libraries": found}


async def test_declared_threads_are_those_of_replicas_and_not_of_what_they_are_forked_from():
    """A process that ran several threads can't be forked; so what a service declares takes effect in its replicas."""
    async with asyncio.timeout(PATIENCE), motet.run(Forked.bind()) as forked:
        seen = await forked.look()
    assert seen["before"] == dict.fromkeys(THREADS, "1")
    assert seen["now"] == {"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "3", "MKL_NUM_THREADS": "1"}
    assert seen["torch"] == 4
    assert {name: seen["libraries"][name] for name in ("openmp", "openblas")} == {"openmp": 4, "openblas": 3}


class Hungry(motet.Service):
    """Takes memory on request, itself or in a process that it starts."""

    config = motet.Config(resources=motet.Resources(memory="200MiB"))

    def __init__(self, megabytes: int = 0) -> None:
        self.kept = [bytearray(os.urandom(2**20)) for _ in range(megabytes)]

    @motet.endpoint
    def take(self, megabytes: int) -> int:
        self.kept += [bytearray(os.urandom(2**20)) for _ in range(megabytes)]
        return len(self.kept)

    @motet.endpoint
    def take_in_a_child(self, megabytes: int) -> str:
        code = f"import os, sys; kept = os.urandom({megabytes} << 20); sys.stdin.read()"
        done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.PIPE, check=False)  # its input never ends
        return str(done.returncode)

    @motet.endpoint
    def pid(self) -> int:
        return os.getpid()


def said(text):
    """Return what a replica is said to have used, as a message says it, in MiB."""
    return float(re.search(r"Hungry#\d+ was ended: it used ([\d.]+) MiB, its limit is 200 MiB \(memory in its Resources\)", text).group(1))


@pytest.mark.parametrize("way", ["take", "take_in_a_child"])
async def test_a_replica_over_its_memory_is_ended(way):
    """Its caller hears why, `status` says it, and another one takes its place."""
    async with asyncio.timeout(PATIENCE), motet.run(Hungry.bind()) as hungry:
        before = await hungry.pid()
        with pytest.raises(motet.ReplicaDied) as caught:
            await (hungry.take(2000) if way == "take" else hungry.take_in_a_child(400))
        assert said(caught.value.message) > 200
        assert await hungry.pid() != before
        (server,) = await motet.status()
        (node,) = server.apps[0].nodes
        assert said(node.last_death) > 200
        assert node.replicas[0].restarts == 1
        assert await hungry.take(1) == 1


def resident(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_memory_that_is_shared_is_not_counted_twice():
    """What was loaded before the fork is shared by those that were forked: no replica is charged with all of it."""
    async with asyncio.timeout(PATIENCE), motet.run(Sharing.bind()) as sharing:
        pids = {await sharing.pid() for _ in range(40)}
        assert min(map(resident, pids)) > 200 << 20
        while True:
            (server,) = await motet.status()
            (node,) = server.apps[0].nodes
            if all(replica.memory is not None for replica in node.replicas):
                break
        assert (node.last_death, {replica.restarts for replica in node.replicas}) == (None, {0})
        assert max(replica.memory for replica in node.replicas) < 200 << 20


class Sharing(motet.Service):
    config = motet.Config(resources=motet.Resources(memory="200MiB"), replicas=3)
    loaded = b""

    @classmethod
    def preload(cls) -> None:
        cls.loaded = os.urandom(250 << 20)

    @motet.endpoint
    def pid(self) -> int:
        return os.getpid()


async def test_too_little_memory_to_start():
    """A service whose constructor takes more than its limit can't be deployed, and the message says why."""
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(motet.StartError, match=r"was ended while starting: it used .* its limit is 200 MiB"):
            await motet.run(Hungry.bind(2000))
