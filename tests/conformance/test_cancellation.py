"""Cancelling and deadlines reach the work, wherever it runs or waits."""

import asyncio

import pytest
from flow import AboveLate, Late, Slots

import motet
from services import Budget, Hops

pytestmark = pytest.mark.anyio


@pytest.fixture
async def late(start, gate):
    """A service that is held, its gates, and a service that passes on to it."""
    begun, go, cancelled = gate("begun"), gate("go"), gate("cancelled")
    node = Late.bind(begun, go, cancelled)
    return await start(node), await start(AboveLate.bind(node)), begun, go, cancelled


async def test_cancelling_reaches_a_running_async_endpoint(late):
    """A running coroutine gets CancelledError."""
    service, _, begun, _, cancelled = late
    call = service.wait(1)
    await begun.until_reached()
    call.cancel()
    await cancelled.until_reached()


async def test_cancelling_frees_the_slot(start, gate):
    """The slot of a cancelled call goes to the next that waits."""
    begun, go = gate("begun"), gate("go")
    service = await start(Slots.bind(begun, go).options(concurrency=1))
    first = service.asynchronous(1)
    await begun.until_reached()
    second = service.asynchronous(2)
    first.cancel()
    await begun.until_reached(2)
    go.open()
    assert await second == 2


async def test_cancelling_a_queued_sync_call(late):
    """A queued sync call that is cancelled never begins."""
    service, _, begun, go, _ = late
    first = service.block(1)
    await begun.until_reached()
    dropped, kept = service.block(2), service.block(3)
    dropped.cancel()
    await service.ping()  # the cancelling has arrived
    go.open()
    assert await asyncio.gather(first, kept) == [1, 3]
    assert begun.count() == 2


async def test_cancelling_a_running_sync_call(late):
    """A running thread can't be stopped: the caller is free at once, the slot when the thread is done."""
    service, _, begun, go, _ = late
    first = service.block(1)
    await begun.until_reached()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = service.block(2)
    assert await service.ping() == 1
    assert begun.count() == 1
    go.open()
    assert await second == 2


async def test_cancelling_reaches_through_hops(late):
    """Cancelling a call cancels those that its endpoint made."""
    _, above, begun, _, cancelled = late
    call = above.wait(1)
    await begun.until_reached()
    call.cancel()
    await cancelled.until_reached()


async def test_cancelled_task_cancels_the_call_it_awaits(late):
    """A task that is cancelled while it awaits a call cancels the call."""
    service, _, begun, _, cancelled = late

    async def work():
        return await service.wait(1)

    task = asyncio.ensure_future(work())
    await begun.until_reached()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await cancelled.until_reached()


async def test_deadline_stops_the_work(late):
    """A call whose deadline passes raises DeadlineExceeded, which is a TimeoutError, and its endpoint is cancelled."""
    service, _, begun, _, cancelled = late
    call = service.options(timeout=0.5).wait(1)
    await begun.until_reached()
    with pytest.raises(TimeoutError) as caught:
        await call
    assert type(caught.value) is motet.DeadlineExceeded
    assert "wait" in caught.value.where
    await cancelled.until_reached()


async def test_endpoint_timeout(late):
    """`@endpoint(timeout=)` limits each call of that endpoint."""
    service, _, _, _, cancelled = late
    with pytest.raises(motet.DeadlineExceeded):
        await service.hurried(1)
    await cancelled.until_reached()


async def test_node_timeout(start, gate):
    """`.options(timeout=)` of a node limits the calls of all its endpoints."""
    begun, go, cancelled = gate("begun"), gate("go"), gate("cancelled")
    service = await start(Late.bind(begun, go, cancelled).options(timeout=0.5))
    with pytest.raises(motet.DeadlineExceeded):
        await service.wait(1)
    await cancelled.until_reached()


async def test_edge_timeout(start, gate):
    """`depends(node, timeout=)` limits the calls over that edge, and no others."""
    begun, go, cancelled = gate("begun"), gate("go"), gate("cancelled")
    node = Late.bind(begun, go, cancelled)
    above = await start(AboveLate.bind(motet.depends(node, timeout=0.5)))
    direct = await start(node)
    patient = direct.wait(1)
    with pytest.raises(motet.DeadlineExceeded):
        await above.wait(1)
    go.open()
    assert await patient == 1


async def test_timeout_stops_work_two_hops_down(late):
    """A deadline that passes stops the whole chain of calls."""
    _, above, begun, _, cancelled = late
    call = above.options(timeout=0.5).wait(1)
    await begun.until_reached()
    with pytest.raises(motet.DeadlineExceeded):
        await call
    await cancelled.until_reached()


async def test_callee_timeout_can_be_survived(late):
    """A service catches the DeadlineExceeded of a call with a shorter timeout than its own and answers."""
    _, above, _, _, cancelled = late
    assert await above.patient(1) == "too late"
    await cancelled.until_reached()


async def test_queued_work_whose_deadline_passed_never_starts(late):
    """A call whose deadline passes while it waits is answered at once and never runs."""
    service, _, begun, go, _ = late
    first = service.block(1)
    await begun.until_reached()
    with pytest.raises(motet.DeadlineExceeded):
        await service.options(timeout=0.05).block(2)
    third = service.block(3)
    go.open()
    assert await asyncio.gather(first, third) == [1, 3]
    assert begun.count() == 2


@pytest.fixture(scope="module")
async def hops(start_shared):
    return await start_shared(Hops.bind(Budget.bind()))


async def test_deadlines_shrink_through_hops(hops):
    """Each hop has at most the time that is left of its caller's."""
    own, inner, inner_sync = await hops.options(timeout=9).left()
    assert 9 >= own >= inner >= inner_sync > 0


async def test_shorter_timeout_counts(hops):
    """Of the caller's deadline and the endpoint's own timeout the earlier counts."""
    own, inner = await hops.left_of_seven()
    assert 7 >= own >= inner > 0
    assert await hops.left_with_option(3.0) <= 3
    assert await hops.options(timeout=2).left_with_option(30.0) <= 2


async def test_default_timeout(hops):
    """Without options a call has 60 seconds."""
    own, *_ = await hops.left()
    assert 50 < own <= 60


async def test_no_timeout(start):
    """`timeout=None` on a node takes the limit away."""
    service = await start(Budget.bind().options(timeout=None))
    assert await service.left() == float("inf")
