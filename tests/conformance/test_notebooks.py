"""Classes that are defined in a function, as in a notebook, work as others do."""

import dataclasses
import enum

import pytest
from pydantic import BaseModel

import motet

pytestmark = pytest.mark.anyio


async def test_classes_defined_in_a_function(start):
    """Services, models, dataclasses and enums that no module holds work."""

    class Size(enum.Enum):
        SMALL = 1
        LARGE = 2

    class Item(BaseModel):
        name: str
        size: Size = Size.SMALL

    @dataclasses.dataclass
    class Count:
        items: list[Item]

    class Shop(motet.Service):
        def __init__(self, suffix: str) -> None:
            self.suffix = suffix

        @motet.endpoint
        def count(self, items: list[Item]) -> Count:
            return Count([Item(name=item.name + self.suffix, size=Size.LARGE) for item in items])

    class Front(motet.Service):
        def __init__(self, shop: Shop) -> None:
            self.shop = shop

        @motet.endpoint
        async def count(self, items: list[Item]) -> Count:
            return await self.shop.count(items)

    front = await start(Front.bind(Shop.bind("!")))
    found = await front.count([Item(name="a")])
    assert [item.name for item in found.items] == ["a!"]
    assert found.items[0].size.name == "LARGE"


async def test_exception_defined_in_a_function(start):
    """An exception whose class no module holds is told by name and text."""

    class Odd(Exception):
        pass

    class Fails(motet.Service):
        @motet.endpoint
        def fail(self) -> int:
            raise Odd("strange")

    service = await start(Fails.bind())
    with pytest.raises(Exception, match="strange") as caught:
        await service.fail()
    assert type(caught.value).__name__ == "Odd" or caught.value.kind.endswith("Odd")
