"""`.ref` forwards the value of a call to another call."""

import pytest
from values import Forwarder, Lazy, LazyForwarder, Mutator, Sums, Taker

import motet
from services import Kinds

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def forwarder(start_shared):
    return await start_shared(Forwarder.bind(Sums.bind(), Mutator.bind()))


@pytest.fixture(scope="module")
async def sums(start_shared):
    return await start_shared(Sums.bind())


async def test_chain(forwarder):
    """A value goes through any number of calls by reference."""
    assert await forwarder.chain(0, 10) == 10


@pytest.mark.parametrize("n", [3, 200_000])
async def test_arrays(forwarder, n):
    """Arrays are forwarded, small and large, from async and sync endpoints."""
    assert await forwarder.array(n) == n
    assert await forwarder.array_from_sync(n) == n


async def test_inside_containers(forwarder):
    """A ref may be in a list, a dict, a tuple or a model's field."""
    assert await forwarder.in_list(1) == 5
    assert await forwarder.in_dict(1) == 3
    assert await forwarder.in_tuple(1) == 3
    assert await forwarder.in_model(100_000) == 100_002
    assert await forwarder.in_dataclass(1) == 3


async def test_looking_at_a_ref_says_to_await(forwarder):
    """Using a ref as if it were its value says what to do."""
    with pytest.raises(AttributeError, match="await the call"):
        await forwarder.look_at_ref(3)


async def test_by_keyword(forwarder):
    """A ref may be a keyword argument."""
    assert await forwarder.by_keyword(1) == 3


async def test_same_call_twice(forwarder):
    """One call may be forwarded twice and awaited besides."""
    assert await forwarder.twice(1) == 6


async def test_of_an_ended_call(forwarder):
    """The ref of a call that has been awaited works."""
    assert await forwarder.of_ended_call(1) == 3


async def test_to_a_batched_endpoint(forwarder):
    """A batched endpoint takes refs as items."""
    assert await forwarder.to_batched(1) == [4, 6, 8]


async def test_failing_call_fails_those_that_take_its_value(forwarder):
    """A call whose ref fails fails with the same error, through a chain too."""
    for name in ("failing", "failing_chain"):
        with pytest.raises(KeyError) as caught:
            await getattr(forwarder, name)(3)
        assert caught.value.args == ("no", 3)


async def test_forwarded_value_is_validated(forwarder):
    """A forwarded value of the wrong type is refused by the callee as any other."""
    with pytest.raises(motet.InvalidInput, match="values"):
        await forwarder.wrong_type(1)


async def test_returned_ref_is_the_value(forwarder):
    """An endpoint that returns a ref answers with its value."""
    assert await forwarder.as_result(1) == 2


async def test_from_the_program_itself(sums):
    """A program forwards values outside any request."""
    assert await sums.add(sums.increment(1).ref, sums.increment(2).ref) == 5


async def test_kept_ref_expires(forwarder):
    """A ref that a service keeps from one request to another is refused."""
    assert await forwarder.keep_ref(1) == 2
    with pytest.raises(motet.RefExpired, match="has ended") as caught:
        await forwarder.use_kept_ref()
    assert "keep values" in caught.value.instead


@pytest.mark.parametrize("name", ["bare_call", "bare_call_in_list"])
async def test_bare_call_as_an_argument_says_what_to_pass(forwarder, name):
    """A call as an argument is an error that says to pass its ref."""
    with pytest.raises(motet.UsageError, match=r"\.ref"):
        await getattr(forwarder, name)(1)


async def test_stream_as_an_argument_is_refused(start, sums):
    """A stream as an argument is an error that says what to pass."""
    kinds = await start(Kinds.bind())
    with pytest.raises(motet.UsageError, match="list"):
        await sums.of_list(kinds.generate(3))


async def test_cancelled_call_cancels_those_that_take_its_value(start, gate):
    """A call whose ref is of a cancelled call fails and says so."""
    held = gate()
    lazy, sums = await start(Lazy.bind(held)), await start(Sums.bind())
    first = lazy.value(1)
    second = sums.increment(first.ref)
    await held.until_reached()
    first.cancel()
    with pytest.raises(motet.CallCancelled, match=r"Lazy\.value"):
        await second


async def test_no_slot_waits_for_data(start, gate):
    """A call is sent once its refs are ready: until then the callee's only thread is free for others."""
    made, taken = gate("made"), gate("taken")
    taker = Taker.bind(taken)
    service = await start(LazyForwarder.bind(Lazy.bind(made), taker))
    direct = await start(taker)
    forwarded = service.forward(7)
    await made.until_reached()
    assert await direct.other(1) == 1
    assert taken.count() == 0
    made.open()
    assert await forwarded == 7
    assert taken.count() == 1
