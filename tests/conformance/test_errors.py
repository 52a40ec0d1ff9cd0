"""Exceptions arrive as what they were, and show the way they came."""

import asyncio

import pytest
from faulty import Faulty, Middle, Positional, Several, Simple, Slotted, Top, Unfinished, Unshowable
from flow import Worker

import motet
from motet.testing import PATIENCE

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def faulty(start_shared):
    return await start_shared(Faulty.bind())


@pytest.fixture(scope="module")
async def top(start_shared):
    return await start_shared(Top.bind(Middle.bind(Faulty.bind())))


@pytest.fixture(scope="module")
async def middle(start_shared):
    return await start_shared(Middle.bind(Faulty.bind()))


def notes(error):
    return "\n".join(error.__notes__)


@pytest.mark.parametrize("name", ["simple", "simple_async"])
async def test_same_class_with_all_arguments(faulty, name):
    """An exception has its class and all its arguments."""
    with pytest.raises(Simple) as caught:
        await getattr(faulty, name)()
    assert type(caught.value) is Simple
    assert caught.value.args == ("a", 2, None)


async def test_init_that_takes_other_arguments(faulty):
    """A class whose __init__ takes other arguments than it hands on arrives with its attributes."""
    with pytest.raises(Several) as caught:
        await faulty.several()
    assert (caught.value.code, caught.value.reason, str(caught.value)) == (7, "because", "because (7)")


async def test_init_that_hands_nothing_on(faulty):
    """A class that keeps its arguments as attributes alone arrives whole."""
    with pytest.raises(Positional) as caught:
        await faulty.positional()
    assert str(caught.value) == "1 and two"


async def test_class_that_rebuilds_itself(faulty):
    """A class with __reduce__ is rebuilt by it."""
    with pytest.raises(Slotted) as caught:
        await faulty.slotted()
    assert caught.value.value == 5


async def test_attributes_travel(faulty):
    """Attributes set on an exception arrive."""
    with pytest.raises(Simple) as caught:
        await faulty.with_attributes()
    assert caught.value.detail == {"a": [1, 2]}


async def test_builtin_exceptions(faulty):
    """Exceptions of Python's own arrive with what their constructors computed."""
    with pytest.raises(FileNotFoundError) as caught:
        await faulty.builtin()
    assert (caught.value.errno, caught.value.filename) == (2, "/there")
    with pytest.raises(UnicodeDecodeError) as caught_unicode:
        await faulty.unicode()
    assert caught_unicode.value.object == b"\xff"


async def test_exception_group(faulty):
    """A group arrives with its exceptions."""
    with pytest.raises(ExceptionGroup) as caught:
        await faulty.group()
    assert [type(error) for error in caught.value.exceptions] == [ValueError, KeyError]


async def test_class_that_cannot_be_imported(faulty):
    """An exception of a class that can't be imported is a RemoteError that names it."""
    with pytest.raises(motet.RemoteError, match="can't be imported") as caught:
        await faulty.local_class()
    assert caught.value.kind.endswith("Hidden")


async def test_attribute_that_cannot_travel(faulty):
    """An exception that can't be sent whole still says what and where."""
    with pytest.raises((Simple, motet.RemoteError), match="text") as caught:
        await faulty.unsendable_attribute()
    assert "unsendable_attribute" in notes(caught.value)


@pytest.mark.parametrize("name", ["unshowable", "unfinished"])
async def test_exception_that_cannot_be_shown(faulty, name):
    """An exception that can't even be printed is an answer nevertheless, and frees its slot."""
    with pytest.raises((Unshowable, Unfinished, motet.RemoteError)):
        await getattr(faulty, name)()
    assert await faulty.ok(1) == 1


@pytest.mark.parametrize("name", ["exits", "exits_async"])
async def test_exit_in_an_endpoint(faulty, name):
    """SystemExit in an endpoint fails that call; neither the replica nor the caller exits."""
    with pytest.raises(motet.RemoteError) as caught:
        await getattr(faulty, name)()
    assert caught.value.kind == "SystemExit"
    assert await faulty.ok(1) == 1


