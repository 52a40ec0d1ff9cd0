"""Ray Serve, in its default mode, or in throughput mode where the environment says so; access logs are off. Its typed bodies are FastAPI's.

A replica asks for a tenth of a processor, so that all fit whatever the machine has. Annotations are no strings here, because
FastAPI wouldn't find what they name once Ray has sent the app to another process.
"""

import tempfile
import threading
from collections.abc import AsyncIterator

import ray
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from ray import serve
from task import BATCH, WAIT, Count, Item, Number, infer, lines, order

OBJECT_STORE = 1_500_000_000  # bytes
deployment = serve.deployment(ray_actor_options={"num_cpus": 0.1}, max_ongoing_requests=1000)
echoing, batching, streaming = FastAPI(), FastAPI(), FastAPI()


@deployment
@serve.ingress(echoing)
class Echo:
    """Answers what it is asked."""

    @echoing.post("/echo")
    async def echo(self, item: Item) -> Item:
        """Return the item."""
        return item


@deployment
@serve.ingress(batching)
class Model:
    """Takes as long as a model does."""

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT)
    async def batch(self, values: list[int]) -> list[int]:
        """Return the items."""
        return infer(values)

    @batching.post("/infer")
    async def infer(self, number: Number) -> int:
        """Return the item."""
        return await self.batch(number.value)


@deployment
@serve.ingress(streaming)
class Counter:
    """Streams lines."""

    @streaming.post("/count")
    async def count(self, count: Count) -> StreamingResponse:
        """Count."""

        async def pieces() -> AsyncIterator[bytes]:
            for line in lines(count.items):
                yield line

        return StreamingResponse(pieces(), media_type="application/octet-stream")


def start(port: int) -> None:
    """Start Ray and its HTTP front on this machine, apart from any other Ray; its files go to the folder for temporary ones."""
    ray.init(
        address="local",
        num_cpus=8,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE,
        log_to_driver=False,
        _temp_dir=tempfile.gettempdir(),
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"log_level": "ERROR", "enable_access_log": False})


if __name__ == "__main__":
    task, port, replicas = order()
    start(port)
    app = {"echo": Echo, "batch": Model, "stream": Counter}[task]
    serve.run(app.options(num_replicas=replicas).bind(), name="bench", route_prefix="/")
    threading.Event().wait()
