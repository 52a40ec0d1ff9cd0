"""Other frameworks at the same tasks: each in turn beside Motet, in the same rounds."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import apps
import measure_chain_peers
import peers
import wrk
from figures import Effort, Figure, Goal, Table
from http_streams import read
from peers import COUNT, ECHO, Route
from processes import children_of, first_answer, free_port, memory_of, motet_serve, raw_http, server, session_of

CLIENTS = 64  # of the batches
MANY = 32  # connections of the echo
FIVE_TIMES = Goal(5, "at least", "ratio")
LIMIT = apps.BATCH / (apps.FIXED + apps.EACH * apps.BATCH)  # items/s that the arithmetic allows


class Kind(NamedTuple):
    """What is measured of a task: its column, unit, goal, and how to measure it once."""

    what: str
    unit: str
    goal: Goal | None
    once: Callable[[int, Route], float]


def echo(effort: Effort) -> list[Table]:
    """Measure the typed echo at 32 connections and at one, the bare echo among the peers."""
    kinds = [
        Kind(f"{MANY} connections", "req/s", FIVE_TIMES, lambda port, route: _load(port, route, MANY).rate),
        Kind("1 connection, p50", "µs", None, lambda port, route: _load(port, route, 1).p50),
    ]
    return _beside("peers-echo", task="echo", target="echo", replicas=1, kinds=kinds, effort=effort, bare=True)


def replicas(effort: Effort) -> list[Table]:
    """Measure the typed echo with two replicas or workers of each."""
    kinds = [Kind(f"{MANY} connections", "req/s", None, lambda port, route: _load(port, route, MANY).rate)]
    return _beside("peers-replicas", task="echo", target="echo_twice", replicas=2, kinds=kinds, effort=effort)


def batches(effort: Effort) -> list[Table]:
    """Measure batches over HTTP."""
    kinds = [Kind(f"{CLIENTS} clients", "items/s", None, lambda port, route: _load(port, route, CLIENTS).rate)]
    tables: list[Table] = []
    for table in _beside("peers-batches", task="batch", target="model", replicas=1, kinds=kinds, effort=effort):
        ours = [value for figure in table.figures for value in figure.values]
        goal = Goal(0.95, "at least", "ratio")
        bound = Figure(what=f"bare arithmetic, {CLIENTS} clients", unit="items/s", values=ours, peers=[LIMIT] * len(ours), goal=goal)
        tables.append(Table(name=table.name, peer=table.peer, figures=[bound, *table.figures]))
    return tables


def streams(effort: Effort) -> list[Table]:
    """Measure one stream of small pieces."""
    items = effort.pick(20_000, 10_000)

    def once(port: int, route: Route) -> float:
        return read(port, route.path, items)

    kinds = [Kind("one stream", "items/s", None, once)]
    return _beside("peers-streams", task="stream", target="counting", replicas=1, kinds=kinds, effort=effort)


def chain(effort: Effort) -> list[Table]:
    """Measure a chain of three services with a large array."""
    return measure_chain_peers.measure(effort)


def starting(effort: Effort) -> list[Table]:
    """Measure the time from a command to the first answer, and the memory of all processes then, with one replica."""
    figures: dict[str, list[Figure]] = {"s": [], "MB": []}
    for peer in peers.chosen("echo"):
        ours: list[tuple[float, float]] = []
        theirs: list[tuple[float, float]] = []
        try:
            for _ in range(effort.pick(2, 1)):
                begun, port = time.perf_counter(), free_port()
                with server(motet_serve("echo", port)) as supervisor:
                    first_answer(port, ECHO.path, ECHO.body)
                    ours.append((time.perf_counter() - begun, _memory([supervisor, *children_of(supervisor)])))
                begun = time.perf_counter()
                with peers.server(peer, "echo", 1) as other:
                    theirs.append((time.perf_counter() - begun, _memory(session_of(other.session))))
        except TimeoutError as e:
            print(f"{peer.title} is left out: {e}", *getattr(e, "__notes__", ()), sep="\n", file=sys.stderr)
            continue
        for i, (unit, what) in enumerate((("s", "to the first answer"), ("MB", "memory of all processes"))):
            values, others = [one[i] for one in ours], [one[i] for one in theirs]
            figures[unit].append(Figure(what=f"{peer.title}, {what}", unit=unit, values=values, peers=others))
    return [Table(name="peers-starting", peer="the other", figures=[*figures["s"], *figures["MB"]])]


def _memory(pids: Sequence[int]) -> float:
    """Return the memory of processes in MB, with what they share counted once."""
    return sum(memory_of(pid).proportional for pid in pids)


def _beside(name: str, *, task: str, target: str, replicas: int, kinds: list[Kind], effort: Effort, bare: bool = False) -> list[Table]:
    if not peers.chosen(task):
        return []
    figures: dict[str, list[Figure]] = {kind.what: [] for kind in kinds}
    ours = {"echo": ECHO, "batch": Route(path="/infer", body=b'{"items": 7}'), "stream": Route(path="/lines", body=COUNT.body)}[task]
    port = free_port()
    with server(motet_serve(target, port)):
        first_answer(port, ours.path, ours.body)
        others: list[tuple[str, Route, contextlib.AbstractContextManager[peers.Serving]]] = [
            (peer.title, peer.tasks[task], peers.server(peer, task, replicas)) for peer in peers.chosen(task)
        ]
        if bare:
            others.insert(0, ("bare echo", ECHO, _bare()))
        for title, route, starting in others:
            try:
                with starting as other:
                    found = _rounds(kinds, (port, ours), (other.port, route), effort.pick(5, 2))
            except (TimeoutError, RuntimeError) as e:  # the others are worth measuring all the same
                print(f"{title} is left out of {name}: {e}", *getattr(e, "__notes__", ()), sep="\n", file=sys.stderr)
                continue
            for kind in kinds:
                goal = None if title.startswith("bare") else kind.goal
                values, theirs = found[kind.what]
                figures[kind.what].append(Figure(what=f"{title}, {kind.what}", unit=kind.unit, values=values, peers=theirs, goal=goal))
    return [Table(name=name, peer="the other", figures=[figure for found in figures.values() for figure in found])]


def _rounds(
    kinds: list[Kind], ours: tuple[int, Route], other: tuple[int, Route], rounds: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Measure both in turn; returns the values of both for each kind."""
    found: dict[str, tuple[list[float], list[float]]] = {kind.what: ([], []) for kind in kinds}
    for n in range(rounds + 1):
        for kind in kinds:
            for values, (port, route) in zip(found[kind.what], (ours, other), strict=True):
                value = kind.once(port, route)
                if n:  # the first round warms up
                    values.append(value)
    return found


@contextlib.contextmanager
def _bare() -> Iterator[peers.Serving]:
    port = free_port()
    with server(raw_http(port)) as pid:
        first_answer(port, ECHO.path, ECHO.body)
        yield peers.Serving(port, pid)


def _load(port: int, route: Route, connections: int) -> wrk.Load:
    return wrk.load(port, route.path, route.body, connections=connections, seconds=1)
