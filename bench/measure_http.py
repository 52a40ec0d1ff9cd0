"""HTTP: a model of five fields echoed through the gateway and one replica, by wrk, beside a bare echo."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from figures import Effort, Figure, Goal, Table
from processes import first_answer, free_port, motet_serve, raw_http, server

BODY = json.dumps({"name": "a red bicycle", "count": 3, "price": 129.5, "tags": ["used", "fast"], "active": True}).encode()
WIDTHS = (1, 32)  # connections
SCALE = {"us": 1, "ms": 1e3, "s": 1e6}  # µs


class Load(NamedTuple):
    """What wrk saw: requests a second, and latencies in µs."""

    rate: float
    p50: float
    p99: float


def missing() -> str | None:
    """Return why this can't be measured here, or None."""
    if shutil.which("wrk") is None:
        return "wrk isn't installed (on Debian and Ubuntu: apt-get install wrk)"
    return None


def measure(effort: Effort) -> Table:
    """Measure in rounds, each of which has both servers under both loads."""
    rounds, seconds = effort.pick(7, 3), effort.pick(3, 1)
    ports = {"motet": free_port(), "raw": free_port()}
    loads: dict[tuple[str, int], list[Load]] = {(name, width): [] for name in ports for width in WIDTHS}
    with tempfile.TemporaryDirectory() as folder, server(motet_serve("echo", ports["motet"])), server(raw_http(ports["raw"])):
        script = Path(folder) / "post.lua"
        script.write_text(f"wrk.method = 'POST'\nwrk.body = [[{BODY.decode()}]]\nwrk.headers['content-type'] = 'application/json'\n")
        for port in ports.values():
            first_answer(port, "/echo", BODY)
            _wrk(port, 32, 1, script)  # warms up
        for _ in range(rounds):
            for width in WIDTHS:
                for name, port in ports.items():
                    loads[name, width].append(_wrk(port, width, seconds, script))
    figures: list[Figure] = []
    for width in WIDTHS:
        motet, raw = loads["motet", width], loads["raw", width]
        where = f"{width} connection{'s' if width > 1 else ''}"
        figures += [
            Figure(
                what=where,
                unit="req/s",
                values=[x.rate for x in motet],
                peers=[x.rate for x in raw],
                goal=Goal(0.4, "at least", "ratio") if width > 1 else None,
            ),
            Figure(
                what=f"{where}, p50",
                unit="µs",
                values=[x.p50 for x in motet],
                peers=[x.p50 for x in raw],
                goal=Goal(2, "at most", "ratio") if width == 1 else None,
            ),
            Figure(what=f"{where}, p99", unit="µs", values=[x.p99 for x in motet], peers=[x.p99 for x in raw]),
        ]
    return Table(name="http", peer="bare echo", figures=figures)


def _wrk(port: int, connections: int, seconds: int, script: Path) -> Load:
    url = f"http://127.0.0.1:{port}/echo"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    percentiles = {p: float(value) * SCALE[unit] for p, value, unit in re.findall(r"(\d+)%\s+([\d.]+)(us|ms|s)\n", text)}
    if rate is None:
        raise RuntimeError(text)
    return Load(rate=float(rate[1]), p50=percentiles["50"], p99=percentiles["99"])
