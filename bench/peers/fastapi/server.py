"""FastAPI on uvicorn, with uvloop and httptools; replicas are uvicorn's workers. It doesn't batch."""

from __future__ import annotations

from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from task import Count, Item, lines, order

app = FastAPI()


@app.post("/echo")
async def echo(item: Item) -> Item:
    """Return the item."""
    return item


@app.post("/count")
async def count(count: Count) -> StreamingResponse:
    """Stream lines."""

    async def pieces() -> AsyncIterator[bytes]:
        for line in lines(count.items):
            yield line

    return StreamingResponse(pieces(), media_type="application/octet-stream")


if __name__ == "__main__":
    _, port, replicas = order()
    uvicorn.run("server:app", port=port, workers=replicas, loop="uvloop", http="httptools", access_log=False, log_level="warning")
