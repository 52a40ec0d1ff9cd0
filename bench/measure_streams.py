"""Streams: items a second, the first item beside a call, and how late items come when many streams have one each 10 ms."""

from __future__ import annotations

import asyncio
import statistics
from typing import NamedTuple

import apps
import motet
from figures import Effort, Figure, Goal, Table
from http_streams import Client, lateness, read
from processes import first_answer, free_port, motet_serve, server

STREAMS, INTERVAL = 64, 0.01  # s
ENDED = b"\r\n0\r\n\r\n"


class OverHTTP(NamedTuple):
    """A stream over HTTP: how it is called, and what its last item looks like."""

    what: str
    path: str
    accept: str
    last: bytes
    goal: Goal | None


FORMS = (
    OverHTTP("pieces of bytes over HTTP", "/lines", "*/*", b"%d\n", Goal(250_000, "at least", "figure")),
    OverHTTP("server-sent events", "/count", "text/event-stream", b"data: %d\n", Goal(100_000, "at least", "figure")),
    OverHTTP("lines of JSON", "/count", "application/x-ndjson", b"%d\n", None),
    OverHTTP("lines of JSON, sync generator", "/count_in_thread", "application/x-ndjson", b"%d\n", None),
)


def measure(effort: Effort) -> list[Table]:
    """Measure all in turn."""
    port = free_port()
    with server(motet_serve("counting", port)), motet.run(apps.front, engine="local") as front:
        first_answer(port, "/in_loop", b'{"x": 1}')
        return [_rates(effort, front, port), _first(effort, front, port), _steady(effort, front, port)]


def _rates(effort: Effort, front: apps.Front, port: int) -> Table:
    rounds, items = effort.pick(9, 3), effort.pick(50_000, 5000)
    between: dict[bool, list[float]] = {False: [], True: []}
    over_http: dict[str, list[float]] = {form.what: [] for form in FORMS}
    for n in range(rounds + 1):
        if n == 1:  # the first round warmed up
            for values in (*between.values(), *over_http.values()):
                values.clear()
        for threads, values in between.items():
            values.append(front.stream(items, threads=threads).result())
        for form in FORMS:
            over_http[form.what].append(read(port, form.path, items, form.accept, form.last))
    goal = Goal(200_000, "at least", "figure")
    return Table(
        name="streams",
        figures=[
            Figure(what="between services", unit="items/s", values=between[False], goal=goal),
            Figure(what="between services, sync generator", unit="items/s", values=between[True]),
            *(Figure(what=form.what, unit="items/s", values=over_http[form.what], goal=form.goal) for form in FORMS),
        ],
    )


def _first(effort: Effort, front: apps.Front, port: int) -> Table:
    rounds, calls = effort.pick(15, 3), effort.pick(400, 100)
    found: dict[str, list[float]] = {name: [] for name in ("item", "call", "event", "answer")}
    client = Client(port)

    def over_http(path: str, body: bytes, accept: str, end: bytes) -> float:
        return 1e6 * statistics.median(client.ask(path, body, accept, end) for _ in range(calls))

    for _ in range(rounds):
        found["item"].append(1e6 * front.first_item(calls).result())
        found["call"].append(1e6 * front.one_at_a_time(calls, threads=False).result())
        found["event"].append(over_http("/count", b'{"items": 3}', "text/event-stream", ENDED))
        found["answer"].append(over_http("/in_loop", b'{"x": 7}', "*/*", b"7"))
    client.close()
    goal = Goal(1.5, "at most", "ratio")
    return Table(
        name="first-items",
        peer="a call",
        figures=[
            Figure(what="first item, between services", unit="µs", values=found["item"], peers=found["call"], goal=goal),
            Figure(what="first server-sent event", unit="µs", values=found["event"], peers=found["answer"], goal=goal),
        ],
    )


def _steady(effort: Effort, front: apps.Front, port: int) -> Table:
    rounds, items = effort.pick(5, 2), effort.pick(200, 50)
    body = b'{"items": %d, "interval": %g}' % (items, INTERVAL)
    between = [front.lateness(STREAMS, items, INTERVAL).result() for _ in range(rounds)]
    over_http = [asyncio.run(lateness(port, "/ticks", body, STREAMS)) for _ in range(rounds)]
    figures: list[Figure] = []
    for where, late in (("between services", between), ("lines of JSON over HTTP", over_http)):
        assert all(len(one) == STREAMS * items for one in late)
        ordered = [sorted(1e3 * seconds for seconds in one) for one in late]
        figures += [
            Figure(what=f"{STREAMS} streams {where}, p50", unit="ms late", values=[one[len(one) // 2] for one in ordered]),
            Figure(
                what=f"{STREAMS} streams {where}, p99",
                unit="ms late",
                values=[one[len(one) * 99 // 100] for one in ordered],
                goal=Goal(1e3 * INTERVAL, "at most", "figure"),
            ),
            Figure(what=f"{STREAMS} streams {where}, most", unit="ms late", values=[one[-1] for one in ordered]),
        ]
    return Table(name="steady-streams", figures=figures)
