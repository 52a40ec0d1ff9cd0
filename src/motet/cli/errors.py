"""How errors are shown on a terminal: what, where, what was found, what to do instead, and the user's own frames."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

import click

from motet.errors import DefinitionError, MotetError
from motet.options import LIBRARY
from motet.wire.failure import CAUSE, HOPS, Hop, user_frames

FRAME = re.compile(r'\s*File "([^"]*)", line \d+')
TRACEBACK = "MOTET_TRACEBACK"


class Complaint(MotetError):
    """A command can't do what it was asked; `code` is the program's exit code."""

    def __init__(
        self, message: str = "", *, where: str | None = None, found: str | None = None, instead: str | None = None, code: int = 1
    ) -> None:
        super().__init__(message, where=where, found=found, instead=instead)
        self.code = code


def show_traceback() -> None:
    """Have errors of this process shown with their traceback."""
    os.environ[TRACEBACK] = "1"


def wants_traceback() -> bool:
    """Whether errors are shown with their traceback."""
    return os.environ.get(TRACEBACK, "0") not in ("", "0")


def complain(error: MotetError) -> None:
    """Say what is wrong on stderr."""
    click.echo(_headline(error), err=True)


def explain(error: BaseException) -> str:
    """Return everything that a user can act on: the error, then where it came from, without frames of the framework's own.

    With `MOTET_TRACEBACK` set, Python's whole traceback follows.
    """
    lines = [_headline(error), *(f"  {line}" for line in _origin(error))]
    if wants_traceback():
        lines += ["", "".join(traceback.format_exception(error)).rstrip()]
    elif not isinstance(error, MotetError):
        lines.append("  this looks like a fault of Motet's own; --traceback shows all of it")
    return "\n".join(lines)


def _headline(error: BaseException) -> str:
    label = click.style("error:", fg="red", bold=True)
    if isinstance(error, DefinitionError):
        return f"{label} {relative(str(error))}"
    if not isinstance(error, MotetError):
        return f"{label} {type(error).__name__}: {error}"
    lines = [f"{label} {relative(error.message)}"]
    for name, text in (("where", error.where), ("found", error.found), ("instead", error.instead)):
        if text is not None:
            lines.append(f"  {name + ':':<8} {relative(text)}")
    return "\n".join(lines)


def _origin(error: BaseException) -> Iterator[str]:
    """Yield the user's frames of an error and of those that it was raised from, the root cause last."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        hops: tuple[Hop, ...] = getattr(current, HOPS, ())
        if not hops and (frames := user_frames(current)) and current is not error:
            hops = (Hop(type(current).__name__, "this process", frames),)
        shown = [hop for hop in reversed(hops) if hop.frames]
        for hop in shown:
            yield hop.endpoint
            for frame in hop.frames:
                yield relative(f'  File "{frame.file}", line {frame.line}, in {frame.function}')
                if frame.source:
                    yield f"    {frame.source}"
        if shown:
            text = current.message if isinstance(current, MotetError) else str(current)
            yield f"{type(current).__name__}: {text}"
        cause: str = getattr(current, CAUSE, "")
        if cause:
            yield from _users_lines(cause)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _users_lines(text: str) -> Iterator[str]:
    """Yield a traceback that came as text without the frames that aren't the user's."""
    hidden = False
    for line in text.splitlines():
        frame = FRAME.match(line)
        if frame is not None:
            hidden = frame.group(1).startswith((LIBRARY, "<frozen ")) or "/importlib/" in frame.group(1)
        elif not line.startswith("    "):
            hidden = False
        if not hidden and not line.startswith("Traceback ("):
            yield relative(line)


def relative(text: str) -> str:
    """Return text with paths under the current folder made short."""
    folder = str(Path.cwd())
    return text.replace(folder + "/", "") if folder != "/" else text
