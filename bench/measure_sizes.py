"""Cost with size: what starting, memory and a request cost with more replicas, services, endpoints and connections."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

import wrk
from figures import Curve, Effort, Growth
from processes import Served, children_of, first_answer, free_port, memory_of, motet_serve, processor_time, served, server
from wrk import BODY

WIDTH = 16  # connections that ask, where their number isn't what grows


class Cost(NamedTuple):
    """What was found at one size."""

    start: float  # s
    memory: float  # MB, of all processes
    processor: float  # µs of processor time a request, of gateway and replicas
    rate: float  # requests/s


CURVES = {
    "start": ("start to first answer", "s"),
    "memory": ("memory of all processes", "MB"),
    "processor": ("processor time", "µs/request"),
    "rate": (f"{WIDTH} connections", "req/s"),
}


def replicas(effort: Effort) -> Growth:
    """Measure an app of one service with more and more replicas."""
    return _growth("replicas", "replicas", "/same", [1, 2, 4, 8, 16], effort)


def services(effort: Effort) -> Growth:
    """Measure a root that calls one service among more and more of them."""
    return _growth("services", "services behind the root", "/same", [1, 5, 10, 20, 50], effort)


def endpoints(effort: Effort) -> Growth:
    """Measure one endpoint of a service with more and more of them."""
    return _growth("endpoints", "endpoints", "/e0", [1, 10, 50, 100, 500], effort)


def connections(effort: Effort) -> Growth:
    """Measure the echo with more and more connections, all of which ask."""
    rounds, sizes = effort.pick(5, 1), [1, 10, 100, 500, 1000, 2000]
    found: dict[str, dict[int, list[float]]] = {name: {size: [] for size in sizes} for name in ("processor", "memory", "rate")}
    port = free_port()
    with server(motet_serve("echo_wide", port)) as supervisor:
        first_answer(port, "/echo", BODY)
        wrk.load(port, "/echo", BODY, connections=32, seconds=1)  # warms up
        processes = served(supervisor)
        for _ in range(rounds):
            for size in sizes:
                before = processor_time(processes.all)
                memory: list[float] = []
                look = threading.Timer(0.8, lambda memory=memory: memory.append(_memory(processes)))
                look.start()
                load = wrk.load(port, "/echo", BODY, connections=size, seconds=1)
                look.join()
                found["processor"][size].append(1e6 * (processor_time(processes.all) - before) / load.requests)
                found["memory"][size].append(memory[0])
                found["rate"][size].append(load.rate)
    titles = {"processor": CURVES["processor"], "memory": CURVES["memory"], "rate": ("rate", "req/s")}
    curves = [Curve(what=what, unit=unit, points=found[name]) for name, (what, unit) in titles.items()]
    return Growth(name="connections", across="connections", curves=curves)


def _growth(target: str, across: str, path: str, sizes: Sequence[int], effort: Effort) -> Growth:
    rounds = effort.pick(3, 1)
    found: dict[int, list[Cost]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for size, costs in found.items():
            costs.append(_cost(target, path, size))
    return Growth(
        name=target,
        across=across,
        curves=[
            Curve(what=what, unit=unit, points={size: [getattr(cost, name) for cost in costs] for size, costs in found.items()})
            for name, (what, unit) in CURVES.items()
        ],
    )


def _cost(target: str, path: str, size: int) -> Cost:
    """Start an app of a size, and load it."""
    port, body = free_port(), b'{"x": 7}'
    begun = time.perf_counter()
    with server(motet_serve(target, port, "apps_sizes.py"), {**os.environ, "BENCH_COUNT": str(size)}) as supervisor:
        first_answer(port, path, body)
        start = time.perf_counter() - begun
        expected = size if target == "replicas" else 0
        while len((processes := served(supervisor)).ready) < expected:
            pass
        wrk.load(port, path, body, connections=WIDTH, seconds=1)  # warms up, and opens all links
        memory, before = _memory(processes), processor_time(processes.all)
        load = wrk.load(port, path, body, connections=WIDTH, seconds=1)
        processor = processor_time(processes.all) - before
    return Cost(start, memory, 1e6 * processor / load.requests, load.rate)


def _memory(processes: Served) -> float:
    """Return the memory of all processes of a server in MB, with what they share counted once."""
    pids = {processes.supervisor, *processes.all, *children_of(processes.supervisor)}
    return sum(memory_of(pid).proportional for pid in pids)
