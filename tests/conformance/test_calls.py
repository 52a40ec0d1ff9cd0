"""Calls behave as futures: in the loop, in other loops, and in plain threads."""

import asyncio
import threading

import pytest

import motet
from services import Callers, Held, Kinds

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def kinds(start_shared):
    return await start_shared(Kinds.bind())


async def test_call_starts_at_once(start, gate):
    """A call runs before anybody awaits it."""
    held = gate()
    service = await start(Held.bind(held))
    call = service.asynchronous(1)
    await held.until_reached()
    assert not call.done()
    held.open()
    assert await call == 1
    assert call.done()


async def test_gather_keeps_the_order(kinds):
    """`gather` takes calls as they are."""
    assert await asyncio.gather(*[kinds.plain(x) for x in range(20)]) == list(range(1, 21))


async def test_wait_for_gives_the_value(kinds):
    """`wait_for` takes a call as it is."""
    assert await asyncio.wait_for(kinds.asynchronous(1), timeout=30) == 2


async def test_wait_for_cancels_the_call(start, gate):
    """A call that `wait_for` gives up is cancelled where it runs."""
    held, finished = gate("held"), gate("finished")
    service = await start(Held.bind(held, finished))
    call = service.asynchronous(1)
    await held.until_reached()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call, timeout=0.01)
    assert call.cancelled()
    await finished.until_reached()


async def test_as_completed_gives_all_values(kinds):
    """`as_completed` takes calls as they are."""
    assert sorted([await done for done in asyncio.as_completed([kinds.plain(x) for x in range(5)])]) == [1, 2, 3, 4, 5]


async def test_a_call_can_be_awaited_twice(kinds):
    """A call that has ended gives its value again."""
    call = kinds.plain(1)
    assert await call == await call == call.result() == 2


async def test_result_in_a_loop_is_an_error(kinds):
    """`.result()` of a running call refuses to block an event loop, and the call goes on."""
    call = kinds.plain(1)
    with pytest.raises(motet.UsageError, match="await"):
        call.result()
    assert await call == 2


async def test_result_inside_an_async_endpoint_is_an_error(start, gate):
    """`.result()` in an async endpoint fails there; the caller sees why."""
    service = await start(Callers.bind(Held.bind(gate()), Kinds.bind(), gate()))
    with pytest.raises(motet.UsageError, match="await"):
        await service.blocking(1)


async def test_sync_and_async_endpoints_call_others(start, gate):
    """An endpoint calls other services with `.result()` if it is sync and with `await` if it is async."""
    service = await start(Callers.bind(Held.bind(gate()), Kinds.bind(), gate()))
    assert await service.from_sync(1) == 4
    assert await service.from_async(1) == 4
    assert await service.sum_sync(200) == sum(range(200))
    assert await service.sum_async(200) == sum(range(200))
    assert [x async for x in service.relay(200)] == list(range(200))


async def test_plain_thread_calls(kinds):
    """A thread without a loop calls with `.result()` and iterates streams."""
    assert await asyncio.to_thread(lambda: kinds.plain(1).result()) == 2
    assert await asyncio.to_thread(lambda: kinds.plain(1).result(timeout=30)) == 2
    assert await asyncio.to_thread(lambda: list(kinds.generate(300))) == list(range(300))
    assert await asyncio.to_thread(lambda: list(kinds.generate_async(300))) == list(range(300))


async def test_plain_thread_gets_the_error(kinds):
    """`.result()` raises what the call failed with."""
    with pytest.raises(motet.InvalidInput):
        await asyncio.to_thread(lambda: kinds.plain("no").result())


async def test_result_times_out_and_the_call_goes_on(start, gate):
    """`.result(timeout=)` stops waiting, not the call."""
    held = gate()
    service = await start(Held.bind(held))

    def impatient():
        call = service.asynchronous(5)
        with pytest.raises(TimeoutError, match=r"Held\.asynchronous"):
            call.result(timeout=0.01)
        held.open()
        return call.result()

    assert await asyncio.to_thread(impatient) == 5


async def test_another_loop_calls(kinds):
    """Calls made in an event loop of another thread are at home there."""

    async def elsewhere():
        first = await kinds.plain(1)
        rest = await asyncio.gather(kinds.plain(2), kinds.asynchronous(3))
        return [first, *rest, [x async for x in kinds.generate(100)]]

    assert await asyncio.to_thread(lambda: asyncio.run(elsewhere())) == [2, 3, 4, list(range(100))]


