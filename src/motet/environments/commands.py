"""Running the commands that make an environment: what they say, how long they take, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from motet.requirements import redacted

WARDEN = Path(__file__).with_name("warden.py")
TELL_EVERY = 5.0  # s
KEPT = 400  # lines of a command's output
MAX_LINE = 100  # characters of an installer's line that are shown while it runs
STREAM_LIMIT = 2**20  # bytes of one line

# What pip says of packages that stay where they are, and of indexes that don't have one.
_UNINTERESTING = re.compile(r"\s*(Can't uninstall|Not uninstalling|Found existing|WARNING: Location)").match


@dataclass
class Progress:
    """Tells what is done for whom and how long it has been, every few seconds.

    Args:
        what: is made, and for whom.
        report: takes each line.
    """

    what: str
    report: Callable[[str], None]
    latest: str = ""
    begun: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.begun

    def tell(self, line: str) -> None:
        """Tell something at once."""
        self.report(f"{self.what}: {line}")

    @contextlib.asynccontextmanager
    async def telling(self) -> AsyncGenerator[None]:
        """Tell the latest line from time to time."""

        async def tell() -> None:
            while True:
                await asyncio.sleep(TELL_EVERY)
                self.tell(f"{self.seconds:.0f} s" + (f": {self.latest}" if self.latest else ""))

        teller = asyncio.create_task(tell())
        try:
            yield
        finally:
            teller.cancel()


class CommandFailed(Exception):
    """A command that makes an environment failed.

    Args:
        message: what couldn't be done.
        lines: the last that it wrote.
    """

    def __init__(self, message: str, lines: Sequence[str]) -> None:
        super().__init__(message)
        self.message = message
        self.lines = tuple(lines)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, with the last lines that it wrote."""

    code: int
    lines: tuple[str, ...]

    def check(self, message: str = "the packages can't be installed") -> None:
        """Raise `CommandFailed` if it failed."""
        if self.code != 0:
            raise CommandFailed(message, self.lines or (f"exit code {self.code}",))


async def run_command(command: Sequence[str | Path], *, folder: Path, variables: Mapping[str, str], progress: Progress) -> Ended:
    """Run a command in a process group that ends with this process, and with the task that waits for it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(WARDEN), str(os.getpid()), *map(str, command)),
        cwd=folder,
        env=dict(variables),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        limit=STREAM_LIMIT,
    )
    lines: deque[str] = deque(maxlen=KEPT)
    assert process.stdout is not None
    try:
        while line := await _next_line(process.stdout):
            text = redacted(line.decode(errors="replace").rstrip())
            if text.strip():
                lines.append(text)
                if not _UNINTERESTING(text):
                    progress.latest = text.strip()[:MAX_LINE]
        return Ended(await process.wait(), tuple(lines))
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)  # the warden kills and reaps all that the installer has started
            await process.wait()


async def _next_line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:  # longer than the limit; what was read of it is dropped
        return b"...\n"
