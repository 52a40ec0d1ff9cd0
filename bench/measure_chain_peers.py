"""A chain of three services that pass a large array on by reference, beside Ray Serve, by value and by reference."""

from __future__ import annotations

import json
import subprocess
import sys

import apps
import motet
import peers
from figures import Effort, Figure, Table
from processes import free_port

SIZES = (1_000_000, 10_000_000, 100_000_000)  # bytes
CALLS = {SIZES[0]: 21, SIZES[1]: 7, SIZES[2]: 1}
WAYS = ("value", "reference")


def measure(effort: Effort) -> list[Table]:
    """Measure both in turn, for each mode of Ray Serve that was chosen."""
    rounds, figures = effort.pick(5, 2), list[Figure]()
    modes = [peer for name, peer in peers.ALL.items() if peer.folder == "ray" and peer in peers.chosen("echo")]
    with motet.run(apps.chain, engine="local") as chain:
        for peer in modes:
            with peers.running(peer, "chain.py", str(free_port()), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
                for size in SIZES:
                    for way in WAYS:
                        found = _rounds(chain, process, way, size, rounds)
                        if isinstance(found, str):
                            print(f"{peer.title} can't pass {size:,} bytes by {way}: {found}", file=sys.stderr)
                            continue
                        ours, theirs = found
                        what = f"{peer.title}, by {way}, {size // 1_000_000} MB"
                        figures.append(Figure(what=what, unit="ms", values=ours, peers=theirs))
    return [Table(name="peers-chain", peer="the other", figures=figures)] if figures else []


def _rounds(chain: apps.Chain, process: subprocess.Popen[str], way: str, size: int, rounds: int) -> tuple[list[float], list[float]] | str:
    ours: list[float] = []
    theirs: list[float] = []
    for n in range(rounds + 1):  # the first warms up
        answer = _ask(process, f"{way} {size} {CALLS[size]}")
        if isinstance(answer, str):
            return answer
        mine = chain.run(size, CALLS[size], in_place=False).result()
        if n:
            ours.append(1e3 * mine)
            theirs.append(1e3 * answer)
    return ours, theirs


def _ask(process: subprocess.Popen[str], line: str) -> float | str:
    assert process.stdin is not None
    assert process.stdout is not None
    print(line, file=process.stdin, flush=True)
    if not (answer := process.stdout.readline()):
        raise RuntimeError(f"no answer to {line!r}")
    found: float | str = json.loads(answer)
    return found
