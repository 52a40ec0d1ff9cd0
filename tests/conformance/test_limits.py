"""Concurrency, queues, and what happens beyond them."""

import asyncio

import pytest
from flow import Slots

import motet

pytestmark = pytest.mark.anyio


@pytest.fixture
async def slots(start, gate):
    """Start the service with some options, and return it with its gates."""
    begun, go = gate("begun"), gate("go")

    async def make(**options):
        return await start(Slots.bind(begun, go).options(**options)), begun, go

    return make


async def settled(service, begun):
    """Return how many calls began, once the service has had every chance to begin more."""
    for _ in range(5):
        await service.ping()
    return begun.count()


async def test_sync_endpoints_run_one_at_a_time(slots):
    """By default sync endpoints share one thread."""
    service, begun, go = await slots()
    calls = [service.sync(x) for x in range(5)]
    await begun.until_reached()
    assert await settled(service, begun) == 1
    go.open()
    assert await asyncio.gather(*calls) == list(range(5))


async def test_async_endpoints_run_at_once(slots):
    """By default a hundred async calls run at once, and no more."""
    service, begun, go = await slots()
    calls = [service.asynchronous(x) for x in range(110)]
    await begun.until_reached(100)
    go.open()
    assert await asyncio.gather(*calls) == list(range(110))


async def test_hundred_is_the_default_limit(slots):
    """The hundred and first async call waits: it never begins if it is cancelled before a slot is free."""
    service, begun, go = await slots()
    calls = [service.asynchronous(x) for x in range(101)]
    await begun.until_reached(100)
    calls[100].cancel()
    await service.ping_sync()  # the call and its cancelling have arrived
    go.open()
    await asyncio.gather(*calls[:100])
    assert begun.count() == 100


async def test_concurrency_of_sync_endpoints(slots):
    """`concurrency` is the number of threads."""
    service, begun, go = await slots(concurrency=3)
    calls = [service.sync(x) for x in range(6)]
    await begun.until_reached(3)
    assert await settled(service, begun) == 3
    go.open()
    assert await asyncio.gather(*calls) == list(range(6))


async def test_streams_take_slots(slots):
    """A sync generator occupies a thread as a function does."""
    service, begun, go = await slots()
    stream, call = service.stream(1), service.sync(2)
    await begun.until_reached()
    assert await settled(service, begun) == 1
    go.open()
    assert [item async for item in stream] == [1]
    assert await call == 2


async def test_beyond_the_queue_callers_get_overloaded(slots):
    """The queue is bounded: what comes beyond is refused at once, and what waits is answered."""
    service, begun, go = await slots(queue=2)
    first = service.sync(0)
    await begun.until_reached()
    waiting = [service.sync(x) for x in (1, 2)]
    with pytest.raises(motet.Overloaded) as caught:
        await service.sync(3)
    assert caught.value.retry_after > 0
    assert "Slots" in caught.value.where
    go.open()
    assert await asyncio.gather(first, *waiting) == [0, 1, 2]
    assert await service.sync(4) == 4


async def test_no_queue_at_all(slots):
    """With a queue of 0 only what can run at once is taken."""
    service, begun, go = await slots(queue=0)
    first = service.sync(0)
    await begun.until_reached()
    with pytest.raises(motet.Overloaded):
        await service.sync(1)
    go.open()
    assert await first == 0
    assert await service.sync(2) == 2


async def test_cancelled_calls_leave_the_queue(slots):
    """A cancelled call makes room in the queue."""
    service, begun, go = await slots(queue=1)
    first = service.sync(0)
    await begun.until_reached()
    dropped = service.sync(1)
    dropped.cancel()
    kept = service.sync(2)
    assert await settled(service, begun) == 1
    go.open()
    assert await asyncio.gather(first, kept) == [0, 2]


async def test_each_in_turn(slots):
    """Queued calls run in the order in which they came."""
    service, _, go = await slots(concurrency=1)
    ended = []
    calls = [service.sync(x) for x in range(10)]
    for call in calls:
        call.add_done_callback(lambda done: ended.append(done.result()))
    go.open()
    await asyncio.gather(*calls)
    assert ended == list(range(10))
