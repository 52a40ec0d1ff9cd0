"""Services that change, keep and forward values, for the tests of by-value passing and refs."""

import asyncio
import dataclasses

import numpy as np
import torch
from pydantic import BaseModel

import motet
from motet.testing import Gate


class Parcel(BaseModel):
    label: str
    items: list[motet.Forwarded[int]] = []
    vector: motet.Forwarded[np.ndarray] | None = None


@dataclasses.dataclass
class Couple:
    left: int
    right: int


class Mutator(motet.Service):
    """Changes what it is given, and what it has given away."""

    def __init__(self, start: list[int] | None = None) -> None:
        self.kept = start if start is not None else []
        self.buffer = np.zeros(10_000)
        self.small = np.zeros(4)

    @motet.endpoint
    def append(self, items: list[int]) -> int:
        items.append(0)
        return len(items)

    @motet.endpoint
    def relabel(self, parcel: Parcel) -> str:
        parcel.label = "changed"
        parcel.items.append(9)
        return parcel.label

    @motet.endpoint
    def keep(self, items: list[int]) -> list[int]:
        self.kept = items
        return items

    @motet.endpoint
    def grow_kept(self) -> list[int]:
        self.kept.append(1)
        return self.kept

    @motet.endpoint
    def writeable(self, vector: np.ndarray) -> bool:
        return vector.flags.writeable

    @motet.endpoint
    def write_array(self, vector: np.ndarray) -> float:
        vector[0] = 1
        return float(vector[0])

    @motet.endpoint
    def add_in_place(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.add_(1)

    @motet.endpoint
    def fill(self, value: float) -> np.ndarray:
        """Return the same buffer each time."""
        self.buffer[:] = value
        return self.buffer

    @motet.endpoint
    def fill_small(self, value: float) -> np.ndarray:
        self.small[:] = value
        return self.small

    @motet.endpoint
    def ones(self, n: int) -> np.ndarray:
        return np.ones(n)

    @motet.endpoint
    def tensor_ones(self, n: int) -> torch.Tensor:
        return torch.ones(n)


class Sums(motet.Service):
    """Takes values, wherever they come from."""

    @motet.endpoint
    def total(self, vector: np.ndarray) -> float:
        return float(vector.sum())

    @motet.endpoint
    async def increment(self, x: int) -> int:
        return x + 1

    @motet.endpoint
    def add(self, first: int, second: int) -> int:
        return first + second

    @motet.endpoint
    def of_list(self, values: list[int]) -> int:
        return sum(values)

    @motet.endpoint
    def of_dict(self, values: dict[str, list[int]]) -> int:
        return sum(sum(v) for v in values.values())

    @motet.endpoint
    def of_tuple(self, values: tuple[int, int]) -> int:
        return sum(values)

    @motet.endpoint
    def of_parcel(self, parcel: Parcel) -> float:
        assert parcel.vector is not None
        return float(parcel.vector.sum()) + sum(parcel.items)

    @motet.endpoint
    def of_couple(self, couple: Couple) -> int:
        return couple.left + couple.right

    @motet.batched
    def doubled(self, xs: list[int]) -> list[int]:
        return [2 * x for x in xs]

    @motet.endpoint
    def fail(self, x: int) -> int:
        raise KeyError("no", x)


class Forwarder(motet.Service):
    """Passes results on by reference in every way there is."""

    def __init__(self, sums: Sums, mutator: Mutator) -> None:
        self.sums = sums
        self.mutator = mutator

    @motet.endpoint
    async def chain(self, x: int, length: int) -> int:
        call = self.sums.increment(x)
        for _ in range(length - 1):
            call = self.sums.increment(call.ref)
        return await call

    @motet.endpoint
    async def array(self, n: int) -> float:
        return await self.sums.total(self.mutator.ones(n).ref)

    @motet.endpoint
    def array_from_sync(self, n: int) -> float:
        return self.sums.total(self.mutator.ones(n).ref).result()

    @motet.endpoint
    async def in_list(self, x: int) -> int:
        return await self.sums.of_list([self.sums.increment(x).ref, x, self.sums.increment(x).ref])

    @motet.endpoint
    async def in_dict(self, x: int) -> int:
        return await self.sums.of_dict({"a": [self.sums.increment(x).ref], "b": [x]})

    @motet.endpoint
    async def in_tuple(self, x: int) -> int:
        return await self.sums.of_tuple((self.sums.increment(x).ref, x))

    @motet.endpoint
    async def in_model(self, n: int) -> float:
        vector = self.mutator.ones(n)
        return await self.sums.of_parcel(Parcel(label="l", items=[self.sums.increment(1).ref], vector=vector.ref))

    @motet.endpoint
    async def in_dataclass(self, x: int) -> int:
        return await self.sums.of_couple(Couple(self.sums.increment(x).ref, x))

    @motet.endpoint
    async def look_at_ref(self, n: int) -> int:
        return len(self.mutator.ones(n).ref.shape)

    @motet.endpoint
    async def by_keyword(self, x: int) -> int:
        return await self.sums.add(second=self.sums.increment(x).ref, first=x)

    @motet.endpoint
    async def twice(self, x: int) -> int:
        call = self.sums.increment(x)
        total = await self.sums.add(call.ref, call.ref)
        return total + await call

    @motet.endpoint
    async def of_ended_call(self, x: int) -> int:
        call = self.sums.increment(x)
        await call
        return await self.sums.increment(call.ref)

    @motet.endpoint
    async def to_batched(self, x: int) -> list[int]:
        return await asyncio.gather(*[self.sums.doubled(self.sums.increment(x + i).ref) for i in range(3)])

    @motet.endpoint
    async def failing(self, x: int) -> int:
        return await self.sums.increment(self.sums.fail(x).ref)

    @motet.endpoint
    async def failing_chain(self, x: int) -> int:
        call = self.sums.fail(x)
        for _ in range(3):
            call = self.sums.increment(call.ref)
        return await call

    @motet.endpoint
    async def wrong_type(self, x: int) -> int:
        return await self.sums.of_list(self.sums.increment(x).ref)  # an int for a list

    @motet.endpoint
    async def as_result(self, x: int) -> int:
        """Return a ref: the value is the answer."""
        return self.sums.increment(x).ref

    @motet.endpoint
    async def bare_call(self, x: int) -> int:
        return await self.sums.increment(self.sums.increment(x))

    @motet.endpoint
    async def bare_call_in_list(self, x: int) -> int:
        return await self.sums.of_list([self.sums.increment(x)])

    @motet.endpoint
    async def keep_ref(self, x: int) -> int:
        call = self.sums.increment(x)
        self.kept = call.ref
        return await call

    @motet.endpoint
    async def use_kept_ref(self) -> int:
        return await self.sums.increment(self.kept)

    @motet.endpoint
    async def change_after_call(self, n: int) -> list[float]:
        """Change arguments right after each call was made."""
        items, vector, tensor = [1, 2], np.ones(n), torch.ones(n)
        parcel = Parcel(label="l", items=[1], vector=vector)
        calls = [self.sums.of_list(items), self.sums.total(vector), self.sums.of_parcel(parcel)]
        changed = self.mutator.add_in_place(tensor)
        items.append(100)
        vector[:] = 100
        tensor[:] = 100
        parcel.items.append(100)
        return [*[float(value) for value in await asyncio.gather(*calls)], float((await changed).sum())]


class Lazy(motet.Service):
    """Produces a value once its gate opens, and says when it has begun."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    @motet.endpoint
    async def value(self, x: int) -> int:
        self.gate.reached()
        await self.gate.wait()
        return x


class Taker(motet.Service):
    """Says when it has begun."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    @motet.endpoint
    def take(self, x: int) -> int:
        self.gate.reached()
        return x

    @motet.endpoint
    def other(self, x: int) -> int:
        return x


class LazyForwarder(motet.Service):
    """Forwards a value that isn't there yet."""

    def __init__(self, lazy: Lazy, taker: Taker) -> None:
        self.lazy = lazy
        self.taker = taker

    @motet.endpoint
    async def forward(self, x: int) -> int:
        return await self.taker.take(self.lazy.value(x).ref)
