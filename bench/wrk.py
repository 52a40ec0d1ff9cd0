"""wrk, the HTTP client that costs least: requests with a body, and what it saw."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

BODY = json.dumps({"name": "a red bicycle", "count": 3, "price": 129.5, "tags": ["used", "fast"], "active": True}).encode()
JSON = {"content-type": "application/json"}
LUA = [chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\{byte:03d}" for byte in range(256)]  # bytes in a Lua string
SCALE = {"us": 1, "ms": 1e3, "s": 1e6}  # µs


class Load(NamedTuple):
    """What wrk saw: requests, how many of them a second, and latencies in µs."""

    requests: int
    rate: float
    p50: float
    p99: float


def load(
    port: int,
    path: str,
    body: bytes,
    *,
    connections: int,
    seconds: int,
    cores: Sequence[int] = (),
    headers: Mapping[str, str] = JSON,
) -> Load:
    """Send requests as fast as they are answered.

    Args:
        port: of the server on this machine.
        path: of the endpoint.
        body: of each request.
        connections: at once, with one request on each.
        seconds: that it takes.
        cores: on which wrk runs; all if there are none.
        headers: of each request.

    Raises:
        RuntimeError: a request failed.
        SystemExit: wrk isn't installed.
    """
    if shutil.which("wrk") is None:
        message = "wrk isn't installed (on Debian and Ubuntu: apt-get install wrk)"
        raise SystemExit(message)
    pin: Callable[[], None] | None = (lambda: os.sched_setaffinity(0, cores)) if cores else None
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "post.lua"
        fields = "".join(f"wrk.headers['{name}'] = '{value}'\n" for name, value in headers.items())
        script.write_text(f"wrk.method = 'POST'\nwrk.body = '{''.join(map(LUA.__getitem__, body))}'\n{fields}")
        url = f"http://127.0.0.1:{port}{path}"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url]
        text = subprocess.run(command, check=True, capture_output=True, text=True, preexec_fn=pin).stdout  # one thread
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(text)
    requests, rate = re.search(r"(\d+) requests in", text), re.search(r"Requests/sec:\s+([\d.]+)", text)
    percentiles = {p: float(value) * SCALE[unit] for p, value, unit in re.findall(r"(\d+)%\s+([\d.]+)(us|ms|s)\n", text)}
    if requests is None or rate is None:
        raise RuntimeError(text)
    return Load(requests=int(requests[1]), rate=float(rate[1]), p50=percentiles["50"], p99=percentiles["99"])
