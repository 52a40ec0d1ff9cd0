"""The tasks that every peer serves: what goes in, what comes out, and what a batch takes."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel


class Item(BaseModel):
    """The body of `POST /echo`, and its answer."""

    name: str
    count: int
    price: float
    tags: list[str]
    active: bool


class Number(BaseModel):
    """The body of `POST /infer`; the answer is `value` alone, or in an object where the peer answers with objects."""

    value: int


class Count(BaseModel):
    """The body of `POST /count`: how many lines to stream."""

    items: int


class Order(NamedTuple):
    """What the command line asks of a server."""

    task: Literal["echo", "batch", "stream"]
    port: int
    replicas: int


BATCH, FIXED, EACH = 32, 0.005, 0.0001  # items, s, s: the same as in apps.py
WAIT = 0.005  # s that a batch may wait for more items


def infer(values: Sequence[int]) -> list[int]:
    """Take as long as a model does; returns the items."""
    time.sleep(FIXED + EACH * len(values))
    return list(values)


def lines(items: int) -> Iterator[bytes]:
    """Return the pieces of a stream."""
    return (b"%d\n" % i for i in range(items))


def order() -> Order:
    """Read the command line: TASK PORT REPLICAS."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["echo", "batch", "stream"])
    parser.add_argument("port", type=int)
    parser.add_argument("replicas", type=int)
    found = parser.parse_args()
    return Order(found.task, found.port, found.replicas)
