"""Locks between processes: one at a time or shared, given back by the dead, and looked at without being taken."""

import asyncio
import shutil
import subprocess
import sys
import threading

import pytest

from motet import locks
from motet.testing import PATIENCE

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "lock"


def test_one_at_a_time(path):
    with locks.take(path):
        assert locks.is_held(path)
        assert locks.take(path) is None
        assert locks.share(path) is None
    assert not locks.is_held(path)
    locks.take(path).close()


def test_shared(path):
    locks.take(path).close()
    with locks.share(path):
        with locks.share(path):
            assert locks.take(path) is None
        assert locks.is_held(path)
    assert not locks.is_held(path)


def test_no_file(path):
    assert not locks.is_held(path)
    assert locks.share(path) is None
    assert locks.take(path, create=False) is None
    assert not path.parent.exists()


def test_no_way_through_links(path, tmp_path):
    """What lies where a lock should be isn't followed to another file, which would be written to."""
    path.parent.mkdir()
    (tmp_path / "other").write_text("important")
    path.symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"):
        locks.take(path)


HOLDER = """
import pathlib, sys
from motet import locks

lock = locks.take(pathlib.Path(sys.argv[1]))
print(flush=True)
input()
"""


def test_the_dead_hold_nothing(path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert locks.take(path) is None
        process.kill()
    assert not locks.is_held(path)
    locks.take(path).close()


def test_looking_disturbs_nobody(path):
    """Others who only look never make a lock seem to be held."""
    locks.take(path).close()
    done = threading.Event()

    def look():
        while not done.is_set():
            locks.is_held(path)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(2000):
            assert not locks.is_held(path)
            locks.take(path).close()
    finally:
        done.set()
        for looker in lookers:
            looker.join()


async def test_waiting(path):
    """Who waits hears who has it, and gets it once that one lets go."""
    told = asyncio.Queue()

    async def wait():
        async with locks.holding(path, waiting=told.put_nowait):
            return path.read_text()

    with locks.take(path) as lock:
        waiting = asyncio.create_task(wait())
        async with asyncio.timeout(PATIENCE):
            assert await told.get() == "another process"
            lock.sign()
            while (name := await told.get()) == "another process":
                pass
    async with asyncio.timeout(PATIENCE):
        assert f"process {await waiting}" == name


async def test_removed_while_somebody_waits(path):
    """A lock that went with its folder is worth nothing; whoever waited for it takes the new one."""
    told = asyncio.Event()

    async def wait():
        async with locks.holding(path, waiting=lambda _: told.set()):
            return path.exists()

    with locks.take(path):
        waiting = asyncio.create_task(wait())
        async with asyncio.timeout(PATIENCE):
            await told.wait()
        shutil.rmtree(path.parent)
        async with asyncio.timeout(PATIENCE):
            assert await waiting
