"""Measure: `make bench`, or `python bench/run.py [--quick] [--only NAME]`; `make bench-peers` for other frameworks.

A full run writes its figures, with every round's value, into bench/results.json, and draws docs/performance.md from it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import measure_batches
import measure_bodies
import measure_chain
import measure_hop
import measure_http
import measure_peers
import measure_resources
import measure_sizes
import measure_starting
import measure_streams
import measure_values
import page
import peers
from figures import Effort, Growth, Table
from processes import machine, versions
from results import Results, Run

RESULTS = page.ROOT / "bench" / "results.json"
BUSY = 0.7  # load average over a minute above which the machine isn't ours alone

Measure = Callable[[Effort], Sequence[Table | Growth]]
OWN: Mapping[str, Measure] = {
    "http": measure_http.measure,
    "bodies": measure_bodies.measure,
    "hop": measure_hop.measure,
    "streams": measure_streams.measure,
    "arrays": lambda effort: [measure_values.arrays(effort)],
    "chain": measure_chain.measure,
    "batches": measure_batches.measure,
    "starting": lambda effort: [measure_starting.starting(effort)],
    "memory": lambda effort: [measure_starting.memory(effort)],
    "resources": measure_resources.measure,
    "replicas": lambda effort: [measure_sizes.replicas(effort)],
    "services": lambda effort: [measure_sizes.services(effort)],
    "endpoints": lambda effort: [measure_sizes.endpoints(effort)],
    "connections": lambda effort: [measure_sizes.connections(effort)],
}
PEERS: Mapping[str, Measure] = {
    "echo": measure_peers.echo,
    "two-replicas": measure_peers.replicas,
    "batches": measure_peers.batches,
    "streams": measure_peers.streams,
    "chain": measure_peers.chain,
    "starting": measure_peers.starting,
}


def main() -> None:
    """Measure what the command line asks for."""
    options = _options()
    if options.render:
        _show_written(page.write(Results.load(RESULTS)))
        return
    measurements = PEERS if options.peers else OWN
    for name in options.only or ():
        if name not in measurements:
            raise SystemExit(f"no measurement is called {name!r}; there are: {', '.join(measurements)}")
    if options.peers:
        peers.choose(options.peer)
        peers.set_up()
    if (load := os.getloadavg()[0]) > BUSY:
        print(f"The load of this machine is {load:.1f}: something else runs, and these figures will be no good.", file=sys.stderr)
    begun = time.perf_counter()
    tables: list[Table | Growth] = []
    for name in options.only or measurements:
        print(f"measuring {name} ...", file=sys.stderr)
        part = time.perf_counter()
        for table in measurements[name](Effort(quick=options.quick)):
            tables.append(table)
            print("\n" + page.in_columns(table.rows()) + "\n", flush=True)
        print(f"{name} took {time.perf_counter() - part:.0f} s", file=sys.stderr)
    print(f"all took {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    partial = options.only or options.peer
    if options.write or not (options.quick or partial):
        target = "bench-peers" if options.peers else "bench"
        arguments = [*(f"--only {name}" for name in options.only or ()), *(f"--peer {name}" for name in options.peer or ())]
        run = Run(
            date=f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}",
            command=f'make {target} ARGS="{" ".join(arguments)}"' if arguments else f"make {target}",
            load=round(load, 1),
            machine=machine(),
            versions=versions() | (peers.versions() if options.peers else {}),
        )
        results = Results.load(RESULTS).updated(run, tables)
        results.save(RESULTS)
        _show_written([RESULTS, *page.write(Results.load(RESULTS))])  # rounded, as it will be read again
    else:
        print("Nothing is written: this was no full run, and without --write.", file=sys.stderr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few short rounds; nothing is written")
    parser.add_argument("--only", metavar="NAME", action="append", help=f"of: {', '.join(OWN)}; with --peers: {', '.join(PEERS)}")
    parser.add_argument("--write", action="store_true", help="write the figures of a run of --only, too, in the place of older ones")
    parser.add_argument("--peers", action="store_true", help="measure beside other frameworks, each in an environment of its own")
    parser.add_argument("--peer", metavar="NAME", action="append", choices=peers.NAMES, help=f"of: {', '.join(peers.NAMES)}")
    parser.add_argument("--render", action="store_true", help="measure nothing; draw the page from bench/results.json anew")
    options = parser.parse_args()
    if options.write and options.peer:
        parser.error("--peer measures part of a table, which can't be written without the others")
    return options


def _show_written(paths: Sequence[os.PathLike[str]]) -> None:
    print("wrote", ", ".join(os.path.relpath(path, page.ROOT) for path in paths), file=sys.stderr)


if __name__ == "__main__":
    main()
