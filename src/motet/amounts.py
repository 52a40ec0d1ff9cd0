"""Amounts of resources, as people write them: what a machine has, what a replica occupies."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

BUILT_IN = ("cpus", "gpus", "memory")
_RESOURCE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*").fullmatch


def check_name(name: str) -> None:
    """Refuse what can't be the name of a resource.

    Raises:
        ValueError: it is none.
    """
    if not _RESOURCE_NAME(name):
        message = f"{name!r} is no name of a resource; write letters, digits, '_', '-' and '.'"
        raise ValueError(message)


def checked_amounts(amounts: Mapping[str, float | str]) -> dict[str, float]:
    """Return what an operator says a machine has, as numbers: bytes of memory, whole gpus, any amount of others.

    Raises:
        ValueError: a name or an amount is wrong.
    """
    checked: dict[str, float] = {}
    for name, amount in amounts.items():
        check_name(name)
        if name == "memory" and isinstance(amount, str):
            checked[name] = parse_bytes(amount)
            continue
        try:
            number = float(amount)
        except (TypeError, ValueError):
            message = f"{name}={amount!r} is no amount; write a number, such as {name}=2"
            raise ValueError(message) from None
        if not (0 <= number < math.inf):
            message = f"{name}={amount} is no amount; write a number from 0 on"
            raise ValueError(message)
        if name in ("gpus", "memory") and not number.is_integer():
            message = f"{name}={amount} isn't whole; write {name}={math.ceil(number)}"
            raise ValueError(message)
        checked[name] = number
    return checked


_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def parse_bytes(text: str) -> int:
    """Return the number of bytes that a text such as `512MiB` or `2 GB` stands for.

    Raises:
        ValueError: the text is no number with a known unit.
    """
    stripped = text.strip().lower()
    digits = stripped.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = stripped[len(digits) :].strip()
    try:
        return int(float(digits) * _UNITS[unit])
    except (KeyError, ValueError):
        message = f"{text!r} is no amount of memory; write a number and a unit, such as '512MiB' or '2GB'"
        raise ValueError(message) from None
