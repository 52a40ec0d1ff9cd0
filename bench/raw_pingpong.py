"""The bare peer of a hop: two processes, a uvloop protocol in each, messages with length and number over a Unix socket.

It takes requests on standard input: `one CALLS` is answered with the median seconds of a round trip, `many CALLS WIDTH` with
round trips a second while WIDTH are under way. Each message is cut out and answered by itself; the answers to messages that
came together leave in one write.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from struct import Struct
from typing import cast

import uvloop

PREFIX = Struct("<II")  # length of the rest, number


class End(asyncio.Protocol):
    """An end of the connection: cuts messages and sends one for each.

    Args:
        size: bytes of a message that it sends.
    """

    transport: asyncio.Transport

    def __init__(self, size: int) -> None:
        self.length = size - 4
        self.padding = bytes(size - PREFIX.size)
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def message(self, number: int) -> bytes:
        """Return a message."""
        return PREFIX.pack(self.length, number) + self.padding

    def data_received(self, data: bytes) -> None:
        """Take messages."""
        data = self.rest + data if self.rest else data
        start, end = 0, len(data)
        out: list[bytes] = []
        while end - start >= PREFIX.size:
            length, number = PREFIX.unpack_from(data, start)
            if start + 4 + length > end:
                break
            start += 4 + length
            if (answer := self.handle(number)) is not None:
                out.append(answer)
        self.rest = data[start:]
        if out:
            self.transport.write(b"".join(out))

    def handle(self, number: int) -> bytes | None:
        """Return what answers a message; the server's end answers all."""
        return self.message(number)


class Caller(End):
    """The end that sends the first messages, and the next one for each answer."""

    async def run(self, calls: int, width: int) -> float:
        """Return the seconds that it took; `times` are those of the calls in order, if `width` is 1."""
        self.done = asyncio.get_running_loop().create_future()
        self.missing, self.sent, self.calls = calls, width, calls
        self.times: list[float] = []
        begun = self.last = time.perf_counter()
        self.transport.write(b"".join(self.message(number) for number in range(width)))
        await self.done
        return time.perf_counter() - begun

    def handle(self, number: int) -> bytes | None:  # noqa: ARG002
        """Count an answer; returns the next call, if there is one."""
        now = time.perf_counter()
        self.times.append(now - self.last)
        self.last = now
        self.missing -= 1
        if self.missing == 0:
            self.done.set_result(None)
        if self.sent == self.calls:
            return None
        self.sent += 1
        return self.message(self.sent)


def other_process(path: str, answer: int) -> None:
    """Answer calls."""

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_unix_server(lambda: End(answer), path)
        await server.serve_forever()

    uvloop.run(serve())


async def main(path: str, request: int) -> None:
    """Do as standard input says."""
    loop = asyncio.get_running_loop()
    _, caller = await loop.create_unix_connection(lambda: Caller(request), path)
    while words := (await loop.run_in_executor(None, sys.stdin.readline)).split():
        calls = int(words[1])
        took = await caller.run(calls, 1 if words[0] == "one" else int(words[2]))
        print(json.dumps(sorted(caller.times)[calls // 2] if words[0] == "one" else calls / took), flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "socket"
        other = multiprocessing.get_context("spawn").Process(target=other_process, args=(str(place), int(sys.argv[2])), daemon=True)
        other.start()
        while not place.exists():
            time.sleep(0.001)
        uvloop.run(main(str(place), int(sys.argv[1])))
        other.kill()
