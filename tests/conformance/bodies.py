"""Services that take and give what JSON has no form for."""

import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel

import motet


class Photo(BaseModel):
    name: str
    data: bytes
    size: tuple[int, int] = (1, 1)
    taken: dt.datetime | None = None


@dataclasses.dataclass
class Pair:
    left: int
    right: list[str]


class Bodies(motet.Service):
    @motet.endpoint
    async def photo(self, photo: Photo) -> Photo:
        return photo

    @motet.endpoint
    def pair(self, pair: Pair) -> Pair:
        return pair

    @motet.endpoint
    async def add(self, a: int, b: int = 1) -> int:
        return a + b

    @motet.endpoint
    async def nothing(self) -> None:
        return None

    @motet.endpoint
    async def upper(self, text: str) -> str:
        return text.upper()

    @motet.endpoint
    async def double(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        assert not array.flags.writeable or array.base is None
        return array * 2

    @motet.endpoint
    async def any_array(self, array: np.ndarray) -> np.ndarray:
        return array

    @motet.endpoint
    async def scaled(self, array: NDArray[np.float64], factor: float) -> dict[str, NDArray[np.float64]]:
        return {"array": array * factor}

    @motet.endpoint
    async def tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        tensor += 1
        return tensor

    @motet.endpoint
    async def image(self, image: Image.Image) -> Image.Image:
        return image.rotate(90)

    @motet.endpoint
    async def blob(self, data: bytes) -> bytes:
        return data[::-1]

    @motet.endpoint
    async def by_number(self, words: dict[int, str]) -> dict[int, str]:
        return words

    @motet.endpoint
    async def pairs(self, to: int) -> AsyncIterator[Pair]:
        for number in range(to):
            yield Pair(number, ["x"])

    @motet.endpoint
    def broken(self, after: int) -> Iterator[int]:
        yield from range(after)
        raise motet.HTTPError(418, "out of tea")

    @motet.endpoint
    async def arrays(self, to: int) -> AsyncIterator[NDArray[np.int64]]:
        for number in range(to):
            yield np.full(2, number)
