"""Import statements of the user's files that fail: which they are, and placeholders for them alone while loading is repeated."""

from __future__ import annotations

import builtins
import contextlib
import dis
import importlib
import itertools
import sys
import types
from collections.abc import Generator, Mapping
from typing import Any

from motet.absent import Absence, Placeholder, defining
from motet.identity import is_users_file

MAX_ABSENT = 100  # import statements that placeholders stand for, after which the first error is final


class Imports:
    """The import statements of the user's files that fail in this process, learnt one by one while loading is repeated."""

    def __init__(self) -> None:
        self.first: ImportError | None = None
        self._absent: dict[tuple[str, int, str], dict[str | None, Absence]] = {}  # by file, line and module
        self._count = itertools.count(1)

    def learn(self, error: BaseException | None) -> bool:
        """Note the import statement that an error came from; returns whether it is worth another attempt."""
        if not isinstance(error, ImportError):
            return False
        self.first = self.first or error
        found = _statement_of(error)
        if found is None or next(self._count) > MAX_ABSENT:
            return False
        file, line, module, name = found
        known = self._absent.setdefault((file, line, module), {})
        if name in known:
            return False
        known[name] = Absence(module, name, f"{file}:{line}", error)
        return True

    @contextlib.contextmanager
    def standing_in(self) -> Generator[None]:
        """Give placeholders to the import statements that are known to fail."""
        real = builtins.__import__

        def import_(name: str, names: dict[str, Any] | None = None, local: Any = None, fromlist: Any = (), level: int = 0) -> Any:
            line = sys._getframe(1).f_lineno  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # of the statement
            known = self._absent.get((str((names or {}).get("__file__")), line, name)) if level == 0 else None
            if known is None:
                return real(name, names, local, fromlist, level)
            if None in known:
                return Placeholder(known[None], name) if fromlist else _without(name, known[None])
            absent = {each: Placeholder(absence, f"{name}.{each}") for each, absence in known.items()}
            return _Overlay(real(name, names, local, fromlist, level), absent)

        if self._absent:
            builtins.__import__ = import_  # type: ignore[assignment]  # by position it is the same
        try:
            with defining():
                yield
        finally:
            builtins.__import__ = real


class _Overlay(types.ModuleType):
    """A module as one import statement sees it: with placeholders for what it lacks."""

    def __init__(self, module: types.ModuleType, absent: Mapping[Any, object]) -> None:
        super().__init__(module.__name__)
        self._module, self._absent = module, absent

    def __getattr__(self, name: str) -> Any:
        """Return what the module has, or a placeholder."""
        return self._absent[name] if name in self._absent else getattr(self._module, name)


def _without(name: str, absence: Absence) -> Any:
    """Return what `import a.b.c` binds to `a`: the first package, with a placeholder for the part that can't be imported."""
    parts = name.split(".")

    def below(depth: int) -> Any:
        prefix = ".".join(parts[:depth])
        if prefix != name:
            with contextlib.suppress(ImportError):
                return _Overlay(importlib.import_module(prefix), {parts[depth]: below(depth + 1)})
        return Placeholder(absence, prefix)

    return below(1)


def _statement_of(error: ImportError) -> tuple[str, int, str, str | None] | None:
    """Return file, line, module and name of the import statement of the user's that an error came from, if it is one."""
    found: tuple[types.FrameType, int] | None = None
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if is_users_file(file) and not file.startswith("<"):
            found = trace.tb_frame, trace.tb_lasti
        trace = trace.tb_next
    if found is None:
        return None
    frame, offset = found
    line = 0
    module = level = None
    before: list[Any] = [None, None]
    for instruction in dis.get_instructions(frame.f_code):
        if instruction.opname == "IMPORT_NAME":
            module, level = str(instruction.argval), before[0]
            line = (instruction.positions.lineno if instruction.positions is not None else None) or 0
        before = [before[-1], instruction.argval]
        if instruction.offset == offset:
            if module is None or level or instruction.opname not in ("IMPORT_NAME", "IMPORT_FROM"):
                return None
            name = str(instruction.argval) if instruction.opname == "IMPORT_FROM" else None
            return str(frame.f_globals.get("__file__")), line, module, name
    return None


def forget_users_modules(before: frozenset[str]) -> None:
    """Remove the user's modules that were imported since `before`, so that a new attempt gets no class twice."""
    for name in [name for name in sys.modules if name not in before]:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and is_users_file(file):
            del sys.modules[name]
