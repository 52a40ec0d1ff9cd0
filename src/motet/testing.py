"""Gates for tests of services: they make concurrent code stop and go where a test says, in any process, without sleeping."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import shutil
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE = 30.0  # s; only a broken program waits this long
_READ_SIZE = 4096  # bytes


class GateTimeout(Exception):
    """Something that a test waits for didn't happen."""


class Gate:
    """A point in a service's code at which a test can see it arrive and hold it.

    The test makes the gate and binds it to a service as a constructor argument. The service says `gate.reached()` and then
    `await gate.wait()` (or `gate.wait_sync()` in a plain `def`); the test says `await gate.until_reached(n)`, looks around,
    and lets everybody through with `gate.open()`. It works between processes: a gate is two named pipes in a temporary
    folder, and a copy that arrives in another process opens them there.

    Args:
        name: for messages.
    """

    def __init__(self, name: str = "gate") -> None:
        self.name = name
        self._folder = Path(tempfile.mkdtemp(prefix="gate-"))
        self._count = 0
        os.mkfifo(self._reached_path, 0o600)
        os.mkfifo(self._opened_path, 0o600)
        # Both ends, so that neither opening nor writing ever blocks, and what is written stays.
        self._reached_end: int | None = os.open(self._reached_path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._opened_end: int | None = os.open(self._opened_path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    @property
    def _reached_path(self) -> Path:
        return self._folder / "reached"

    @property
    def _opened_path(self) -> Path:
        return self._folder / "opened"

    # -- in the service --------------------------------------------------------------------------------------------

    def reached(self) -> None:
        """Tell the test that this point was reached, once more."""
        with contextlib.suppress(FileNotFoundError):  # the test is over
            end = os.open(self._reached_path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(end, b"x")
            finally:
                os.close(end)

    async def wait(self, *, timeout: float = PATIENCE) -> None:  # noqa: ASYNC109  # fails in its own words
        """Wait until the test opens the gate.

        Raises:
            GateTimeout: it was not opened within `timeout` seconds.
        """
        with self._opened_reader() as end:
            if end is not None:
                await _until_readable(end, timeout, f"nobody opened {self.name}")

    def wait_sync(self, *, timeout: float = PATIENCE) -> None:
        """Wait until the test opens the gate, blocking the thread.

        Raises:
            GateTimeout: it was not opened within `timeout` seconds.
        """
        with self._opened_reader() as end:
            if end is not None and not select.select([end], [], [], timeout)[0]:
                raise GateTimeout(f"nobody opened {self.name} within {timeout:g} s")

    @contextlib.contextmanager
    def _opened_reader(self) -> Generator[int | None]:
        try:
            end = os.open(self._opened_path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:  # the test is over: nothing is held any more
            yield None
            return
        try:
            yield end
        finally:
            os.close(end)

    # -- in the test -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Let everybody through who waits or will wait."""
        os.write(self._own(self._opened_end), b"x")

    def count(self) -> int:
        """Return how often the gate has been reached so far."""
        end = self._own(self._reached_end)
        with contextlib.suppress(BlockingIOError):
            while data := os.read(end, _READ_SIZE):
                self._count += len(data)
        return self._count

    async def until_reached(self, times: int = 1, *, timeout: float = PATIENCE) -> None:  # noqa: ASYNC109  # fails in its own words
        """Wait until the gate has been reached so often, counted from its making.

        Raises:
            GateTimeout: that didn't happen within `timeout` seconds.
        """
        end = self._own(self._reached_end)
        deadline = time.monotonic() + timeout
        while self.count() < times:
            await _until_readable(end, deadline - time.monotonic(), f"{self.name} was reached {self._count} times, not {times},")

    def until_reached_sync(self, times: int = 1, *, timeout: float = PATIENCE) -> None:
        """Wait as `until_reached` does, blocking the thread.

        Raises:
            GateTimeout: that didn't happen within `timeout` seconds.
        """
        end = self._own(self._reached_end)
        deadline = time.monotonic() + timeout
        while self.count() < times:
            if not select.select([end], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise GateTimeout(f"{self.name} was reached {self._count} times, not {times}, within {timeout:g} s")

    def close(self) -> None:
        """Open the gate for good and remove its pipes; only the process that made it does that."""
        for end in (self._opened_end, self._reached_end):
            if end is not None:
                with contextlib.suppress(BlockingIOError):
                    os.write(end, b"x")
                os.close(end)
        self._opened_end = self._reached_end = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _own(self, end: int | None) -> int:
        if end is None:
            raise GateTimeout(f"{self.name} can be opened and watched only where it was made, and until it is closed")
        return end

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the gate."""
        self.close()

    def __getstate__(self) -> dict[str, object]:
        """Travel as the name and the folder; the pipes' ends stay with the maker."""
        return {"name": self.name, "_folder": self._folder, "_count": 0, "_reached_end": None, "_opened_end": None}

    def __repr__(self) -> str:
        """Return the name."""
        return f"<Gate {self.name}>"


async def _until_readable(end: int, timeout: float, what: str) -> None:  # noqa: ASYNC109  # fails in its own words
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(end, readable.set)
    try:
        async with asyncio.timeout(max(0.0, timeout)):
            await readable.wait()
    except TimeoutError:
        raise GateTimeout(f"{what} within {timeout:g} s") from None
    finally:
        loop.remove_reader(end)
