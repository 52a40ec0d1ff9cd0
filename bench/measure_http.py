"""HTTP: a model of five fields echoed through the gateway and a replica, by wrk, beside a bare echo."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import wrk
from figures import Effort, Figure, Goal, Table
from processes import first_answer, free_port, motet_serve, pin, processor_time, raw_http, served, server
from wrk import BODY, Load

MANY = 32  # connections


class Place(NamedTuple):
    """Where processes run: as the scheduler likes, or each on a core."""

    title: str
    wrk: Sequence[int]
    gateway: Sequence[int]
    replica: Sequence[int]


def places() -> list[Place]:
    """Return where to measure a lone connection.

    Left alone, the scheduler changes by its own rules between neighbours on one core and on two, and with it the time of a lone
    request: nothing has to wake up on another core where all are on one.
    """
    cores = sorted(os.sched_getaffinity(0))
    first, last = [cores[0]], [cores[-1]]
    return [
        Place("as it comes", cores, cores, cores),
        Place("neighbours on different cores", first, last, first),
        Place("all on one core", last, last, last),
    ]


def measure(effort: Effort) -> list[Table]:
    """Measure in rounds, each of which has both servers under each load, one replica and two."""
    rounds, seconds, lone_rounds = effort.pick(7, 3), effort.pick(2, 1), effort.pick(15, 3)
    ports = {"motet": free_port(), "raw": free_port(), "two": free_port()}
    spots = places()
    lone: dict[tuple[str, str], list[Load]] = {(name, place.title): [] for name in ("motet", "raw") for place in spots}
    many: dict[str, list[Load]] = {name: [] for name in ports}
    costs: dict[str, list[float]] = {name: [] for name in ports}  # µs of processor time a request
    with (
        server(motet_serve("echo", ports["motet"])) as motet,
        server(raw_http(ports["raw"])) as raw,
        server(motet_serve("echo_twice", ports["two"])) as two,
    ):
        for port in ports.values():
            first_answer(port, "/echo", BODY)
            wrk.load(port, "/echo", BODY, connections=MANY, seconds=1)  # warms up
        processes = served(motet)
        for _ in range(lone_rounds):
            for place in spots:
                for pid in processes.gateways:
                    pin([pid], [place.gateway])
                for pid in processes.replicas:
                    pin([pid], [place.replica])
                pin([raw], [place.gateway])
                for name in ("motet", "raw"):
                    load = wrk.load(ports[name], "/echo", BODY, connections=1, seconds=1, cores=place.wrk)
                    lone[name, place.title].append(load)
        pin([raw, *processes.all], [spots[0].wrk] * (1 + len(processes.all)))
        pids = {"motet": processes.all, "raw": [raw], "two": served(two).all}
        for _ in range(rounds):
            for name, port in ports.items():
                before = processor_time(pids[name])
                many[name].append(wrk.load(port, "/echo", BODY, connections=MANY, seconds=seconds))
                costs[name].append(1e6 * (processor_time(pids[name]) - before) / many[name][-1].requests)
    return [_table(spots, lone, many, costs), _replicas(many, costs)]


def _table(
    spots: Sequence[Place], lone: dict[tuple[str, str], list[Load]], many: dict[str, list[Load]], costs: dict[str, list[float]]
) -> Table:
    figures: list[Figure] = []
    for place in spots:
        ours, raw = lone["motet", place.title], lone["raw", place.title]
        figures.append(
            Figure(
                what=f"1 connection, p50, {place.title}",
                unit="µs",
                values=[x.p50 for x in ours],
                peers=[x.p50 for x in raw],
                goal=Goal(2, "at most", "ratio"),
            )
        )
    ours, raw = lone["motet", spots[0].title], lone["raw", spots[0].title]
    figures += [
        Figure(what="1 connection, p99", unit="µs", values=[x.p99 for x in ours], peers=[x.p99 for x in raw]),
        Figure(what="1 connection", unit="req/s", values=[x.rate for x in ours], peers=[x.rate for x in raw]),
        Figure(
            what=f"{MANY} connections",
            unit="req/s",
            values=[x.rate for x in many["motet"]],
            peers=[x.rate for x in many["raw"]],
            goal=Goal(0.5, "at least", "ratio"),
        ),
        *(
            Figure(
                what=f"{MANY} connections, {percentile}",
                unit="µs",
                values=[getattr(x, percentile) for x in many["motet"]],
                peers=[getattr(x, percentile) for x in many["raw"]],
            )
            for percentile in ("p50", "p99")
        ),
        Figure(what=f"{MANY} connections, processor time", unit="µs/request", values=costs["motet"], peers=costs["raw"]),
    ]
    return Table(name="http", peer="bare echo", figures=figures)


def _replicas(many: dict[str, list[Load]], costs: dict[str, list[float]]) -> Table:
    return Table(
        name="two-replicas",
        peer="one replica",
        figures=[
            Figure(
                what=f"two replicas, {MANY} connections",
                unit="req/s",
                values=[x.rate for x in many["two"]],
                peers=[x.rate for x in many["motet"]],
                goal=Goal(1, "at least", "ratio"),
            ),
            Figure(what="processor time of gateway and replicas", unit="µs/request", values=costs["two"], peers=costs["motet"]),
        ],
    )
