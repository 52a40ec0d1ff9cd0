"""Targets: `file.py:name` or `package.module:name`, from the command line to a bound node."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Generator
from pathlib import Path
from types import ModuleType
from typing import Any

from motet import check
from motet.binding import Node
from motet.errors import DefinitionError, TargetError, UsageError
from motet.identity import is_users_file


def split_target(target: str) -> tuple[str, str]:
    """Return file or module, and the name in it.

    Raises:
        TargetError: the text isn't `file.py:name` or `package.module:name`.
    """
    source, colon, name = target.rpartition(":")
    if not colon or not source or not name.isidentifier():
        raise TargetError("a target is written `file.py:name` or `package.module:name`", found=repr(target), instead="app.py:app")
    return source, name


def load_target(target: str) -> Node:
    """Import a target and return its bound node; all faults of all classes in it are reported together.

    Raises:
        TargetError: the file, module or name doesn't exist, importing it fails, or it is no bound node.
        DefinitionError: something in it is defined wrongly.
    """
    with check.collecting():
        return find_node(target)


def find_node(target: str) -> Node:
    """Import a target and return its bound node; faults go to whoever is collecting them.

    Raises:
        TargetError: the file, module or name doesn't exist, importing it fails, or it is no bound node.
        DefinitionError: a fault that nobody collects.
        UsageError: Motet is misused while the file is imported.
    """
    source, name = split_target(target)
    with importing():
        module = _import(source)
    if not hasattr(module, name):
        nodes = [n for n, value in vars(module).items() if isinstance(value, Node)]
        close = difflib.get_close_matches(name, nodes, n=1) or nodes
        raise TargetError(
            f"{source} has no name {name!r}",
            where=str(module.__file__),
            instead=f"{source}:{close[0]}" if close else "bind a service: app = MyService.bind(...)",
        )
    value = getattr(module, name)
    if not isinstance(value, Node):
        kind = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        instead = f"app = {name}.bind(...)" if isinstance(value, type) else f"{name} = MyService.bind(...)"
        raise TargetError(f"{target} is no bound node", where=str(module.__file__), found=kind, instead=instead)
    return value


def _import(source: str) -> ModuleType:
    if source.endswith(".py") or "/" in source:
        path = Path(source).resolve()
        if not path.is_file():
            near = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
            raise TargetError(
                "there is no such file", found=str(path), instead=", ".join(difflib.get_close_matches(path.name, near)) or None
            )
        return _import_file(path)
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.util.find_spec(source)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise TargetError(
            f"there is no module {source!r}",
            where=f"import path from {Path.cwd()}",
            instead="a file.py:name, or run it where the package is",
        )
    return _guarded(source, lambda: importlib.import_module(source))


def _import_file(path: Path) -> ModuleType:
    """Import a file under the name that other files of its package or folder import it by."""
    folder, parts = path.parent, [path.stem]
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    name = ".".join(parts)
    module = _guarded(str(path), lambda: importlib.import_module(name))
    if Path(str(module.__file__)).resolve() != path:
        raise TargetError(f"the name {name!r} is taken by another module", where=str(module.__file__), instead="another file name")
    return module


def _guarded(source: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except (DefinitionError, UsageError):
        raise
    except Exception as error:
        raise TargetError(f"importing {source} failed: {type(error).__name__}: {error}", where=_last_place(error)) from error
    except SystemExit as error:
        raise TargetError(
            f"importing {source} ended the program (exit code {error.code})", instead="guard it by `if __name__ == '__main__':`"
        ) from error


def _last_place(error: BaseException) -> str | None:
    """Return `file:line` of the last line of the user's that an exception came from."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{error.filename}:{error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if is_users_file(f.filename) and not f.filename.startswith("<")]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None


_importing = False


@contextlib.contextmanager
def importing() -> Generator[None]:
    """Mark that this process imports code only to find what is in it: a `motet.run` at its top level would do so again, for ever."""
    global _importing  # noqa: PLW0603  # the process does it, whichever thread
    before, _importing = _importing, True
    try:
        yield
    finally:
        _importing = before


def is_importing() -> bool:
    """Whether this process imports code only to find what is in it."""
    return _importing


class ScriptReached(BaseException):
    """Ends the loading of a script at its `motet.run`: all that its services need is defined by then."""


_loading_script = False


def is_loading_script() -> bool:
    """Whether this process loads a script for its classes, so that `motet.run` must end the loading."""
    return _loading_script


def load_script(script: str | None, module: str | None) -> None:
    """Load the main module of another process as this one's, up to its `motet.run`.

    Its name is `__mp_main__`, as for multiprocessing, so that what is guarded by `if __name__ == "__main__"` doesn't run.

    Raises:
        TargetError: it raised before that.
    """
    global _loading_script  # noqa: PLW0603  # one script per process
    main = ModuleType("__mp_main__")
    main.__file__ = script
    sys.modules["__main__"] = sys.modules["__mp_main__"] = main
    _loading_script = True
    try:
        if module is not None:
            _run_into(main, module)
        elif script is not None:
            main.__dict__["__builtins__"] = __builtins__
            exec(compile(Path(script).read_bytes(), script, "exec"), main.__dict__)  # noqa: S102  # the user's own program
    except ScriptReached:
        pass
    except Exception as error:
        raise TargetError(f"loading {script} failed: {type(error).__name__}: {error}", where=_last_place(error)) from error
    finally:
        _loading_script = False


def _run_into(main: ModuleType, module: str) -> None:
    spec = importlib.util.find_spec(module)
    loader: Any = spec.loader if spec is not None else None
    if spec is None or not hasattr(loader, "get_code"):
        message = f"there is no module {module!r}"
        raise TargetError(message)
    main.__spec__ = spec
    main.__package__ = spec.parent
    code = loader.get_code(module)
    main.__dict__["__builtins__"] = __builtins__
    exec(code, main.__dict__)  # noqa: S102  # the user's own program
