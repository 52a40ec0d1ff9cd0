"""How errors are shown on a terminal: what, where, what was found, what to do instead, and the user's own frames."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from motet.cli.limits import advice
from motet.errors import DefinitionError, MotetError
from motet.identity import is_users_file
from motet.wire.failure import CAUSE, HOPS, Hop, description, user_frames

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
    elif not isinstance(error, MotetError | OSError):
        lines.append("  this looks like a fault of Motet's own; --traceback shows all of it")
    return "\n".join(lines)


def _headline(error: BaseException) -> str:
    label = click.style("error:", fg="red", bold=True)
    if isinstance(error, DefinitionError):
        return f"{label} {relative(str(error))}"
    if not isinstance(error, MotetError):
        instead = advice(error) if isinstance(error, OSError) else None
        return f"{label} {type(error).__name__}: {error}" + (f"\n  instead: {instead}" if instead is not None else "")
    lines = [f"{label} {relative(error.message)}"]
    for name, text in (("where", error.where), ("found", error.found), ("instead", error.instead)):
        if text is not None:
            lines.append(f"  {name + ':':<8} {relative(text)}")
    return "\n".join(lines)


def _origin(error: BaseException) -> list[str]:
    """Return the user's frames of an error that came from elsewhere and of those that it was raised from, the root cause last."""
    lines = [relative(line) for line in _chain(error)]
    frames = [line for line in lines if FRAME.match(line)]
    return _users_lines(lines) if any(map(_is_users, frames)) else lines


def files_in(error: BaseException) -> set[str]:
    """Return the user's files that an error, or one that it was raised from, came through."""
    found = [FRAME.match(line) for line in _chain(error) if _is_users(line)]
    return {match.group(1) for match in found if match is not None}


def _chain(error: BaseException) -> Iterator[str]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        hops: tuple[Hop, ...] = getattr(current, HOPS, ())
        if current is not error and not hops:  # of this process
            hops = (Hop("", "", user_frames(current)),)
        shown = [hop for hop in reversed(hops) if hop.frames]
        for hop in shown:
            yield from [hop.endpoint] if hop.endpoint else []
            for frame in hop.frames:
                yield f'  File "{frame.file}", line {frame.line}, in {frame.function}'
                yield from [f"    {frame.source}"] if frame.source else []
        if shown:
            yield from description(current)
        yield from getattr(current, CAUSE, "").splitlines()
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _users_lines(lines: Iterable[str]) -> list[str]:
    """Return lines of tracebacks without the frames that aren't the user's."""
    kept: list[str] = []
    hidden = False
    for line in lines:
        if FRAME.match(line):
            hidden = not _is_users(line)
        elif not line.startswith("    "):
            hidden = False
        if not hidden:
            kept.append(line)
    return kept


def _is_users(frame: str) -> bool:
    found = FRAME.match(frame)
    return found is not None and is_users_file(found.group(1)) and not found.group(1).startswith("<")


def relative(text: str) -> str:
    """Return text with paths under the current folder made short."""
    folder = str(Path.cwd())
    # Only where a path begins: below /mnt, say, may be a folder of the same name.
    return re.sub(rf"(?<![\w.~/-]){re.escape(folder)}/", "", text) if folder != "/" else text