@pytest.mark.parametrize("name", ["panics", "panics_async", "panics_in_batch"])
async def test_panic_in_an_endpoint(faulty, name):
    """An exception that is no `Exception` fails its call like any other, and frees its slot."""
    with pytest.raises(motet.RemoteError, match="lib") as caught:
        await getattr(faulty, name)(*([1] if name == "panics_in_batch" else []))
    assert caught.value.kind == "Panic"
    assert await faulty.ok(1) == 1


async def test_panic_in_a_stream(faulty):
    """A stream hears of an exception that is no `Exception`."""
    got = []
    with pytest.raises(motet.RemoteError, match="lib"):  # noqa: PT012  # items come before the error
        async for item in faulty.panics_in_stream():
            got.append(item)  # noqa: PERF401
    assert got == [1]


@pytest.mark.parametrize("name", ["odd_text", "odd_text_async"])
async def test_text_that_is_no_unicode(faulty, name):
    """A message with bytes that are no text is an answer nevertheless, and frees its slot."""
    with pytest.raises((Simple, motet.RemoteError), match="no file"):
        await getattr(faulty, name)()
    assert await faulty.ok(1) == 1


async def test_fields_that_cannot_travel(faulty):
    """An error whose fields can't be sent arrives by its message, and frees its slot."""
    with pytest.raises(motet.MotetError, match="strange"):
        await faulty.odd_fields()
    assert await faulty.ok(1) == 1


async def test_http_error_keeps_its_status(faulty):
    """An HTTPError has its status and message."""
    with pytest.raises(motet.HTTPError, match="a teapot") as caught:
        await faulty.http()
    assert caught.value.status == 418


async def test_frames_of_every_hop_in_one_block(top):
    """The user's frames of each hop are in one note, the outermost first and the root cause last."""
    with pytest.raises(Simple) as caught:
        await top.pass_on()
    assert len(caught.value.__notes__) == 1
    text = notes(caught.value)
    places = [text.index(part) for part in ("Top.pass_on", "in pass_on", "Middle.pass_on", "in _ask", "Faulty.chained", "in chained")]
    assert places == sorted(places)
    assert "return await self._ask()" in text
    assert "site-packages" not in text
    assert "/src/motet/" not in text


async def test_cause_is_shown(top):
    """The exceptions that an error was raised from are in the block, with their frames."""
    with pytest.raises(Simple) as caught:
        await top.pass_on()
    text = notes(caught.value)
    assert "KeyError: 'word'" in text
    assert "_lookup" in text


async def test_through_sync_hops(top):
    """Sync endpoints that call `.result()` are hops as well."""
    with pytest.raises(Several) as caught:
        await top.pass_on_sync()
    assert caught.value.code == 7
    assert all(f"{hop}.pass_on_sync" in notes(caught.value) for hop in ("Top", "Middle"))


async def test_services_catch_each_others_exceptions(middle):
    """A service catches another's exception by its class."""
    assert await middle.survive() == "because"


async def test_translated_error_shows_the_whole_chain(middle):
    """An error raised from a remote one shows the remote one's frames too."""
    with pytest.raises(Simple, match="translated 7") as caught:
        await middle.translate()
    text = notes(caught.value)
    assert "Faulty.several" in text
    assert "Several" in text


@pytest.mark.parametrize("name", ["stream", "stream_async"])
@pytest.mark.parametrize("good", [0, 3, 200])
async def test_failing_stream(faulty, name, good):
    """A stream that fails gives the items before the failure, then the error."""
    got = []
    with pytest.raises(Several) as caught:  # noqa: PT012  # items come before the error
        async for item in getattr(faulty, name)(good):
            got.append(item)  # noqa: PERF401
    assert got == list(range(good))
    assert caught.value.code == good


async def test_failing_stream_through_a_hop(middle):
    """A relayed stream fails with the error of its source, hops included."""
    got = []
    with pytest.raises(Several) as caught:  # noqa: PT012  # items come before the error
        async for item in middle.relay(3):
            got.append(item)  # noqa: PERF401
    assert got == [0, 1, 2]
    assert "Middle.relay" in notes(caught.value)


async def test_error_of_a_task_that_goes_on(start):
    """An error that a service's own task has caught and handed over doesn't end the task."""
    worker = await start(Worker.bind())
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await worker.divide(0)
        async with asyncio.timeout(PATIENCE):
            assert await worker.divide(5) == 2
