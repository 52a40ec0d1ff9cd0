"""Starting and memory: importing Motet, serving an app, and what each process holds."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

import apps
import motet
from figures import Effort, Figure, Goal, Table
from processes import Memory, children_of, first_answer, free_port, memory_of, motet_serve, raw_http, server
from wrk import BODY

RESIDENT = "print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmRSS')])"  # KiB


def starting(effort: Effort) -> Table:
    """Measure `import motet` against Python alone, and the time from a command to its first answer."""
    rounds = effort.pick(15, 5)
    bare: list[tuple[float, float]] = []
    imported: list[tuple[float, float]] = []
    _run_python("import motet")  # compiles
    for _ in range(rounds):
        bare.append(_run_python("pass"))
        imported.append(_run_python("import motet"))
    served: list[float] = []
    served_raw: list[float] = []
    for _ in range(effort.pick(7, 3)):
        served.append(_cold_start(motet_serve))
        served_raw.append(_cold_start(lambda _, port: raw_http(port)))
    return Table(
        name="starting",
        peer="bare",
        figures=[
            Figure(
                what="`import motet`, over bare Python",
                unit="ms",
                values=[1e3 * (i[0] - b[0]) for i, b in zip(imported, bare, strict=True)],
                goal=Goal(150, "at most", "figure"),
            ),
            Figure(
                what="its memory, over bare Python",
                unit="MB",
                values=[i[1] - b[1] for i, b in zip(imported, bare, strict=True)],
                goal=Goal(30, "at most", "figure"),
            ),
            Figure(
                what="`motet serve` to the first answer",
                unit="s",
                values=served,
                peers=served_raw,
                goal=Goal(1, "at most", "figure"),
            ),
        ],
    )


# As an installed package is: its modules are compiled once, not at each import.
_COMPILED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _run_python(code: str) -> tuple[float, float]:
    """Return the seconds that a run of Python took, and its memory at the end in MB."""
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", f"{code}; {RESIDENT}"], check=True, capture_output=True, text=True, env=_COMPILED)
    return time.perf_counter() - begun, int(done.stdout) * 1024 / 1e6


def _cold_start(command: object) -> float:
    port = free_port()
    assert callable(command)
    begun = time.perf_counter()
    with server(command("echo", port)):
        first_answer(port, "/echo", BODY)
        return time.perf_counter() - begun


def memory(effort: Effort) -> Table:
    """Measure the processes of an app that does nothing, with one replica and with several."""
    rounds, many = effort.pick(5, 2), 5
    found: dict[str, list[float]] = {"replica": [], "extra": [], "gateway": [], "supervisor": [], "zygote": []}
    for _ in range(rounds):
        one, several = _app(1), _app(many)
        found["replica"].append(statistics.median(m.private for m in several["replicas"]))
        found["extra"].append((_proportional(several) - _proportional(one)) / (many - 1))
        for name in ("gateway", "supervisor", "zygote"):
            found[name].append(sum(m.private for m in one[name]))
    return Table(
        name="memory",
        figures=[
            Figure(what="a replica, private", unit="MB", values=found["replica"], goal=Goal(20, "at most", "figure")),
            Figure(what="each further replica adds to all processes", unit="MB", values=found["extra"]),
            *(Figure(what=f"the {name}, private", unit="MB", values=found[name]) for name in ("gateway", "supervisor", "zygote")),
        ],
    )


def _app(replicas: int) -> dict[str, Sequence[Memory]]:
    """Return the memory of an app's processes, after each replica has answered calls."""
    with motet.run(apps.Callee.bind().options(replicas=replicas), engine="local", port=0) as callee:
        for call in [callee.in_loop(i) for i in range(100 * replicas)]:
            call.result()
        (server,) = motet.status().result()
        pids = [replica.pid for app in server.apps for node in app.nodes for replica in node.replicas]
        others = set(children_of(server.pid)) - {*pids, *server.gateways}
        return {
            "replicas": [memory_of(pid) for pid in pids],
            "gateway": [memory_of(pid) for pid in server.gateways],
            "supervisor": [memory_of(server.pid)],
            "zygote": [memory_of(pid) for pid in others],
        }


def _proportional(parts: dict[str, Sequence[Memory]]) -> float:
    return sum(m.proportional for part in parts.values() for m in part)
