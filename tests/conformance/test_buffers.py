"""Large arrays, tensors and byte strings: forwarded, kept, cut, built in place."""

import itertools

import numpy as np
import pytest
import torch
from buffers import Maker, Passer

import motet

pytestmark = pytest.mark.anyio

LARGE, HUGE, SMALL = 20_000, 700_000, 20  # numbers of 8 bytes


@pytest.fixture(scope="module")
async def maker(start_shared):
    return await start_shared(Maker.bind())


@pytest.fixture(scope="module")
async def passer(start_shared):
    return await start_shared(Passer.bind(Maker.bind().options(name="maker"), Maker.bind().options(name="other")))


@pytest.mark.parametrize("n", [SMALL, LARGE, HUGE])
async def test_refs_anywhere(passer, n):
    """Refs of large values go into models, lists and dicts."""
    assert await passer.everywhere(n) == n * (1 + 2 + 1)


@pytest.mark.parametrize("n", [SMALL, LARGE, HUGE])
async def test_what_was_received_is_passed_on(passer, n):
    """An array that has been received may be an argument and a result again, whole or in part."""
    assert await passer.looked_at(n) == n * (2 + 2 + 1)


@pytest.mark.parametrize("n", [SMALL, LARGE])
@pytest.mark.parametrize("endpoint", ["full", "in_place"])
async def test_what_is_kept_stays_as_it_is(maker, endpoint, n):
    """However many values come later, those that are still looked at don't change, nor do parts and pickles of them."""
    make = getattr(maker, endpoint)
    kept = {value: (await make(n, float(value)))[5:-5].reshape(-1, 2) for value in range(20)}
    twice = {value: await maker.again(array) for value, array in kept.items()}
    for value in range(0, 20, 2):
        del kept[value]
    for value in range(100, 140):
        await make(n, float(value))
    for value, array in itertools.chain(kept.items(), twice.items()):
        assert np.unique(array).tolist() == [value]
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize("endpoint", ["stream", "stream_in_thread"])
@pytest.mark.parametrize("n", [SMALL, LARGE])
async def test_items_of_streams(maker, endpoint, n):
    """Items of streams may be large, more of them than are under way at once, and kept."""
    items = [item async for item in getattr(maker, endpoint)(n, 150)]
    assert [np.unique(item).tolist() for item in items] == [[float(value)] for value in range(150)]


async def test_cut_and_strided_results(maker):
    """Results that are views come as they are, in C order or not."""
    array = np.arange(float(LARGE))
    assert np.array_equal(await maker.last_half(array), array[LARGE // 2 :].reshape(2, -1))
    assert np.array_equal(await maker.every_other(array), array[::2])
    columns = np.asfortranarray(array.reshape(100, -1))
    assert np.array_equal(await maker.again(columns), columns)


async def test_batches(maker):
    """Batched endpoints take large items and give large results."""
    calls = [maker.negated(np.full(LARGE, float(value))) for value in range(8)]
    assert [float(np.unique(await call)[0]) for call in calls] == [-float(value) for value in range(8)]


@pytest.mark.parametrize("n", [10, 5000, 70_000, 5_000_000])
async def test_bytes(maker, n):
    """Byte strings of any length."""
    assert await maker.text(n) == b"m" * n


@pytest.mark.parametrize("n", [SMALL, LARGE])
async def test_result_in_place(maker, n):
    """An array that is built in place arrives, also in a model, and its maker can't write to it any more."""
    result = await maker.in_place(n, 4.0)
    assert np.unique(result).tolist() == [4.0]
    with pytest.raises(ValueError, match="read-only"):
        await maker.write_again()
    assert np.unique(result).tolist() == [4.0]
    made = await maker.in_model(n, 6.0)
    assert np.unique(made.vector).tolist() == [6.0]


@pytest.mark.parametrize("n", [SMALL, LARGE])
async def test_argument_in_place(passer, n):
    """The same holds for arguments."""
    assert "read-only" in await passer.argument_in_place(n)


@pytest.mark.parametrize("n", [SMALL, LARGE])
async def test_part_of_what_is_built_in_place(maker, n):
    """A part of such an array is copied: its maker may go on writing."""
    result = await maker.part_in_place(n)
    assert await maker.write_again() == -2 * n
    assert np.unique(result).tolist() == [1.0]


async def test_in_place_from_the_program(maker):
    """A program builds arguments in place, too, of any shape and dtype."""
    array = motet.empty((4, LARGE), "f4")
    array[:] = 3
    assert (array.shape, array.dtype) == ((4, LARGE), np.float32)
    found = await maker.again(array)
    assert (found.shape, found.dtype, float(found.sum())) == ((4, LARGE), np.float32, 12.0 * LARGE)
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1
    assert motet.empty((0, 3)).shape == (0, 3)
    assert motet.empty(()).shape == ()


async def test_no_objects_in_place(maker):
    """An array of Python objects can't be built in place, and the error says what can."""
    with pytest.raises(motet.UsageError, match="Python objects") as caught:
        await maker.objects()
    assert caught.value.instead


@pytest.mark.parametrize("n", [SMALL, LARGE])
async def test_shared_tensors(maker, n):
    """`Shared` tensors have the right contents, beside private ones that may be changed."""
    mine = torch.ones(n)
    assert await maker.sum_tensors(torch.full((n,), 2.0), mine) == 4 * n
    assert await maker.sum_tensors(shared=torch.full((n,), 2.0), mine=mine) == 4 * n
    assert float(mine.sum()) == n
    kept = [await maker.tensor(n) for _ in range(5)]
    assert all(torch.equal(tensor, torch.arange(float(n))) for tensor in kept)


@pytest.mark.parametrize("n", [SMALL, LARGE])
async def test_calls_that_are_given_up(passer, n):
    """Calls that are cancelled at any stage leave the values of others alone."""
    times = 12
    assert await passer.cancelled(n, times) == n * sum(range(times))
