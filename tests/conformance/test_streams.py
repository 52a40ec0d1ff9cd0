"""Streams are bounded, and end where nobody reads them."""

import asyncio
import gc

import pytest
from flow import Producer, Relay

import motet
from motet.runtime.exchange import WINDOW
from motet.testing import PATIENCE

pytestmark = pytest.mark.anyio

MANY = 100_000
AHEAD = 4 * WINDOW + 8  # items that may be on their way over two hops, with room for those in hand


@pytest.fixture
async def watched(start, gate):
    """A producer, its gates, and a service that relays it."""
    produced, closed = gate("produced"), gate("closed")
    node = Producer.bind(produced, closed)
    return await start(node), await start(Relay.bind(node)), produced, closed


ENDPOINTS = pytest.mark.parametrize("name", ["numbers", "numbers_sync"])


@ENDPOINTS
async def test_slow_reader_slows_the_producer(watched, name):
    """A producer doesn't run ahead of its reader by more than a window."""
    producer, _, produced, _ = watched
    stream = getattr(producer, name)(MANY)
    for taken in range(1, 201):
        await anext(stream)
        await producer.ping()  # the producer had every chance to run ahead
        assert produced.count() <= taken + AHEAD
    stream.cancel()


async def test_slow_reader_slows_the_producer_through_a_hop(watched):
    """The same holds through a service that relays the stream."""
    producer, relay, produced, _ = watched
    stream = relay.relay(MANY)
    for taken in range(1, 201):
        await anext(stream)
        await producer.ping()
        assert produced.count() <= taken + AHEAD
    stream.cancel()


@ENDPOINTS
async def test_cancelled_stream_ends_the_producer(watched, name):
    """Cancelling a stream runs the generator's `finally` and frees its slot."""
    producer, _, _, closed = watched
    stream = getattr(producer, name)(MANY)
    assert await anext(stream) == 0
    assert stream.cancel()
    await closed.until_reached()
    assert await producer.ping_sync() == 1
    with pytest.raises(asyncio.CancelledError):
        await anext(stream)


async def test_generator_that_ends_by_a_cancelled_task(start, gate):
    """A generator whose `finally` awaits a task that it has cancelled frees its slot."""
    closed = gate("closed")
    producer = await start(Producer.bind(gate("produced"), closed).options(concurrency=1))
    stream = producer.with_a_task(MANY)
    assert await anext(stream) == 0
    stream.cancel()
    await closed.until_reached()
    async with asyncio.timeout(PATIENCE):
        assert await producer.ping() == 1


@ENDPOINTS
async def test_abandoned_stream_ends_the_producer(watched, name):
    """A stream that nobody holds any more ends its producer."""
    producer, _, _, closed = watched
    stream = getattr(producer, name)(MANY)
    assert await anext(stream) == 0
    del stream
    gc.collect()
    await closed.until_reached()
    assert await producer.ping_sync() == 1


@ENDPOINTS
async def test_stream_that_is_never_read_holds_nothing_once_dropped(watched, name):
    """A stream that was started and never read ends as well."""
    producer, _, produced, closed = watched
    stream = getattr(producer, name)(MANY)
    await produced.until_reached()
    del stream
    gc.collect()
    await closed.until_reached()
    assert await producer.ping_sync() == 1


async def test_aclose_ends_the_producer(watched):
    """`aclose` ends a stream, as it does for generators."""
    producer, _, _, closed = watched
    stream = producer.numbers(MANY)
    assert await anext(stream) == 0
    await stream.aclose()
    await closed.until_reached()


@pytest.mark.parametrize("name", ["first", "first_sync"])
async def test_stream_left_by_an_endpoint_ends(watched, name):
    """A stream that an endpoint leaves half read ends when the endpoint returns."""
    _, relay, _, closed = watched
    assert await getattr(relay, name)(MANY) == 0
    await closed.until_reached()


async def test_streams_left_early_free_their_slot_at_once(watched):
    """An endpoint that leaves stream after stream early doesn't wait for slots that its own streams hold."""
    _, relay, _, closed = watched
    assert await relay.firsts(5) == [0] * 5
    await closed.until_reached(5)


async def test_cancelling_reaches_through_a_relay(watched):
    """Cancelling a relayed stream ends its source, too."""
    _, relay, _, closed = watched
    stream = relay.relay(MANY)
    assert await anext(stream) == 0
    stream.cancel()
    await closed.until_reached()


async def test_stream_abandoned_in_a_thread_ends(watched):
    """A `for` over a stream that is left early in a plain thread ends the producer."""
    producer, _, _, closed = watched

    def first():
        for item in producer.numbers(MANY):
            return item
        return None

    assert await asyncio.to_thread(first) == 0
    gc.collect()
    await closed.until_reached()


async def test_items_arrive_before_the_stream_ends(start, gate):
    """An item can be read while the producer works on the next."""
    produced, closed, held = gate("produced"), gate("closed"), gate("held")
    producer = await start(Producer.bind(produced, closed, held))
    stream = producer.one_then_held()
    assert await anext(stream) == 1
    assert closed.count() == 0
    held.open()
    assert [item async for item in stream] == [2]


async def test_stream_timeout(start, gate):
    """A stream whose deadline passes raises DeadlineExceeded, and its generator is closed."""
    produced, closed, held = gate("produced"), gate("closed"), gate("held")
    producer = await start(Producer.bind(produced, closed, held))
    stream = producer.options(timeout=0.5).one_then_held()
    with pytest.raises(motet.DeadlineExceeded):
        _ = [item async for item in stream]
    await closed.until_reached()


async def test_two_readers_are_refused(start, gate):
    """Two waiting readers of one stream are an error, not a lottery."""
    produced, closed, held = gate("produced"), gate("closed"), gate("held")
    producer = await start(Producer.bind(produced, closed, held))
    stream = producer.one_then_held()
    assert await anext(stream) == 1
    first = asyncio.ensure_future(stream.__anext__())
    await asyncio.sleep(0)
    with pytest.raises(motet.UsageError, match="two readers"):
        await anext(stream)
    held.open()
    assert await first == 2
