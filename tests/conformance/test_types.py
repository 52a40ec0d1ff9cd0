"""Every kind of type arrives as it was sent, there and back."""

import pytest
from typed import CASES, Echoes, Later, Strings, same

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def echoes(start_shared):
    return await start_shared(Echoes.bind())


@pytest.mark.parametrize("name", CASES)
async def test_value_crosses_and_returns_unchanged(echoes, name):
    """A value has the same type and contents in the callee, and again in the caller."""
    for index, value in enumerate(CASES[name][1]):
        assert same(value, await getattr(echoes, name)(value, index))


async def test_string_annotations(start):
    """Annotations may be text and name classes that are defined later."""
    service = await start(Strings.bind())
    assert await service.later(Later(x=1)) == [Later(x=1), Later(x=1)]
