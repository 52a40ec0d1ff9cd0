"""Measure everything: `make bench`, or `python bench/run.py [--quick] [--only NAME]`.

A full run writes its figures into docs/performance.md, and with every round's value into bench/results.json.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import measure_batches
import measure_hop
import measure_http
import measure_starting
import measure_values
from figures import Effort, Table
from processes import machine

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "bench" / "results.json"
BUSY = 0.7  # load average over a minute above which the machine isn't ours alone


def _http(effort: Effort) -> list[Table]:
    if (reason := measure_http.missing()) is not None:
        print(f"http: not measured: {reason}", file=sys.stderr)
        return []
    return [measure_http.measure(effort)]


MEASUREMENTS: Mapping[str, Callable[[Effort], list[Table]]] = {
    "http": _http,
    "hop": measure_hop.measure,
    "streams": lambda effort: [measure_values.streams(effort)],
    "arrays": lambda effort: [measure_values.arrays(effort)],
    "batches": lambda effort: [measure_batches.measure(effort)],
    "starting": lambda effort: [measure_starting.starting(effort)],
    "memory": lambda effort: [measure_starting.memory(effort)],
}


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few short rounds, about a minute in all; nothing is written")
    parser.add_argument("--only", choices=MEASUREMENTS, metavar="NAME", action="append", help=f"of: {', '.join(MEASUREMENTS)}")
    options = parser.parse_args()
    begun = time.perf_counter()
    load = os.getloadavg()[0]
    if load > BUSY:
        print(f"The load of this machine is {load:.1f}: something else runs, and these figures will be no good.", file=sys.stderr)
    tables: list[Table] = []
    for name in options.only or MEASUREMENTS:
        print(f"measuring {name} ...", file=sys.stderr)
        for table in MEASUREMENTS[name](Effort(quick=options.quick)):
            tables.append(table)
            print("\n" + in_columns(table.rows()) + "\n")
    print(f"took {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    if options.quick or options.only:
        print("This was no full run; nothing is written.", file=sys.stderr)
    else:
        write(tables, {**machine(), "load before": f"{load:.1f}"})


def in_columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text for a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def in_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a Markdown table."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def write(tables: Sequence[Table], facts: Mapping[str, Any]) -> None:
    """Write the figures into the page, between their markers, and into the file of results."""
    today = f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}"
    names = ("motet", "uvloop", "httptools", "msgspec", "pydantic", "numpy")
    versions = ", ".join(f"{name} {facts[name]}" for name in names)
    about = (
        f"Measured on {today} by `make bench` on {facts['cpu']}, {facts['cores']} cores, {facts['memory']}, {facts['system']}, Python\n"
        f"{facts['python']}, {versions}; the load average before was {facts['load before']}.\n"
        "Each figure is the median of its rounds, with the least and the greatest in brackets; ratios are taken round by round."
    )
    text = _between("machine", about, PAGE.read_text(encoding="utf-8"))
    for table in tables:
        text = _between(table.name, in_markdown(table.rows()), text)
    PAGE.write_text(text, encoding="utf-8")
    results = {
        "date": today,
        "machine": dict(facts),
        "figures": [
            {
                "table": table.name,
                "what": figure.what,
                "unit": figure.unit,
                "motet": [round(v, 4) for v in figure.values],
                **(
                    {table.peer: [round(v, 4) for v in figure.peers], "ratio": round(statistics.median(figure.ratios), 3)}
                    if figure.peers
                    else {}
                ),
            }
            for table in tables
            for figure in table.figures
        ],
    }
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)} and {RESULTS.relative_to(ROOT)}", file=sys.stderr)


def _between(name: str, content: str, text: str) -> str:
    pattern = re.compile(rf"(<!-- figures: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    replaced, count = pattern.subn(lambda found: f"{found[1]}{content}\n{found[2]}", text)
    if count != 1:
        message = f"{PAGE.name} has {count} places for the figures of {name!r}"
        raise SystemExit(message)
    return replaced


if __name__ == "__main__":
    main()
