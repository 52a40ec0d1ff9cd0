"""The memory of replicas that have a limit: looked at four times a second, and one that is over its limit is ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from motet.engines.local.gauge import Gauge
from motet.engines.local.ledger import memory_text
from motet.engines.local.slots import Slot

INTERVAL = 0.25  # s


async def watch_memory(slots: Callable[[], Iterable[Slot]]) -> None:
    """Look at all replicas with a limit, and end those that are over it, until cancelled."""
    while True:
        await asyncio.sleep(INTERVAL)
        watched = [(slot, record, gauge) for slot in slots() for record in slot.records if (gauge := record.gauge) is not None]
        if not watched:
            continue
        used = await asyncio.to_thread(_look, [gauge for _, _, gauge in watched])
        for (slot, record, _), size in zip(watched, used, strict=True):
            record.memory = size
            limit = record.placement.memory
            if limit is not None and size > limit:
                slot.end(record, f"it used {memory_text(size)}, its limit is {memory_text(limit)} (memory in its Resources)")


def _look(gauges: Iterable[Gauge]) -> list[int]:
    return [gauge.look() for gauge in gauges]
