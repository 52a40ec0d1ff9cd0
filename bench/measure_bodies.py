"""Forms of a body: msgpack beside JSON for a small model, and msgpack and `.npy` beside JSON for an array, each in and out."""

from __future__ import annotations

import io
from typing import NamedTuple

import msgspec
import numpy as np

import wrk
from figures import Effort, Figure, Table
from processes import first_answer, free_port, motet_serve, server
from wrk import BODY

FLOATS = 10_000  # float32 of the array
JSON = "application/json"


class Form(NamedTuple):
    """A form of the same body."""

    name: str
    kind: str
    body: bytes


def small() -> list[Form]:
    """Return the five fields."""
    return [Form("JSON", JSON, BODY), Form("msgpack", "application/msgpack", msgspec.msgpack.encode(msgspec.json.decode(BODY)))]


def large() -> list[Form]:
    """Return the array: nested lists in JSON, its memory in the others."""
    array = np.linspace(0, 1, FLOATS, dtype=np.float32)
    packed = {"dtype": "float32", "shape": [FLOATS], "data": array.tobytes()}
    file = io.BytesIO()
    np.save(file, array)
    return [
        Form("JSON", JSON, msgspec.json.encode({"array": array.tolist()})),
        Form("msgpack", "application/msgpack", msgspec.msgpack.encode({"array": packed})),
        Form(".npy", "application/x-npy", file.getvalue()),
    ]


def measure(effort: Effort) -> list[Table]:
    """Measure all forms in turn."""
    rounds = effort.pick(7, 2)
    port = free_port()
    tasks = {"five fields": ("/echo", small()), f"{FLOATS:,} float32": ("/array", large())}
    rates: dict[tuple[str, str], list[float]] = {(task, form.name): [] for task, (_, forms) in tasks.items() for form in forms}
    with server(motet_serve("bodies", port)):
        first_answer(port, "/echo", BODY)
        for n in range(rounds + 1):
            for task, (path, forms) in tasks.items():
                for form in forms:
                    headers = {"content-type": form.kind, "accept": form.kind}
                    load = wrk.load(port, path, form.body, connections=8, seconds=1, headers=headers)
                    if n:  # the first round warms up
                        rates[task, form.name].append(load.rate)
    figures = [
        Figure(what=f"{task}, {name}", unit="req/s", values=values, peers=rates[task, "JSON"])
        for (task, name), values in rates.items()
        if name != "JSON"
    ]
    return [Table(name="bodies", peer="JSON", figures=figures)]
