"""W3C trace context: which trace a request belongs to, read strictly from its headers and passed on with every call.

Inside, a trace is one string: the `traceparent`, and after a space the `tracestate` if there is one. Each hop names itself
as the parent of the next, so that what is recorded later can be put together.
"""

from __future__ import annotations

import random
import re

VERSION = 0
KNOWN_FLAGS = 0b11  # sampled, and random trace id; others must not be passed on
MAX_MEMBERS = 32

_random_bits = random.getrandbits
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII).fullmatch
_KEY = r"(?:[a-z][_0-9a-z\-*/]{0,255}|[a-z0-9][_0-9a-z\-*/]{0,240}@[a-z][_0-9a-z\-*/]{0,13})"
_MEMBER = re.compile(rf"({_KEY})=([ -+\--<>-~]{{0,255}}[!-+\--<>-~])", re.ASCII).fullmatch


def received(traceparent: str, tracestate: str | None) -> str | None:
    """Return the trace of a request by its headers, with a new span for this hop; None if `traceparent` isn't valid.

    A `tracestate` that isn't valid is dropped alone.
    """
    if (match := _PARENT(traceparent.strip(" \t"))) is None:
        return None
    version, trace, parent, flags, more = match.groups()
    if version == "ff" or (int(version, 16) == VERSION and more is not None) or not int(trace, 16) or not int(parent, 16):
        return None
    inside = f"00-{trace}-{_new_span()}-{int(flags, 16) & KNOWN_FLAGS:02x}"
    state = _state(tracestate) if tracestate is not None else None
    return f"{inside} {state}" if state is not None else inside


def child(trace: str) -> str:
    """Return the trace for the next hop: the same one with a new span."""
    return f"{trace[:36]}{_new_span()}{trace[52:]}"


def parts(trace: str | None) -> tuple[str | None, str | None]:
    """Return `traceparent` and `tracestate` of a trace."""
    parent, _, state = (trace or "").partition(" ")
    return parent or None, state or None


def _new_span() -> str:
    return f"{_random_bits(64) or 1:016x}"  # a name, no secret


def _state(text: str) -> str | None:
    """Return a list of members as it is passed on, or None if it isn't valid."""
    members = [member for each in text.split(",") if (member := each.strip(" \t"))]
    matches = [_MEMBER(member) for member in members]
    keys = {match[1] for match in matches if match is not None}
    valid = 0 < len(members) == len(keys) <= MAX_MEMBERS
    return ",".join(members) if valid else None
