"""Large values: arrays as arguments, beside pickle over a Unix socket."""

from __future__ import annotations

import apps
import motet
from figures import Effort, Figure, Table
from processes import Peer

SIZES = (1_000_000, 10_000_000)  # bytes


def arrays(effort: Effort) -> Table:
    """Measure arrays as arguments of an endpoint in another process."""
    rounds, calls = effort.pick(9, 5), {SIZES[0]: 31, SIZES[1]: 7}
    motets: dict[int, list[float]] = {size: [] for size in SIZES}
    pickles: dict[int, list[float]] = {size: [] for size in SIZES}
    with Peer("raw_pickle.py") as raw, motet.run(apps.front, engine="local") as front:
        for size in SIZES:
            raw.ask(size, 3), front.array(size, 3).result()
        for _ in range(rounds):
            for size in SIZES:
                pickles[size].append(1e3 * raw.ask(size, calls[size]))
                motets[size].append(1e3 * front.array(size, calls[size]).result())
    return Table(
        name="arrays",
        peer="pickle over a socket",
        figures=[Figure(what=f"{size // 1_000_000} MB", unit="ms", values=motets[size], peers=pickles[size]) for size in SIZES],
    )
