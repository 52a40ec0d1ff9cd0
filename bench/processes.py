"""Processes beside the benchmark: peers that are asked line by line, servers, and what /proc says of them."""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

HERE = Path(__file__).parent
PATIENCE = 20.0  # s that a server may take to answer


class Peer:
    """A program of this folder that answers each line of words with a line of JSON."""

    def __init__(self, script: str, *arguments: object) -> None:
        command = [sys.executable, str(HERE / script), *map(str, arguments)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words: object) -> float:
        """Return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(*words, file=self._process.stdin, flush=True)
        return float(json.loads(self._process.stdout.readline()))

    @property
    def pids(self) -> tuple[int, int]:
        """Its process ids: its own, and that of the other process that it started last."""
        return self._process.pid, max(children_of(self._process.pid))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextlib.contextmanager
def server(command: Sequence[str]) -> Iterator[None]:
    """Run a server that SIGTERM stops."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def motet_serve(target: str, port: int) -> list[str]:
    """Return the command that serves something of `apps.py`."""
    return [str(Path(sys.executable).parent / "motet"), "serve", f"{HERE / 'apps.py'}:{target}", "--port", str(port)]


def raw_http(port: int) -> list[str]:
    """Return the command that serves the bare echo."""
    return [sys.executable, str(HERE / "raw_http.py"), str(port)]


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def first_answer(port: int, path: str, body: bytes) -> float:
    """Ask until there is an answer; returns the seconds that it took.

    Raises:
        TimeoutError: there was none.
    """
    begun = time.perf_counter()
    while time.perf_counter() - begun < PATIENCE:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            connection.request("POST", path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            if answer.status == http.HTTPStatus.OK:
                answer.read()
                return time.perf_counter() - begun
        except ConnectionError:
            pass
        finally:
            connection.close()
        time.sleep(0.001)  # leaves the processor to the server that is awaited
    message = f"nothing answered POST {path} on port {port} within {PATIENCE:g} s"
    raise TimeoutError(message)


class Memory(NamedTuple):
    """Memory of a process in MB: its own, and its own with its share of what it shares."""

    private: float
    proportional: float


def memory_of(pid: int) -> Memory:
    """Return the memory of a process."""
    fields: dict[str, float] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, value, _ = line.split()
        fields[name.rstrip(":")] = int(value) * 1024 / 1e6
    return Memory(private=fields["Private_Clean"] + fields["Private_Dirty"], proportional=fields["Pss"])


def children_of(pid: int) -> list[int]:
    """Return the processes that a process started, or has taken over."""
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


def pin(pids: Sequence[int], cores: Sequence[int]) -> None:
    """Let each process, with all its threads, run on one core only."""
    for pid, core in zip(pids, cores, strict=True):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    model = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    packages = ("motet", "uvloop", "httptools", "msgspec", "pydantic", "numpy")
    return {
        "cpu": model[0] if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "system": f"Linux {platform.release()}",
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }
