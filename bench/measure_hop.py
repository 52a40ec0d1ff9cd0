"""A hop: one service calls another in a second process, beside a bare ping-pong with messages of the same size."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import apps
import motet
from figures import Effort, Figure, Goal, Table
from motet.wire import codec
from motet.wire.frames import CallMeta, FrameKind, encode_meta, pack
from processes import Peer, pin, processor_time

WIDTH = 64  # calls under way


def sizes() -> tuple[int, int]:
    """Return the bytes of a call and of its answer as Motet sends them."""
    meta = encode_meta(CallMeta("in_loop", 0, 59.5, "0123456789abcdef"))
    return len(pack(FrameKind.CALL, 1, meta, codec.encode([[7], {}]))), len(pack(FrameKind.RESULT, 1, b"", codec.encode(7)))


def measure(effort: Effort) -> list[Table]:
    """Measure with the two processes on a core each, and lone calls also with both on one.

    Left alone, the scheduler changes between the two by its own rules, and a lone call's time by a factor of three.
    """
    rounds, calls = effort.pick(15, 7), effort.pick(3000, 1000)
    cores = sorted(os.sched_getaffinity(0))
    apart, together = (cores[0], cores[-1]), (cores[-1], cores[-1])
    kinds = ("raw", "async", "sync")
    one: dict[tuple[str, tuple[int, int]], list[float]] = {(kind, place): [] for kind in kinds for place in (apart, together)}
    many: dict[str, list[float]] = {kind: [] for kind in kinds}
    costs: dict[str, list[float]] = {kind: [] for kind in kinds}  # µs of processor time a call
    with Peer("raw_pingpong.py", *sizes()) as raw, motet.run(apps.front, engine="local") as front:
        pids = _pids()
        for n in range(rounds + 1):
            if n == 1:  # the first round warmed up
                for values in (*one.values(), *many.values(), *costs.values()):
                    values.clear()
            for place in (apart, together):
                pin(raw.pids, place)
                pin(pids, place)
                one["raw", place].append(1e6 * raw.ask("one", calls))
                one["async", place].append(1e6 * front.one_at_a_time(calls, threads=False).result())
                one["sync", place].append(1e6 * front.one_at_a_time(calls, threads=True).result())
            pin(raw.pids, apart)
            pin(pids, apart)
            crowds: dict[str, tuple[int, Sequence[int], Callable[[int], float]]] = {
                "raw": (calls * 10, raw.pids, lambda count: raw.ask("many", count, WIDTH)),
                "async": (calls * 6, pids, lambda count: front.many_at_once(count, WIDTH, threads=False).result()),
                "sync": (calls * 2, pids, lambda count: front.many_at_once(count, WIDTH, threads=True).result()),
            }
            for kind, (count, processes, run) in crowds.items():
                before = processor_time(processes)
                many[kind].append(run(count))
                costs[kind].append(1e6 * (processor_time(processes) - before) / count)
    lone, lone_together, crowd = "one call at a time", "one call at a time, both on one core", f"{WIDTH} under way"
    at_most = Goal(1.8, "at most", "ratio")
    return [
        Table(
            name="hop",
            peer="bare ping-pong",
            figures=[
                Figure(what=lone, unit="µs", values=one["async", apart], peers=one["raw", apart], goal=at_most),
                Figure(what=lone_together, unit="µs", values=one["async", together], peers=one["raw", together], goal=at_most),
                Figure(what=crowd, unit="calls/s", values=many["async"], peers=many["raw"], goal=Goal(40_000, "at least", "figure")),
                Figure(what=f"{crowd}, processor time", unit="µs/call", values=costs["async"], peers=costs["raw"]),
            ],
        ),
        Table(
            name="threads",
            peer="async endpoint",
            figures=[
                Figure(what=lone, unit="µs", values=one["sync", apart], peers=one["async", apart], goal=Goal(2, "at most", "ratio")),
                Figure(what=lone_together, unit="µs", values=one["sync", together], peers=one["async", together]),
                Figure(what=crowd, unit="calls/s", values=many["sync"], peers=many["async"], goal=Goal(0.5, "at least", "ratio")),
                Figure(what=f"{crowd}, processor time", unit="µs/call", values=costs["sync"], peers=costs["async"]),
            ],
        ),
    ]


def _pids() -> list[int]:
    """Return the process ids of the caller and the callee."""
    (server,) = motet.status().result()
    by_service = {node.service: node.replicas[0].pid for app in server.apps for node in app.nodes}
    return [by_service[name] for name in ("Front", "Callee")]
