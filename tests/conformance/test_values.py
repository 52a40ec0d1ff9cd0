"""Arguments and results cross by value, as they are at that moment."""

import numpy as np
import pytest
import torch
from values import Forwarder, Mutator, Parcel, Sums

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def mutator(start_shared):
    return await start_shared(Mutator.bind())


@pytest.fixture(scope="module")
async def forwarder(start_shared):
    return await start_shared(Forwarder.bind(Sums.bind(), Mutator.bind()))


async def test_callee_cannot_change_the_callers_list(mutator):
    """A callee that appends to its argument doesn't change the caller's."""
    items = [1, 2]
    assert await mutator.append(items) == 3
    assert items == [1, 2]


async def test_callee_cannot_change_the_callers_model(mutator):
    """A callee that changes a model doesn't change the caller's."""
    parcel = Parcel(label="mine", items=[1])
    assert await mutator.relabel(parcel) == "changed"
    assert parcel == Parcel(label="mine", items=[1])


async def test_results_do_not_alias_the_services_state(mutator):
    """A caller that changes a result doesn't change what the service keeps."""
    result = await mutator.keep([1])
    result.append(99)
    assert await mutator.grow_kept() == [1, 1]


async def test_constructor_arguments_are_copies(start):
    """A service that changes a constructor argument doesn't change the program's."""
    mine = [5]
    service = await start(Mutator.bind(mine))
    assert await service.grow_kept() == [5, 1]
    assert mine == [5]


async def test_arguments_travel_as_they_were_when_called(mutator):
    """What a caller does to an argument right after the call doesn't reach the callee."""
    items = [1]
    call = mutator.append(items)
    items += [2, 3, 4]
    assert await call == 2


@pytest.mark.parametrize("n", [4, 100_000])
async def test_arrays_and_tensors_travel_as_they_were_when_called(forwarder, n):
    """The same holds for arrays, tensors and models with arrays, small and large, from a service."""
    assert await forwarder.change_after_call(n) == [3.0, float(n), n + 1.0, 2.0 * n]


@pytest.mark.parametrize("n", [4, 100_000])
async def test_arrays_arrive_read_only(mutator, n):
    """An array argument can't be written to, whatever its size; nor can a result."""
    assert await mutator.writeable(np.ones(n)) is False
    with pytest.raises(ValueError, match="read-only"):
        await mutator.write_array(np.ones(n))
    assert (await mutator.ones(n)).flags.writeable is False


@pytest.mark.parametrize("n", [4, 100_000])
async def test_tensors_arrive_as_private_copies(mutator, n):
    """A tensor argument may be changed in place without any effect on the caller's; so may a result."""
    tensor = torch.ones(n)
    result = await mutator.add_in_place(tensor)
    assert float(result.sum()) == 2 * n
    assert float(tensor.sum()) == n
    first, second = await mutator.tensor_ones(n), await mutator.tensor_ones(n)
    first += 5
    assert float(second.sum()) == n


@pytest.mark.parametrize("name", ["fill", "fill_small"])
async def test_services_may_reuse_their_result_buffer(mutator, name):
    """A result that the service overwrites for the next call stays what it was."""
    endpoint = getattr(mutator, name)
    results = [await endpoint(float(i)) for i in range(3)]
    assert [float(result[0]) for result in results] == [0.0, 1.0, 2.0]
