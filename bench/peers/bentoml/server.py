"""BentoML: replicas are the workers of a service; access logs, metrics and traces are off."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import bentoml
from task import BATCH, Count, Item, infer, lines, order

QUIET = {"logging": {"access": {"enabled": False}}, "metrics": {"enabled": False}}
WORKERS = int(os.environ.get("WORKERS", "1"))


@bentoml.service(workers=WORKERS, **QUIET)
class Echo:
    """Answers what it is asked."""

    @bentoml.api
    async def echo(self, item: Item, /) -> Item:
        """Return the item."""
        return item


@bentoml.service(workers=WORKERS, **QUIET)
class Model:
    """Takes as long as a model does."""

    @bentoml.api(batchable=True, max_batch_size=BATCH)
    def infer(self, values: list[int]) -> list[int]:
        """Return the items."""
        return infer(values)


@bentoml.service(workers=WORKERS, **QUIET)
class Counter:
    """Streams lines."""

    @bentoml.api
    async def count(self, count: Count, /) -> AsyncIterator[str]:
        """Count."""
        for line in lines(count.items):
            yield line.decode()


if __name__ == "__main__":
    task, port, replicas = order()
    service = {"echo": "Echo", "batch": "Model", "stream": "Counter"}[task]
    os.environ.update(WORKERS=str(replicas), BENTOML_DO_NOT_TRACK="True")
    program = str(Path(sys.executable).parent / "bentoml")
    folder = str(Path(__file__).parent)
    os.execv(program, [program, "serve", f"server:{service}", "--working-dir", folder, "--host", "127.0.0.1", "--port", str(port), "-q"])
