"""Processes beside the benchmark: peers that are asked line by line, servers, and what /proc says of them."""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
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
def server(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run a server that SIGTERM stops; gives its process id."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def motet_serve(target: str, port: int, file: str = "apps.py") -> list[str]:
    """Return the command that serves something of a file here."""
    return [str(Path(sys.executable).parent / "motet"), "serve", f"{HERE / file}:{target}", "--port", str(port)]


def raw_http(port: int) -> list[str]:
    """Return the command that serves the bare echo."""
    return [sys.executable, str(HERE / "raw_http.py"), str(port)]


def free_port() -> int:
    """Return a port that nothing listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]


def first_answer(port: int, path: str, body: bytes, patience: float = PATIENCE) -> float:
    """Ask until there is an answer, for `patience` seconds; returns the seconds that it took.

    Raises:
        TimeoutError: there was none.
    """
    begun = time.perf_counter()
    while time.perf_counter() - begun < patience:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
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
    message = f"nothing answered POST {path} on port {port} within {patience:g} s"
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


class Served(NamedTuple):
    """The processes of a `motet serve`."""

    supervisor: int
    gateways: Sequence[int]
    replicas: Sequence[int]
    ready: Sequence[int]

    @property
    def all(self) -> list[int]:
        """All that take part in requests."""
        return [*self.gateways, *self.replicas]


def served(supervisor: int) -> Served:
    """Return the processes of a `motet serve` that has started."""
    command = [str(Path(sys.executable).parent / "motet"), "ps", "--json"]
    listing = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    (found,) = (entry for entry in listing if entry["pid"] == supervisor)
    replicas = [replica for app in found["apps"] for node in app["nodes"] for replica in node["replicas"]]
    ready = [replica["pid"] for replica in replicas if replica["state"] == "ready"]
    return Served(supervisor, found["gateways"], [replica["pid"] for replica in replicas], ready)


def processor_time(pids: Sequence[int]) -> float:
    """Return the seconds for which processes have run on a processor, with all their threads."""
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def session_of(pid: int) -> list[int]:
    """Return the processes of the session that a process leads or led, except those that have ended."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
            if int(session) == pid and state != "Z":
                found.append(int(path.parent.name))
    return found


def children_of(pid: int) -> list[int]:
    """Return the processes that a process started, or has taken over."""
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


def pin(pids: Sequence[int], cores: Sequence[int | Sequence[int]]) -> None:
    """Let each process, with all its threads, run on one core only, or on some."""
    for pid, allowed in zip(pids, cores, strict=True):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {allowed} if isinstance(allowed, int) else allowed)


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    model = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": model[0] if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "system": f"Linux {platform.release()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Return the versions of Motet, of what its speed rests on, and of wrk."""
    found = {name: importlib.metadata.version(name) for name in ("motet", "uvloop", "httptools", "msgspec", "pydantic", "numpy")}
    if shutil.which("wrk"):
        told = subprocess.run(["wrk", "-v"], check=False, capture_output=True, text=True)  # its exit code is 1
        found["wrk"] = (told.stdout + told.stderr).split()[1]
    return found
