"""Three other front ends, each a few lines onto services and `bind`, run on every engine."""

import chains_like
import composite_like
import pytest
import serve_like

import motet

pytestmark = pytest.mark.anyio


async def test_chains_like(start):
    """Typed `run_remote` classes with dependencies as defaults answer."""
    entry = await start(chains_like.Entry.service.bind())
    assert await entry.run_remote("two words") == "TWO WORDS"
    with pytest.raises(motet.InvalidInput):
        await entry.run_remote(3)


async def test_serve_like(start):
    """Unannotated classes with `.remote` answer, and un-awaited results are forwarded; one class is bound twice."""
    pipeline = await start(serve_like.app)
    assert await pipeline.both_ways("cat") == "cat!"


async def test_composite_like(start):
    """A synchronous `invoke` composes typed subtasks whose values are forwarded."""
    encoder, writer = composite_like.Encoder.service.bind(), composite_like.Writer.service.bind()
    describe = await start(composite_like.Describe.service.bind(encoder=encoder, writer=writer))
    assert await describe.invoke(composite_like.Picture(pixels=[1, 1, 0, 1])) == composite_like.Caption(text="bright")
    with pytest.raises(motet.DefinitionError, match="writer"):
        composite_like.Describe.service.bind(encoder=encoder)
    with pytest.raises(motet.DefinitionError, match="Encoder"):
        composite_like.Describe.service.bind(encoder=writer, writer=writer)
