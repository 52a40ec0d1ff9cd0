"""Services start, fail to start, and stop; closing answers everyone."""

import asyncio
import traceback

import pytest
from assembly import Broken, Hooked, Leaf, NeedsHook, Slow
from flow import Slots

import motet

pytestmark = pytest.mark.anyio


async def test_hooks_run(running, gate):
    """`preload`, `start` and `health` run before the first call, `stop` at the end."""
    started, stopped, checked = gate("started"), gate("stopped"), gate("checked")
    async with running(Hooked.bind(started, stopped, checked)) as hooked:
        assert started.count() == 2
        assert checked.count() >= 1
        assert await hooked.is_ready() is True
        assert stopped.count() == 0
    assert stopped.count() == 1


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("init", "no model here"),
        ("exit", "no license"),
        ("empty", "StopIteration"),
        ("start", "no connection"),
        ("start-exit", "no license"),
        ("health", "sick"),
        ("health-false", "health"),
    ],
)
async def test_failing_start(running, how, text):
    """A service that can't start is a StartError that names it and has the cause."""
    with pytest.raises(motet.StartError) as caught:
        async with running(Broken.bind(how)):
            pass
    assert "Broken" in str(caught.value)
    assert text in str(caught.value)


async def test_failing_start_shows_the_users_frames(running):
    """The traceback of a StartError shows the line of the constructor that raised."""
    with pytest.raises(motet.StartError) as caught:
        async with running(Broken.bind("init")):
            pass
    text = "".join(traceback.format_exception(caught.value))
    assert "assembly.py" in text
    assert 'raise FileNotFoundError(2, "no model here"' in text


async def test_nothing_is_left_of_a_failed_start(running, gate):
    """What had started already is stopped, and the name is free."""
    started, stopped, checked = gate("started"), gate("stopped"), gate("checked")
    with pytest.raises(motet.StartError):
        async with running(NeedsHook.bind(Hooked.bind(started, stopped, checked), Broken.bind("init")), name="half"):
            pass
    await stopped.until_reached()
    async with running(Leaf.bind("fine"), name="half") as leaf:
        assert await leaf.who() == "fine"


async def test_nothing_is_left_of_a_cancelled_start(running, gate):
    """An app whose start is cancelled doesn't run, and the name is free."""
    begun, go = gate("begun"), gate("go")
    async with running(Leaf.bind("stays")) as stays:
        start = asyncio.create_task(running(Slow.bind(begun, go), name="slow")._enter())
        await begun.until_reached()
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
        go.open()
        async with running(Leaf.bind("fine"), name="slow") as leaf:
            assert await leaf.who() == "fine"
        assert await stays.who() == "stays"


async def test_start_while_the_last_app_stops(running):
    """An app that is started while the last one is being stopped is like any other."""
    first = running(Leaf.bind("first"))
    await first
    stopping = asyncio.create_task(first._exit())
    await asyncio.sleep(0)
    async with running(Leaf.bind("second"), name="second") as leaf:
        await stopping
        assert await leaf.who() == "second"
        assert [app.name for server in await motet.status() for app in server.apps] == ["second"]
        await motet.delete("second")
        with pytest.raises(motet.Unavailable):
            await leaf.who()


async def test_closing_answers_everyone(running, gate):
    """Closing an app: what runs finishes, what waits hears ShuttingDown now, what comes late gets another error."""
    begun, go = gate("begun"), gate("go")
    app = running(Slots.bind(begun, go).options(queue=1))
    service = await app.__aenter__()
    works = service.sync(1)
    await begun.until_reached()
    waits = service.sync(2)
    with pytest.raises(motet.Overloaded):
        await service.sync(3)  # proves that the second is in the queue
    closing = asyncio.ensure_future(app.__aexit__(None, None, None))
    with pytest.raises(motet.ShuttingDown):
        await waits
    assert not works.done()
    with pytest.raises(motet.MotetError) as late:
        await service.sync(4)
    assert type(late.value) is motet.Unavailable
    go.open()
    assert await works == 1
    await closing
    with pytest.raises(motet.Unavailable) as later:
        await service.sync(5)
    assert type(later.value) is motet.Unavailable


async def test_closing_ends_what_does_not_finish(running, gate):
    """A call that doesn't finish within the drain time is answered with an error."""
    begun, go = gate("begun"), gate("go")
    app = running(Slots.bind(begun, go).options(drain=0.05))
    service = await app.__aenter__()
    call = service.asynchronous(1)
    await begun.until_reached()
    await app.__aexit__(None, None, None)
    with pytest.raises(motet.MotetError, match="drain"):
        await call


async def test_running_stream_finishes_while_closing(running, gate):
    """A stream that runs when its app is closed is delivered to its end."""
    begun, go = gate("begun"), gate("go")
    app = running(Slots.bind(begun, go))
    service = await app.__aenter__()
    stream = service.stream(1)
    await begun.until_reached()
    closing = asyncio.ensure_future(app.__aexit__(None, None, None))
    go.open()
    assert [item async for item in stream] == [1]
    await closing