async def test_many_threads_call_at_once(kinds):
    """One handle serves many threads."""
    results = []

    def work(base):
        results.extend(kinds.plain(base + i).result() for i in range(50))

    threads = [threading.Thread(target=work, args=(base,)) for base in (0, 100, 200, 300)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    assert sorted(results) == sorted(base + i + 1 for base in (0, 100, 200, 300) for i in range(50))


async def test_several_threads_wait_for_one_call(start, gate):
    """Everybody who waits for a call hears of its end."""
    held = gate()
    service = await start(Held.bind(held))
    call = service.asynchronous(3)
    entered = threading.Barrier(5)

    def wait():
        entered.wait()
        return call.result()

    waiting = [asyncio.create_task(asyncio.to_thread(wait)) for _ in range(4)]
    await asyncio.to_thread(entered.wait)
    held.open()
    assert await asyncio.gather(*waiting) == [3, 3, 3, 3]


async def test_call_of_a_loop_that_has_ended(start, gate):
    """A call that is left behind in a loop that has ended is cancelled, and hurts nobody."""
    held, finished = gate(), gate()
    service = await start(Callers.bind(Held.bind(held, finished), Kinds.bind(), gate()))
    assert await service.loop_of_its_own(3) == 3
    assert await service.from_sync(3) == 8


async def test_deadline_in_a_loop_that_has_ended(start, gate):
    """The deadline of a call whose loop has ended passes, and so do those of the others."""
    service = await start(Held.bind(gate()))

    async def elsewhere():
        service.options(timeout=0.01).asynchronous(1)

    await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
    with pytest.raises(motet.DeadlineExceeded):
        await service.options(timeout=1.1).asynchronous(2)


@pytest.mark.parametrize("name", ["asynchronous", "fails"])
async def test_ref_of_a_call_of_another_loop(start, gate, name):
    """A ref may be passed on in another loop than its call's, which hears of its end all the same."""
    held = gate()
    service = await start(Held.bind(held))
    first = getattr(service, name)(4)

    async def elsewhere():
        second = service.quick(first.ref)
        held.open()
        return await second

    outcome = (await asyncio.gather(asyncio.to_thread(lambda: asyncio.run(elsewhere())), return_exceptions=True))[0]
    assert outcome == 4 if name == "asynchronous" else type(outcome) is LookupError


async def test_end_of_an_iterator_as_an_error(start, gate):
    """A StopIteration that leaves an endpoint is a RuntimeError, as it is for coroutines; `gather` hears of it too."""
    service = await start(Held.bind(gate()))
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.gather(service.stops(1))


async def test_stream_cancelled_while_a_thread_reads_it(kinds):
    """`for` over a stream that somebody else cancels says so."""

    def read():
        stream = kinds.generate_async(100_000)
        with pytest.raises(motet.CallCancelled, match="generate_async"):  # noqa: PT012  # items come before the error
            for item in stream:
                if item == 3:
                    stream.cancel()

    await asyncio.to_thread(read)


def test_call_in_a_loop_that_does_not_run(running):
    """`.result()` says so where the loop that would have to bring the answer stands still."""
    loop = asyncio.new_event_loop()
    app = running(Kinds.bind())
    try:
        kinds = loop.run_until_complete(app.__aenter__())
        with pytest.raises(motet.UsageError, match="doesn't run"):
            kinds.plain(1).result()
        assert loop.run_until_complete(kinds.plain(1)) == 2
    finally:
        loop.run_until_complete(app.__aexit__(None, None, None))
        loop.close()


def test_call_after_the_end_of_its_loop(running):
    """A handle that outlives the loop of its app says so."""

    async def leak():
        async with running(Kinds.bind()) as kinds:
            return kinds

    kinds = asyncio.run(leak())
    with pytest.raises(motet.Unavailable, match="loop"):
        kinds.plain(1).result()


def test_with_runs_an_app_from_sync_code(running):
    """`with motet.run(...)` starts an app in sync code and gives a handle."""
    with running(Kinds.bind()) as kinds:
        assert kinds.plain(1).result() == 2
        assert list(kinds.generate(3)) == [0, 1, 2]


def test_start_and_stop_run_an_app(running):
    """`start()` and `stop()` do what `with` does."""
    app = running(Kinds.bind())
    try:
        assert app.start().plain(1).result() == 2
    finally:
        app.stop()


async def test_with_in_a_loop_is_an_error(running):
    """`with motet.run(...)` in async code says to write `async with`."""
    with pytest.raises(motet.UsageError, match="async with"):
        running(Kinds.bind()).__enter__()


async def test_cancelled_call_says_so(start, gate):
    """A cancelled call raises CancelledError where it is awaited."""
    held = gate()
    service = await start(Held.bind(held))
    call = service.asynchronous(1)
    await held.until_reached()
    assert call.cancel()
    assert not call.cancel()
    assert call.cancelled()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_calls_left_running_are_cancelled(start, gate):
    """A call that an endpoint leaves running when it returns is cancelled."""
    held, finished, begun = gate("held"), gate("finished"), gate("begun")
    service = await start(Callers.bind(Held.bind(held, finished), Kinds.bind(), begun))
    call = service.unawaited(1)
    await held.until_reached()
    assert finished.count() == 0
    begun.open()
    assert await call == 1
    await finished.until_reached()
