"""The program `motet` as a user runs it: in a process of its own, read line by line."""

import json
import os
import queue
import re
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx

from motet.testing import PATIENCE

MOTET = [sys.executable, "-m", "motet.cli"]


class Program:
    """Runs `motet` in a folder, with a runtime folder of its own.

    Args:
        folder: current folder of all commands.
        runtime: what `MOTET_RUNTIME_DIR` is set to.
    """

    def __init__(self, folder: Path, runtime: Path) -> None:
        self.folder = folder
        self.runtime = runtime
        unset = ("MOTET_API_KEY", "MOTET_TRACEBACK", "XDG_RUNTIME_DIR")
        self.environment = {name: value for name, value in os.environ.items() if name not in unset}
        self.environment["MOTET_RUNTIME_DIR"] = str(runtime)
        self.servers: list[Server] = []

    def write(self, name: str, text: str) -> Path:
        """Write a file into the folder."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def run(self, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        options.setdefault("stdin", subprocess.DEVNULL if "input" not in options else None)
        return subprocess.run(
            [*MOTET, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            **options,
        )

    def serve(self, *arguments: str, prefix: str = "") -> "Server":
        """Start `motet serve` on a free port; `prefix` is shell code that runs before it."""
        command = [*MOTET, "serve", *arguments, *([] if "--port" in arguments else ["--port", "0"])]
        if prefix:
            command = ["sh", "-c", f'{prefix}; exec "$@"', "sh", *command]
        server = Server(self, command)
        self.servers.append(server)
        return server

    def ps(self) -> list[dict]:
        """Return what `motet ps --json` says."""
        return json.loads(self.run("ps", "--json").stdout)

    def leftovers(self) -> list[str]:
        """Return what servers left in the runtime folder."""
        base = self.runtime / "motet"
        return sorted(str(path.relative_to(base)) for path in base.rglob("*")) if base.exists() else []

    def close(self) -> None:
        """Kill what still runs."""
        for server in self.servers:
            server.close()


class Server:
    """A process of `motet serve`."""

    def __init__(self, program: Program, command: list[str]) -> None:
        self.program = program
        self.lines: list[str] = []
        self._coming: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            command,
            cwd=program.folder,
            env=program.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._coming.put(line.rstrip("\n"))
        self._coming.put(None)

    @property
    def output(self) -> str:
        """Everything that it has printed and that has been waited for."""
        return "\n".join(self.lines)

    def until(self, text: str) -> str:
        """Wait until a new line holds a text, and return the line."""
        while True:
            try:
                line = self._coming.get(timeout=PATIENCE)
            except queue.Empty:
                raise AssertionError(f"no line with {text!r} came:\n{self.output}") from None
            assert line is not None, f"it ended before a line with {text!r}:\n{self.output}"
            self.lines.append(line)
            if text in line:
                return line

    def until_ready(self) -> "Server":
        """Wait until it serves."""
        self.until("Stop with Ctrl-C.")
        return self

    @property
    def url(self) -> str:
        """Where it serves, as it printed it."""
        return re.search(r"is served at (\S+)", self.output).group(1)

    def post(self, path: str, body: object = None, **options) -> httpx.Response:
        """Call an endpoint on a connection of its own."""
        return httpx.post(self.url + path, json=body if body is not None else {}, timeout=PATIENCE, trust_env=False, **options)

    def pids(self) -> dict[str, int]:
        """Return the process ids of the replicas by service, and of the gateway."""
        (server,) = [s for s in self.program.ps() if s["pid"] == self.process.pid]
        replicas = {node["name"]: r["pid"] for app in server["apps"] for node in app["nodes"] for r in node["replicas"]}
        (gateway,) = server["gateways"]
        return {**replicas, "gateway": gateway}

    def titles(self) -> dict[int, str]:
        """Return the titles of all processes that it has started, by process id."""
        return {pid: Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode() for pid in self.descendants().pids}

    def titled(self, words: str) -> int:
        """Return the process id of the one that has these words in its title."""
        (found,) = [pid for pid, title in self.titles().items() if words in title]
        return found

    def descendants(self) -> "Processes":
        """Return all processes that it has started: the stem, zygotes, the gateway, replicas."""
        return Processes([pid for pid, parent in _parents().items() if parent == self.process.pid])

    def type(self, *lines: str) -> None:
        """Write lines to its standard input."""
        self.process.stdin.write("".join(f"{line}\n" for line in lines))
        self.process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end and return the exit code."""
        code = self.process.wait(PATIENCE)
        while (line := self._coming.get(timeout=PATIENCE)) is not None:
            self.lines.append(line)
        return code

    def close(self) -> None:
        """Kill it, if it still runs; what it started ends with it."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()
        self.process.stdin.close()


class Processes:
    """Processes that aren't children of this one, held by descriptors, so that no other process can be taken for them."""

    def __init__(self, pids: list[int]) -> None:
        self.pids = pids
        self._ends = {os.pidfd_open(pid): pid for pid in pids}

    def until_ended(self, seconds: float) -> None:
        """Wait until all have ended."""
        for end, pid in self._ends.items():
            assert select.select([end], [], [], seconds)[0], f"{pid} still lives after {seconds} s"
            os.close(end)


def _parents() -> dict[int, int]:
    found: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if state[0] != "Z":
                found[int(folder.name)] = int(state[1])
    return found
