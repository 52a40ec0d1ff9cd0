"""Mosec, with msgspec for JSON: its fastest way to have typed bodies. It streams only server-sent events of another form."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import msgspec
from mosec import Server, Worker
from task import BATCH, WAIT, infer, order


class Item(msgspec.Struct):
    """The body of `POST /echo`, and its answer."""

    name: str
    count: int
    price: float
    tags: list[str]
    active: bool


class Number(msgspec.Struct):
    """The body of `POST /infer`."""

    value: int


class Echo(Worker):
    """Answers what it is asked."""

    def deserialize(self, data: bytes) -> Item:
        """Read the body."""
        return msgspec.json.decode(data, type=Item)

    def serialize(self, data: Item) -> bytes:
        """Write the answer."""
        return msgspec.json.encode(data)

    def forward(self, data: Item) -> Item:
        """Return the item."""
        return data


class Model(Worker):
    """Takes as long as a model does."""

    def deserialize(self, data: bytes) -> int:
        """Read the body."""
        return msgspec.json.decode(data, type=Number).value

    def serialize(self, data: int) -> bytes:
        """Write the answer."""
        return msgspec.json.encode(data)

    def forward(self, data: Sequence[int]) -> list[int]:
        """Return the items."""
        return infer(data)


if __name__ == "__main__":
    task, port, replicas = order()
    sys.argv = ["server", "--address", "127.0.0.1", "--port", str(port), "--timeout", "30000", "--log-level", "error"]
    server = Server()
    if task == "echo":
        server.append_worker(Echo, num=replicas, route="/echo")
    else:
        server.append_worker(Model, num=replicas, route="/infer", max_batch_size=BATCH, max_wait_time=round(1000 * WAIT))
    server.run()
