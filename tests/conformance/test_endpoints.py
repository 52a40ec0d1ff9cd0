"""Every kind of endpoint answers, and calls start at once."""

import pytest

import motet
from services import Kinds, Point

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def kinds(start_shared):
    return await start_shared(Kinds.bind())


async def test_sync_endpoint_answers(kinds):
    """A plain function answers a call."""
    assert await kinds.plain(1) == 2


async def test_async_endpoint_answers(kinds):
    """A coroutine function answers a call."""
    assert await kinds.asynchronous(1) == 2


async def test_defaults_hold_across_the_call(kinds):
    """Parameters that a caller leaves out have their defaults, keyword-only ones too."""
    assert await kinds.plain(1, by=5) == 6
    assert await kinds.move(Point(x=1)) == Point(x=2, y=1)


async def test_none_is_an_answer(kinds):
    """An endpoint may return nothing."""
    assert await kinds.nothing() is None


async def test_generator_streams(kinds):
    """A generator's items arrive in order."""
    assert [x async for x in kinds.generate(5)] == [0, 1, 2, 3, 4]


async def test_async_generator_streams(kinds):
    """An async generator's items arrive in order."""
    assert [x async for x in kinds.generate_async(5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["generate", "generate_async"])
async def test_empty_stream_ends(kinds, name):
    """A generator that yields nothing gives an empty stream."""
    assert [x async for x in getattr(kinds, name)(0)] == []


@pytest.mark.parametrize("name", ["generate", "generate_async"])
async def test_long_stream_is_complete(kinds, name):
    """A stream of more items than any window holds arrives whole and in order."""
    assert [x async for x in getattr(kinds, name)(1000)] == list(range(1000))


async def test_batched_endpoints_take_single_items(kinds):
    """Callers of a batched endpoint give one item and get one result."""
    assert await kinds.double(3) == 6
    assert await kinds.double_async(3) == 6


async def test_calls_are_calls_and_streams_are_streams(kinds):
    """An endpoint returns a Call at once, a generator a Stream."""
    call, stream = kinds.plain(1), kinds.generate(1)
    assert isinstance(call, motet.Call)
    assert isinstance(stream, motet.Stream)
    assert await call == 2
    assert [x async for x in stream] == [0]


async def test_unknown_endpoint_names_those_there_are(kinds):
    """Asking a handle for what its service hasn't says what it has."""
    with pytest.raises(AttributeError, match=r"Kinds has no endpoint 'plian'.*plain"):
        kinds.plian(1)


async def test_no_call_endpoint(kinds):
    """Calling the handle of a service without `__call__` says so."""
    with pytest.raises(motet.UsageError, match="__call__"):
        kinds(1)
