"""What the machine has: cores, memory and cards, as the kernel tells. No library of a vendor is imported."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from motet.errors import UsageError

CARDS_VARIABLE = "CUDA_VISIBLE_DEVICES"
UNLIMITED = 2**60  # bytes; what version 1 of control groups has for no limit is somewhat more


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What there is to give out.

    Attributes:
        cores: numbers of those that processes may run on.
        cpus: how many cores' worth of time there is: fewer than `cores` where a quota says so.
        memory: bytes.
        cards: ids of GPUs, as `CUDA_VISIBLE_DEVICES` names them.
        logical_gpus: GPUs that an operator has declared where there is no card.
        custom: amounts by name.
    """

    cores: tuple[int, ...]
    cpus: float
    memory: int
    cards: tuple[str, ...] = ()
    logical_gpus: int = 0
    custom: Mapping[str, float] = field(default_factory=dict[str, float])

    def declared(self, amounts: Mapping[str, float]) -> Machine:
        """Return this machine with an operator's amounts in the place of what was found.

        Raises:
            UsageError: there are cards, and fewer of them.
        """
        gpus = int(amounts["gpus"]) if "gpus" in amounts else None
        if gpus is not None and self.cards and gpus > len(self.cards):
            raise UsageError(
                "there are fewer cards than `resources` says",
                found=f"gpus={gpus}, and {len(self.cards)} of them",
                instead=f"gpus={len(self.cards)}; or set {CARDS_VARIABLE}= for logical ones, whose services run on the CPU",
            )
        return Machine(
            cores=self.cores,
            cpus=amounts.get("cpus", self.cpus),
            memory=int(amounts.get("memory", self.memory)),
            cards=self.cards[:gpus],
            logical_gpus=gpus if gpus is not None and not self.cards else 0,
            custom={name: amount for name, amount in amounts.items() if name not in ("cpus", "gpus", "memory")},
        )


def detect(root: Path = Path("/")) -> Machine:
    """Return what this process may use of the machine.

    Args:
        root: folder that holds `proc`, `sys` and `dev`.
    """
    cores = tuple(sorted(os.sched_getaffinity(0)))
    groups = list(_control_groups(root))
    quota = min((quota for group in groups if (quota := _cpu_quota(group)) is not None), default=float(len(cores)))
    limits = [limit for group in groups for name in ("memory.max", "memory.limit_in_bytes") if (limit := _number(group / name)) is not None]
    return Machine(
        cores=cores,
        cpus=min(float(len(cores)), quota),
        memory=min([_memory(root), *limits]),
        cards=visible_cards(os.environ, root),
    )


def visible_cards(environment: Mapping[str, str], root: Path = Path("/")) -> tuple[str, ...]:
    """Return the ids of the GPUs that a process with this environment sees."""
    if (said := environment.get(CARDS_VARIABLE)) is not None:
        return _listed(said)
    found = len([path for path in (root / "dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdecimal()])
    if not found and (told := root / "proc/driver/nvidia/gpus").is_dir():
        found = len(list(told.iterdir()))
    return tuple(map(str, range(found)))  # CUDA counts what it sees from 0, whatever the devices' own numbers are


def _listed(said: str) -> tuple[str, ...]:
    """Return the ids of a list as CUDA takes it: what stands behind a wrong one isn't seen."""
    found: list[str] = []
    for each in said.split(","):
        name = each.strip()
        if not name or name.startswith("-"):
            break
        found.append(name)
    return tuple(found)


def _control_groups(root: Path) -> Iterator[Path]:
    """Return the folders that may hold limits of this process: of its control groups, and of those around them."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, own = line.split(":", 2)
        for controller in ["", *controllers.split(",")] if controllers else [""]:
            base = root / "sys/fs/cgroup" / controller
            path = base / own.lstrip("/")
            for folder in (path, *path.parents):
                if folder.is_dir():
                    yield folder
                if folder == base:
                    break


def _cpu_quota(group: Path) -> float | None:
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
            return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None
    quota_us, period_us = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us and period_us else None


def _number(path: Path) -> int | None:
    """Return the number in a file of a control group; None for no file and for no limit."""
    try:
        number = int(path.read_text())
    except (OSError, ValueError):
        return None
    return number if 0 < number < UNLIMITED else None


def _memory(root: Path) -> int:
    for line in (root / "proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return UNLIMITED
