"""Shared memory between the processes of a server: who sees which bytes, and what is left when processes die."""

import asyncio
import contextlib
import gc
import itertools
import os
import re
import signal
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from wire_client import until

import motet
from motet.testing import PATIENCE
from motet.wire import memory, segments

MB = 1_000_000
N = 150_000  # numbers of 8 bytes of each array


class Source(motet.Service):
    """Makes arrays."""

    @motet.endpoint
    async def make(self, n: int, value: float) -> np.ndarray:
        return np.full(n, value)

    @motet.endpoint
    async def in_place(self, n: int, value: float) -> np.ndarray:
        array = motet.empty(n)
        array[:] = value
        return array

    @motet.endpoint
    async def used(self) -> int:
        return used()


class Holder(motet.Service):
    """Holds on to some of what it gets."""

    def __init__(self) -> None:
        self.kept: list[np.ndarray] = []

    @motet.endpoint
    async def keep(self, array: np.ndarray) -> float:
        self.kept = [*self.kept[-3:], array[7:-7]]
        await asyncio.sleep(0)
        assert all(kept.min() == kept.max() for kept in self.kept)
        return float(array.mean())

    @motet.endpoint
    async def twice(self, array: np.ndarray) -> np.ndarray:
        return array * 2

    @motet.endpoint
    async def drop(self) -> None:
        self.kept.clear()

    @motet.endpoint
    async def used(self) -> int:
        return used()


class Passer(motet.Service):
    """Passes arrays on, by reference and by value."""

    def __init__(self, source: Source, holder: Holder) -> None:
        self.source = source
        self.holder = holder

    @motet.endpoint
    async def pass_on(self, value: int) -> float:
        make = self.source.make if value % 2 else self.source.in_place
        made = make(N, float(value))
        if value % 3 == 0:
            return await self.holder.keep(await made)
        doubled = self.holder.twice(made.ref)
        first, second = await asyncio.gather(self.holder.keep(made.ref), self.holder.keep(doubled.ref))
        return second - first

    @motet.endpoint
    async def forward(self, bytes_: int) -> float:
        return await self.holder.keep(self.source.make(bytes_ // 8, 3.0).ref)

    @motet.endpoint
    async def looked_into(self) -> list[bool]:
        """Tell of each segment that this process knows whether it has mapped it."""
        return [segment.mapped for segment in segments.segments()]

    @motet.endpoint
    async def drop(self) -> None:
        await self.holder.drop()

    @motet.endpoint
    async def used(self) -> list[int]:
        return [used(), await self.source.used(), await self.holder.used()]


def used():
    """Return the bytes of blocks that this process holds of its own."""
    pool = memory.pool()
    return 0 if pool is None else pool.usage.bytes - pool.usage.free


async def replicas():
    """Return the process ids of the replicas, by node."""
    status = [server for server in await motet.status() if server.engine == "local"]
    return {node.name: node.replicas[0].pid for node in status[0].apps[0].nodes if node.replicas}


def moved(pid):
    """Return how many bytes a process has read and written by system calls, on sockets, too."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(fields["rchar"]) + int(fields["wchar"])


@pytest.mark.parametrize("budget", ["10GB", "0", "1MB"])
def test_bytes_through_each_process(budget):
    """Forwarding moves no bytes through the caller, nor any through sockets; without a budget it does, which shows that we count."""
    size = 100 * MB

    async def go():
        environment = motet.Environment(env={memory.BUDGET: budget})
        nodes = [cls.bind().options(environment=environment) for cls in (Source, Holder)]
        async with motet.run(Passer.bind(*nodes).options(environment=environment)) as passer:
            assert await passer.forward(8000) == 3
            pids = await replicas()
            before = {name: moved(pid) for name, pid in pids.items()}
            assert await passer.forward(size) == 3
            return {name: moved(pid) - before[name] for name, pid in pids.items()}, await passer.looked_into()

    delta, looked_into = asyncio.run(go())
    assert set(delta) == {"Source", "Holder", "Passer"}
    if budget == "10GB":
        assert all(count < MB for count in delta.values()), delta
        assert looked_into == [False]
    else:
        assert delta["Source"] >= size
        assert delta["Passer"] >= 2 * size
        assert delta["Holder"] >= size
        assert looked_into == []


def segments_of(pid):
    """Return the memory files that a process has open, as (device and inode, process that made it, bytes)."""
    found = set()
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if made := re.match(r"/memfd:motet-(\d+)", str(descriptor.readlink())):
                    status = descriptor.stat()
                    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
                    found.add((f"{device}:{status.st_ino}", int(made[1]), status.st_blocks * 512))
    return found


def locked():
    """Return device and inode of all files that anybody has POSIX locks on."""
    return {line.split()[5] for line in Path("/proc/locks").read_text().splitlines() if " POSIX " in line}


def reclaimed(pids):
    """Whether nobody holds anything of the dead, nor any block of the living."""
    gc.collect()
    open_ = set().union(*(segments_of(pid) for pid in pids))
    return {maker for _, maker, _ in open_} <= set(pids) and not locked() & {inode for inode, _, _ in open_}


@settings(max_examples=8, deadline=None)
@given(
    victims=st.lists(st.sampled_from(["Source", "Holder", "Passer"]), min_size=1, max_size=2, unique=True),
    after=st.integers(0, 12),
    turns=st.integers(0, 20),
)
def test_what_dies_leaves_nothing(victims, after, turns):
    """Wherever processes are killed, answers are right or errors, and all memory, descriptors and locks of theirs are free again."""

    async def go():
        async with motet.run(Passer.bind(Source.bind(), Holder.bind())) as passer:
            pids = await replicas()
            calls = [passer.pass_on(value) for value in range(24)]
            for ended in itertools.islice(asyncio.as_completed(calls), after):
                await ended
            for _ in range(turns):
                await asyncio.sleep(0)
            for victim in victims:
                os.kill(pids[victim], signal.SIGKILL)
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            for value, outcome in enumerate(outcomes):
                assert isinstance(outcome, motet.ReplicaDied | motet.Unavailable) or outcome == value, outcome
            assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) >= after
            async with asyncio.timeout(PATIENCE):
                while await asyncio.gather(passer.pass_on(1), return_exceptions=True) != [1]:
                    pass  # until all three are there again
            await passer.drop()
            living = {os.getpid(), *(await replicas()).values()}
            assert not living & {pids[victim] for victim in victims}
            await until(lambda: reclaimed(living))
            assert await passer.used() == [0, 0, 0]
            assert used() == 0
            size = sum(size for _, _, size in set().union(*(segments_of(pid) for pid in living)))
            assert size < 200 * 8 * N

    asyncio.run(go())
    assert reclaimed({os.getpid()})
