"""Media types and content codings as RFC 9110 negotiates them: what a client sends, and which of our forms it likes best.

Headers are remembered by their text, since clients send the same ones over and over.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

JSON = "application/json"
BYTES = "application/octet-stream"
TEXT = "text/plain; charset=utf-8"
EVENTS = "text/event-stream"
LINES = "application/x-ndjson"
MSGPACK = "application/msgpack"
NPY = "application/x-npy"

ALL_LINES = (LINES, "application/jsonl", "application/ndjson")  # names that are in use; the answer has the one that was asked for
ALL_MSGPACK = (MSGPACK, "application/x-msgpack", "application/vnd.msgpack")

REMEMBERED = 256  # characters of a header; longer ones are nobody's habit
MAX_RANGES = 64  # of one header; what comes behind is ignored

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_QUALITY = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)").fullmatch

R = TypeVar("R")


class Range(NamedTuple):
    """One member of an `Accept`-like header: what it names in lower case, its parameters, and how much it is liked (0 to 1)."""

    name: str
    parameters: tuple[tuple[str, str], ...]
    quality: float


def _remembered(function: Callable[[str], R]) -> Callable[[str], R]:
    """Remember what a function makes of short texts."""
    cached = functools.lru_cache(maxsize=512)(function)

    @functools.wraps(function)
    def call(text: str) -> R:
        return cached(text) if len(text) <= REMEMBERED else function(text)

    return call


@_remembered
def media_type(header: str) -> tuple[str, dict[str, str]]:
    """Return the type of a `Content-Type` in lower case, and its parameters."""
    members = _members(header)
    return (members[0][0], dict(members[0][1])) if members else ("", {})


@_remembered
def ranges(header: str) -> tuple[Range, ...]:
    """Return the members of an `Accept` or `Accept-Encoding`; members that aren't well-formed are left out."""
    found: list[Range] = []
    for name, parameters in _members(header)[:MAX_RANGES]:
        quality, kept = 1.0, parameters
        for index, (key, value) in enumerate(parameters):
            if key == "q":  # what follows it are extensions that nobody defined
                quality = float(value) if _QUALITY(value) else -1.0
                kept = parameters[:index]
                break
        if quality >= 0 and all(map(_TOKEN, name.split("/"))):
            found.append(Range(name, kept, quality))
    return tuple(found)


def _members(header: str) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """Split a header at its commas and semicolons, those in quotes left alone."""
    found: list[tuple[str, tuple[tuple[str, str], ...]]] = []
    for member in _split(header, ","):
        name, *rest = _split(member, ";")
        if name.strip():
            pairs = [each.partition("=") for each in rest if each.strip()]
            found.append((name.strip().lower(), tuple((key.strip().lower(), _unquoted(value.strip())) for key, _, value in pairs)))
    return found


def _split(text: str, separator: str) -> list[str]:
    """Split a text at a character outside of quotes, in one pass: clients choose the text."""
    if '"' not in text:
        return text.split(separator)
    pieces: list[str] = []
    start, quoted, escaped = 0, False, False
    for index, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == '"':
            quoted = not quoted
        elif quoted:
            escaped = character == "\\"
        elif character == separator:
            pieces.append(text[start:index])
            start = index + 1
    return [*pieces, text[start:]]


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] == '"'
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if quoted else value


def choose(accept: str | None, offers: tuple[str, ...]) -> str | None:
    """Return the offer that a client likes best, or None if it accepts none of them.

    Among those that it likes equally, one that it names comes before one that only a wildcard covers; then the first offer.

    Args:
        accept: the header; None, or one without a well-formed member, means that anything will do.
        offers: media types, the server's favourite first.
    """
    if accept is None or accept == "*/*":
        return offers[0]
    return _remembered_choice(accept, offers) if len(accept) <= REMEMBERED else _choice(accept, offers)


def _choice(accept: str, offers: tuple[str, ...]) -> str | None:
    if not (wanted := [each for each in ranges(accept) if "/" in each.name]):
        return offers[0]
    best, best_rank = None, (0.0, 0)
    for offer in offers:
        quality, specificity = _liked(offer, wanted)
        if quality > 0 and (quality, specificity) > best_rank:
            best, best_rank = offer, (quality, specificity)
    return best


_remembered_choice = functools.lru_cache(maxsize=512)(_choice)


def _liked(offer: str, wanted: Sequence[Range]) -> tuple[float, int]:
    """Return how much an offer is liked by the range that covers it most specifically, and how specific that is."""
    media, parameters = media_type(offer)
    kind = media.partition("/")[0]
    quality, specificity = 0.0, 0
    for each in wanted:
        # Many write `application/json; charset=utf-8` here: a charset, which all our texts have the same of, decides nothing.
        asked = {key: value for key, value in each.parameters if key != "charset"}
        if any(parameters.get(key) != value for key, value in asked.items()):
            continue
        level = 3 + len(asked) if each.name == media else 2 if each.name == f"{kind}/*" else 1 if each.name == "*/*" else 0
        if level > specificity:
            quality, specificity = each.quality, level
    return quality, specificity


def accepts_coding(accept_encoding: str, coding: str) -> bool:
    """Whether an `Accept-Encoding` allows a content coding, and likes it no less than the plain body."""
    wanted = {each.name: each.quality for each in ranges(accept_encoding)}
    quality = wanted.get(coding, wanted.get(f"x-{coding}", wanted.get("*", 0.0)))
    return quality > 0 and quality >= wanted.get("identity", 0.0)
