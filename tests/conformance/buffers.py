"""Services that make, keep, cut and pass on large arrays and tensors."""

from collections.abc import AsyncIterator, Iterator

import numpy as np
import torch
from pydantic import BaseModel

import motet


class Made(BaseModel):
    label: str
    vector: motet.Forwarded[np.ndarray]


class Maker(motet.Service):
    """Makes arrays of one number each, and takes what was made."""

    def __init__(self) -> None:
        self.last = np.zeros(0)

    @motet.endpoint
    async def full(self, n: int, value: float) -> np.ndarray:
        return np.full(n, value)

    @motet.endpoint
    async def in_place(self, n: int, value: float) -> np.ndarray:
        self.last = motet.empty(n)
        self.last[:] = value
        return self.last

    @motet.endpoint
    async def part_in_place(self, n: int) -> np.ndarray:
        self.last = motet.empty((2, n))
        self.last[:] = 1
        return self.last[0]

    @motet.endpoint
    async def write_again(self) -> float:
        """Write to the array that was made last."""
        self.last[:] = -1
        return float(self.last.sum())

    @motet.endpoint
    async def in_model(self, n: int, value: float) -> Made:
        vector = motet.empty(n)
        vector[:] = value
        return Made(label=str(value), vector=vector)

    @motet.endpoint
    async def objects(self) -> np.ndarray:
        return motet.empty(3, object)

    @motet.endpoint
    async def again(self, array: np.ndarray) -> np.ndarray:
        return array

    @motet.endpoint
    async def last_half(self, array: np.ndarray) -> np.ndarray:
        return array[len(array) // 2 :].reshape(2, -1)

    @motet.endpoint
    async def every_other(self, array: np.ndarray) -> np.ndarray:
        return array[::2]

    @motet.endpoint
    async def stream(self, n: int, count: int) -> AsyncIterator[np.ndarray]:
        for value in range(count):
            yield np.full(n, float(value))

    @motet.endpoint
    def stream_in_thread(self, n: int, count: int) -> Iterator[np.ndarray]:
        for value in range(count):
            yield np.full(n, float(value))

    @motet.batched
    def negated(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        return [-array for array in arrays]

    @motet.endpoint
    async def text(self, n: int) -> bytes:
        return b"m" * n

    @motet.endpoint
    async def tensor(self, n: int) -> motet.Shared[torch.Tensor]:
        return torch.arange(float(n))

    @motet.endpoint
    async def sum_tensors(self, shared: motet.Shared[torch.Tensor], mine: torch.Tensor) -> float:
        mine += 1
        return float(shared.sum() + mine.sum())

    @motet.endpoint
    async def total(self, models: list[Made], arrays: dict[str, np.ndarray]) -> float:
        return float(sum(model.vector.sum() for model in models) + sum(array.sum() for array in arrays.values()))


class Passer(motet.Service):
    """Passes on what makers make."""

    def __init__(self, maker: Maker, other: Maker) -> None:
        self.maker = maker
        self.other = other

    @motet.endpoint
    async def everywhere(self, n: int) -> float:
        """Pass refs on in a list of models and in a dict, and one twice."""
        one, two = self.maker.full(n, 1.0), self.other.in_place(n, 2.0)
        models = [Made(label="one", vector=one.ref), Made(label="two", vector=two.ref)]
        return await self.other.total(models, {"again": self.maker.again(one.ref).ref})

    @motet.endpoint
    async def looked_at(self, n: int) -> float:
        """Pass an array on by value, after a look at it, and back again."""
        array = await self.maker.full(n, 2.0)
        there = await self.other.again(array)
        back = await self.maker.last_half(self.other.again(there).ref)
        return float(array.sum() + there.sum() + back.sum())

    @motet.endpoint
    async def argument_in_place(self, n: int) -> str:
        """Build an argument in place, and write to it afterwards."""
        array = motet.empty((n, 2), np.float32)
        array[:] = 1
        assert float((await self.maker.again(array)).sum()) == 2 * n
        try:
            array[0, 0] = 7
        except ValueError as error:
            return str(error)
        return "written"

    @motet.endpoint
    async def cancelled(self, n: int, times: int) -> float:
        """Give calls up, at all stages, while others go on."""
        total = 0.0
        for value in range(times):
            given_up = self.other.again(self.maker.full(n, -1.0).ref)
            kept = self.other.again(self.maker.full(n, float(value)).ref)
            if value % 2:
                await self.maker.text(1)
            given_up.cancel()
            total += float((await kept).sum())
        return total
