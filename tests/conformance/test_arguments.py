"""Wrong arguments and wrong results are refused, and say where and what."""

import pytest
from faulty import Faulty, Typed, Typist

import motet

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def typist(start_shared):
    return await start_shared(Typist.bind())


@pytest.fixture(scope="module")
async def faulty(start_shared):
    return await start_shared(Faulty.bind())


GOOD = Typed(x=1, names=["a"])


async def test_missing_argument(typist):
    """A missing argument is named."""
    with pytest.raises(motet.InvalidInput) as caught:
        await typist.take(GOOD)
    assert [problem["at"] for problem in caught.value.problems] == ["count"]
    assert caught.value.where.endswith("Typist.take")


async def test_extra_argument(typist):
    """An argument that the endpoint doesn't have is named."""
    with pytest.raises(motet.InvalidInput) as caught:
        await typist.take(GOOD, 1, colour="red")
    assert [problem["at"] for problem in caught.value.problems] == ["colour"]


async def test_too_many_positional_arguments(typist):
    """More positional arguments than parameters are refused."""
    with pytest.raises(motet.InvalidInput, match="positional"):
        await typist.take(GOOD, 1, True, 4)


async def test_keyword_only_argument_given_by_position(typist):
    """A keyword-only parameter isn't filled by position, as in Python."""
    with pytest.raises(motet.InvalidInput, match="positional"):
        await typist.take(GOOD, 1, True)
    assert await typist.take(GOOD, 1, flag=True) == "1 1 True"


async def test_argument_given_twice(typist):
    """An argument by position and by keyword is refused."""
    with pytest.raises(motet.InvalidInput, match="twice") as caught:
        await typist.take(GOOD, 1, count=2)
    assert "count" in str(caught.value)


async def test_wrong_type(typist):
    """A value of the wrong type is named with its place, problem and value."""
    with pytest.raises(motet.InvalidInput) as caught:
        await typist.take(GOOD, "many")
    (problem,) = caught.value.problems
    assert problem["at"] == "count"
    assert "integer" in problem["problem"]
    assert problem["found"] == "'many'"


async def test_all_problems_at_once(typist):
    """Every problem is listed, each with its path into the value."""
    with pytest.raises(motet.InvalidInput) as caught:
        await typist.take({"x": "no", "names": ["ok", 5]}, None, flag="perhaps")
    assert [problem["at"] for problem in caught.value.problems] == ["typed.x", "typed.names.1", "count", "flag"]


async def test_equivalent_values_are_converted(typist):
    """What pydantic takes for the annotation is fine: a dict for a model, digits for a number."""
    assert await typist.take({"x": "5", "names": []}, "3") == "5 3 False"


async def test_endpoint_answers_after_wrong_input(typist):
    """A refused call leaves no trace."""
    with pytest.raises(motet.InvalidInput):
        await typist.take(1, 2)
    assert await typist.take(GOOD, 2) == "1 2 False"


@pytest.mark.parametrize("name", ["wrong_result", "wrong_result_async", "wrong_model"])
async def test_wrong_result(faulty, name):
    """A result that isn't what the annotation promises is an error of the service, with place and value."""
    with pytest.raises(motet.InvalidOutput) as caught:
        await getattr(faulty, name)()
    assert f"Faulty.{name}" in caught.value.where
    assert caught.value.found


async def test_forgotten_return(faulty):
    """None where a value is promised is an error."""
    assert await faulty.missing_none(True) == "x"
    with pytest.raises(motet.InvalidOutput, match="None"):
        await faulty.missing_none(False)


async def test_wrong_item_of_a_stream(faulty):
    """An item that isn't what the annotation promises ends the stream with an error; the items before it arrive."""
    got = []
    with pytest.raises(motet.InvalidOutput, match="two"):  # noqa: PT012  # items come before the error
        async for item in faulty.wrong_item():
            got.append(item)  # noqa: PERF401  # what came before the error counts
    assert got == [1]


async def test_unsendable_result(faulty):
    """A result that can't be sent says so."""
    with pytest.raises(motet.InvalidOutput, match="generator"):
        await faulty.unsendable()


async def test_unsendable_argument(typist):
    """An argument that can't be sent says so."""
    with pytest.raises(motet.MotetError, match="generator"):
        await typist.take((i for i in ()), 1)
