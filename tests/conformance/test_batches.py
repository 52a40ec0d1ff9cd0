"""Single calls are joined into batches while the service is busy."""

import asyncio

import pytest
from flow import Batches

import motet

pytestmark = pytest.mark.anyio


@pytest.fixture
async def batches(start, gate):
    begun, go = gate("begun"), gate("go")
    return await start(Batches.bind(begun, go)), begun, go


async def joined(service, endpoint, begun, go, items):
    """Send `items` while a first batch of the item 0 is held, let it go on, and return the results of the others."""
    first = endpoint(0)
    await begun.until_reached()
    calls = [endpoint(x) for x in items]
    await service.ping()  # calls arrive in order: they are there
    go.open()
    await first
    return await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("name", ["sizes", "sizes_async"])
async def test_calls_are_joined_while_the_service_is_busy(batches, name):
    """Calls that come while a batch runs go into the next, `max_size` at most."""
    service, begun, go = batches
    sizes = await joined(service, getattr(service, name), begun, go, range(1, 11))
    assert sizes == [4, 4, 4, 4, 4, 4, 4, 4, 2, 2]


async def test_lone_call_is_a_batch_of_one(batches):
    """A lone call needn't wait for company."""
    service, _, _ = batches
    assert await service.at_once(1) == 1
    assert await service.sizes(1) == 1


async def test_failed_items_fail_alone(batches):
    """A `Failed` item is its own caller's error."""
    service, begun, go = batches
    results = await joined(service, service.some_fail, begun, go, range(1, 5))
    assert [str(result) for result in results] == ["odd 1", "2", "odd 3", "4"]
    assert isinstance(results[0], ValueError)


async def test_exception_fails_the_whole_batch(batches):
    """An exception of a batch is every caller's error."""
    service, begun, go = batches
    results = await joined(service, service.all_fail, begun, go, [1, 2, 3])
    assert [(type(result), result.args) for result in results] == [(KeyError, ("all", 3))] * 3


async def test_wrong_length_fails_the_whole_batch(batches):
    """A list of another length is an InvalidOutput for every caller, and says both lengths."""
    service, begun, go = batches
    results = await joined(service, service.too_few, begun, go, [1, 2, 3])
    assert [type(result) for result in results] == [motet.InvalidOutput] * 3
    assert "3 items" in str(results[0])
    assert "2 results" in str(results[0])


async def test_something_else_than_a_list(batches):
    """A batch that isn't answered with a list is an InvalidOutput."""
    service, _, _ = batches
    with pytest.raises(motet.InvalidOutput, match="tuple"):
        await service.no_list(1)


async def test_wrong_result_fails_alone(batches):
    """A result that doesn't fit its annotation is its own caller's error."""
    service, begun, go = batches
    results = await joined(service, service.one_wrong, begun, go, [2, 3, 4])
    assert [type(result) for result in results] == [int, motet.InvalidOutput, int]


@pytest.mark.parametrize("name", ["one_unsendable", "one_unsendable_async"])
async def test_result_that_cannot_be_sent_fails_alone(batches, name):
    """A result that can't be encoded is its own caller's error; the others are answered, and so are later calls."""
    service, begun, go = batches
    results = await joined(service, getattr(service, name), begun, go, [2, 3, 4])
    assert [type(result) for result in results] == [str, motet.InvalidOutput, str]
    assert await service.at_once(1) == 1


async def test_bad_input_fails_alone(batches):
    """An item that doesn't fit the annotation is refused; the others of its batch are answered."""
    service, begun, go = batches
    results = await joined(service, service.sizes, begun, go, [1, "no", 3])
    assert [results[0], results[2]] == [2, 2]
    assert isinstance(results[1], motet.InvalidInput)


async def test_cancelled_item_leaves_the_batch(batches):
    """A call that is cancelled while it waits is in no batch."""
    service, begun, go = batches
    first = service.sizes(0)
    await begun.until_reached()
    kept, dropped, also_kept = [service.sizes(x) for x in (1, 2, 3)]
    dropped.cancel()
    await service.ping()
    go.open()
    assert await first == 1
    assert await asyncio.gather(kept, also_kept) == [2, 2]


async def test_cancelled_item_of_a_running_batch(batches):
    """Cancelling one call of a running batch leaves the others alone."""
    service, begun, go = batches
    first = service.sizes_async(0)
    await begun.until_reached()
    second, third = service.sizes_async(0), service.sizes_async(5)
    first.cancel()
    await service.ping()
    go.open()
    assert await asyncio.gather(second, third) == [2, 2]


async def test_many_calls_all_get_their_own_answer(batches):
    """Each of many concurrent calls gets the answer to its own item."""
    service, _, _ = batches
    results = await asyncio.gather(*[service.some_fail(x) for x in range(2, 400)], return_exceptions=True)
    assert [str(result) for result in results] == [f"odd {x}" if x % 2 else str(x) for x in range(2, 400)]
