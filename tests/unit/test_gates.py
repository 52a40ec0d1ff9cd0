"""Gates hold and count across processes."""

import asyncio
import pickle
import sys

import pytest

from motet.testing import Gate, GateTimeout

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def gate():
    with Gate("door") as gate:
        yield gate


async def test_holds_until_it_is_opened(gate):
    """Whoever waits goes on once the gate is open, and later comers aren't held."""
    copy = pickle.loads(pickle.dumps(gate))
    waiting = asyncio.ensure_future(copy.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.open()
    await waiting
    await copy.wait()
    copy.wait_sync()


async def test_counts(gate):
    """Each reaching counts, from the first on."""
    copy = pickle.loads(pickle.dumps(gate))
    copy.reached()
    copy.reached()
    await gate.until_reached(2)
    copy.reached()
    gate.until_reached_sync(3)
    assert gate.count() == 3


async def test_another_process(gate):
    """It works between processes."""
    code = "import pickle, sys; gate = pickle.load(sys.stdin.buffer); gate.reached(); gate.wait_sync(); gate.reached()"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE)
    process.stdin.write(pickle.dumps(gate))
    process.stdin.close()
    await gate.until_reached()
    assert process.returncode is None
    gate.open()
    await gate.until_reached(2)
    assert await process.wait() == 0


async def test_fails_clearly(gate):
    """A gate that nobody opens or reaches fails in words."""
    copy = pickle.loads(pickle.dumps(gate))
    with pytest.raises(GateTimeout, match="nobody opened door"):
        copy.wait_sync(timeout=0.01)
    with pytest.raises(GateTimeout, match="nobody opened door"):
        await copy.wait(timeout=0.01)
    gate.reached()
    with pytest.raises(GateTimeout, match="reached 1 times, not 2"):
        await gate.until_reached(2, timeout=0.01)
    with pytest.raises(GateTimeout, match="where it was made"):
        copy.open()


async def test_closing_lets_everybody_through(gate):
    """Closing a gate holds nobody, neither who waits nor who comes."""
    copy = pickle.loads(pickle.dumps(gate))
    waiting = asyncio.ensure_future(copy.wait())
    await asyncio.sleep(0)
    gate.close()
    await waiting
    await copy.wait()
    copy.reached()
